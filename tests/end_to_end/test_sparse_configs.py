"""Random configurations with pruned matrices of any pattern, on random targets: packed, and exact on every backend."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st
from random_cases import FIXED, KINDS, Case, source_of
from random_cases import prove as prove_case

from edgec.compress.masks import keep_highest
from edgec.compress.quantized import QuantizedTensor
from edgec.frontend.checkpoint import Checkpoint, LowRank
from edgec.packing import n_groups, pack
from edgec.packing_nm import PATTERNS, Pattern
from edgec.passes.join_projections import parts
from edgec.recipe import RoleOverride

ROLES = ("q", "k", "v", "o", "gate", "up", "down")
DENSE = ((1, 8), (1, 16), (3, 8))  # no packed form
GROUPS = (0, 16, 32, 48, 64, 112, 20, 8)  # windows of 16 divide all but the last two, of 8 all but the last but one


@dataclass(frozen=True)
class Pruned:
    """A case and what was removed by role; its repr reproduces it."""

    case: Case
    patterns: dict[str, Pattern]
    arriving: tuple[str, ...]  # roles that arrive quantised, with zero points
    branches: tuple[str, ...]


@st.composite
def cases(draw: st.DrawFn) -> Pruned:
    """Rows of multiples of 16, with every pattern, width and group that may meet."""
    pick = lambda *values: draw(st.sampled_from(values))  # noqa: E731
    bits, roles = st.sampled_from((4, 8, 4, 2, 3, 5, 6, 7)), st.sampled_from(ROLES)
    kv_heads = pick(2, 1, 4)
    config = tiny_models.config(
        hidden_dim=pick(48, 16, 32, 80, 144),
        n_layers=pick(2, 1, 3),
        n_kv_heads=kv_heads,
        n_heads=kv_heads * pick(2, 1, 4),
        head_dim=16,
        ffn_dim=pick(96, 16, 64, 112, 176),
        vocab_size=pick(97, 17, 257),
        tied_embeddings=draw(st.booleans()),
    )
    override = st.builds(RoleOverride, st.none() | bits, st.none() | st.sampled_from(GROUPS))
    made = tiny_models.recipe(
        draw(bits),
        pick(*GROUPS),
        pick(24, 1, 17, 40, 130),
        pick(5, 1, 2, 4, 8, 13),
        **draw(st.dictionaries(roles, override, max_size=3)),
    )
    case = Case(config, made, pick(*KINDS), draw(st.integers(0, 999)), draw(st.booleans()), draw(st.booleans()))
    patterns = draw(st.dictionaries(roles, st.sampled_from((*PATTERNS, *PATTERNS, *DENSE)), min_size=3))
    some = st.lists(roles, max_size=2, unique=True).map(tuple)
    return Pruned(case, patterns, draw(some), draw(some))


def model_of(pruned: Pruned) -> Checkpoint:
    """The case's model with the weakest weights removed; some matrices with zero points, some with branches."""
    case, rng = pruned.case, np.random.default_rng(pruned.case.seed)
    source = source_of(case)
    tensors, packed, patterns, branches = {}, {}, {}, {}
    for name in source.matrix_names():
        role, w = name.split(".")[-2].removesuffix("_proj"), source.tensor(name)
        (n, k), pattern = w.shape, pruned.patterns.get(role)
        if pattern is not None:
            patterns[name] = pattern
            tensors[name] = w * keep_highest(np.abs(w), *pattern)
        if role in pruned.arriving:
            bits, group = case.recipe.quantize.for_roles([role])
            packed[name] = with_zeros(rng, tensors.get(name, w), bits, group or k)
        if role in pruned.branches:
            a, b = rng.normal(size=(3, k)) / 8, rng.normal(size=(n, 3)) / 8
            branches[name] = LowRank(a.astype(np.float32), b.astype(np.float32))
    return replace(source.with_tensors(tensors).with_packed(packed), patterns=patterns, branches=branches)


def with_zeros(rng: np.random.Generator, w: np.ndarray, bits: int, group_size: int) -> QuantizedTensor:
    """The matrix on a grid with random zero points, which what is zero has as its code."""
    n, k = w.shape
    size = min(group_size, k)
    zero = rng.integers(0, 2**bits, size=(n, n_groups(k, size))).astype(np.uint8)
    scale = np.full(zero.shape, 4.0 / k**0.5 / 2**bits, np.float16)
    column = np.arange(k) // size
    codes = np.clip(np.rint(w / scale[:, column].astype(np.float32)) + zero[:, column], 0, 2**bits - 1)
    return QuantizedTensor(pack(codes.astype(np.uint8), bits, size), scale, zero, k, bits, size)


def prove(pruned: Pruned, folder: Path, objects: Path, legs: tuple[str, ...], optimize: str = "-O0") -> None:
    """Build and verify; a matrix is packed if, and only if, what build.json says of it makes that smaller."""
    artifact = prove_case(pruned.case, model_of(pruned), folder, objects, legs, optimize)
    read = {node.inputs["w"]: node.op for node in artifact.graphs["decode"].nodes if "w" in node.inputs}
    found = {part: op for name, op in read.items() for part in parts(name)}
    for name, storage in artifact.meta["sparsity"].items():
        assert storage["packed"] == found[name].endswith("_nm")
        if storage["packed"]:
            assert tuple(storage["pattern"]) in PATTERNS and storage["packed_bits"] < storage["dense_bits"]
        else:
            assert storage["reason"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sparse")


@given(pruned=cases())
@settings(FIXED, max_examples=12)
def test_some_configurations(pruned: Pruned, folder: Path, objects: Path) -> None:
    prove(pruned, folder, objects, ("simulator", "host"))


@given(pruned=cases())
@settings(FIXED, max_examples=2)
def test_two_configurations_on_rv32(pruned: Pruned, folder: Path, objects: Path) -> None:
    prove(pruned, folder, objects, ("simulator", "host", "rv32"))


@pytest.mark.slow
@given(pruned=cases())
@settings(FIXED, max_examples=120)
def test_many_configurations(pruned: Pruned, folder: Path, objects: Path) -> None:
    prove(pruned, folder, objects, ("simulator", "host"), "-O2")


@pytest.mark.slow
@given(pruned=cases())
@settings(FIXED, max_examples=15)
def test_many_configurations_on_rv32(pruned: Pruned, folder: Path, objects: Path) -> None:
    prove(pruned, folder, objects, ("simulator", "host", "rv32"), "-O2")
