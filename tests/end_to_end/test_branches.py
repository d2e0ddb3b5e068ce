"""Low-rank branches beside matrices: built, exact on every backend, and counted by the report."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st

from edgec.artifact import Artifact
from edgec.compress.stage import Calibration, find
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, LowRank
from edgec.lower.llama import constants
from edgec.passes.score_rows import score_rows
from edgec.recipe import Build
from edgec.report.report import report_of
from edgec.report.text import plain_text
from edgec.simulate.reference import ReferenceRunner
from edgec.verify.chain import verify
from edgec.verify.quality import compare_float, float_runner
from edgec.verify.workload import TEXT
from tests.end_to_end.test_random_configs import FIXED, Case, cases, prove, source_of


def with_branches(source: Checkpoint, ranks: tuple[int, ...], seed: int = 0, size: float = 0.5) -> Checkpoint:
    """Random branches, the ranks taken in turn; 0 leaves a matrix without one."""
    rng = np.random.default_rng(seed)
    branches = {}
    for i, name in enumerate(source.matrix_names()):
        n, k = source.config.tensor_shapes()[name]
        rank = min(ranks[i % len(ranks)], n, k)
        if rank:
            a = (rng.standard_normal((rank, k)) / k**0.5).astype(np.float32)
            b = (size * rng.standard_normal((n, rank)) / rank**0.5).astype(np.float32)
            branches[name] = LowRank(a, b)
    return replace(source, branches=branches)


def prove_with_branches(
    case: Case, ranks: tuple[int, ...], bits: int, folder: Path, objects: Path, legs: tuple[str, ...]
) -> None:
    recipe = replace(case.recipe, build=replace(case.recipe.build, branch_bits=bits))
    prove(replace(case, recipe=recipe), with_branches(source_of(case), ranks), folder, objects, legs)
    branches = report_of(Artifact.load(folder / "out")).model["branches"]
    assert branches["bits"] == [bits]
    assert 0 < branches["count"] <= 7 * case.config.n_layers


RANKS = st.lists(st.sampled_from((0, 1, 3, 8, 13, 32)), min_size=1, max_size=5).filter(any).map(tuple)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("branches")


@given(case=cases(), ranks=RANKS, bits=st.integers(2, 8))
@settings(FIXED, max_examples=8)
def test_some_configurations(case: Case, ranks: tuple[int, ...], bits: int, folder: Path, objects: Path) -> None:
    prove_with_branches(case, (*ranks, 4), bits, folder, objects, ("simulator", "host"))


@given(case=cases(), ranks=RANKS)
@settings(FIXED, max_examples=1)
def test_a_configuration_on_rv32(case: Case, ranks: tuple[int, ...], folder: Path, objects: Path) -> None:
    prove_with_branches(case, (*ranks, 4), 8, folder, objects, ("simulator", "host", "rv32"))


def test_a_chain_of_stages_leaves_them_and_the_program_runs_them(tmp_path: Path, objects: Path) -> None:
    """LoRA left unmerged, rounding, EoRA: one branch of both ranks beside every matrix that has both."""
    for package in ("torch", "peft"):
        pytest.importorskip(package, reason="the lora stage trains with it")
    text = tmp_path / "words.txt"
    text.write_text(" ".join(np.random.default_rng(0).choice(re.findall(r"\w+", TEXT), 600)))
    stages = (
        find("lora")(merge=False, rank=3, steps=2, samples=4, accumulate=1),
        find("quantize")(by="rtn", bits=4, group_size=16),
        find("eora")(rank=5, samples=4, roles=("q", "down")),
    )
    recipe = replace(tiny_models.recipe(4, 16), stages=stages, calibration=Calibration(str(text), 4, 24))
    source = tiny_models.checkpoint(tiny_models.config(n_layers=1))
    artifact = tiny_models.built(source, tmp_path / "out", objects, made=recipe)
    branches = report_of(artifact).model["branches"]
    assert (branches["count"], branches["rank_min"], branches["rank_max"]) == (5, 3, 8)
    with tiny_models.quick(source, objects):
        found = verify(artifact, ("simulator", "host"))
    assert {leg: found["backends"][leg]["mismatches"] for leg in ("simulator", "host")} == {"simulator": 0, "host": 0}


def logits(runner: ReferenceRunner) -> np.ndarray:
    graph = runner.graphs["score"]
    return runner.values("score", [1, 5, 9, 2])[graph.outputs[0]]


def test_the_float_twin_is_the_effective_matrix() -> None:
    """Ideal W x + B (A x) equals the model whose matrices hold W + B A; the exact one is near it, and far without B."""
    source = with_branches(tiny_models.checkpoint(tiny_models.config()), (4, 0))
    planned = tiny_models.planned(source, made=tiny_models.recipe(8, 8))
    graph = score_rows(planned.graphs["prefill"])
    merged = replace(source.with_tensors({n: source.effective(n) for n in source.branches}), branches={})
    wanted = logits(float_runner(merged, score_rows(tiny_models.planned(merged).graphs["prefill"]), planned.consts))
    assert np.allclose(logits(float_runner(source, graph, planned.consts)), wanted, rtol=1e-4, atol=1e-4)

    exact = logits(ReferenceRunner({"score": graph}, planned.consts))
    bare = {name: np.zeros_like(c) if name.endswith("lora_b.weight.scale") else c for name, c in planned.consts.items()}
    without = logits(ReferenceRunner({"score": graph}, bare))
    spread = np.abs(wanted).mean()
    assert np.abs(exact - wanted).mean() < 0.05 * spread < 0.2 * spread < np.abs(without - wanted).mean()


def test_a_float_model_without_the_branch_has_zeros_for_twins() -> None:
    """EoRA's branches come after quantisation, so the float model has none, or the narrower one of LoRA."""
    plain = tiny_models.checkpoint(tiny_models.config())
    wide = with_branches(plain, (4,))
    planned = tiny_models.planned(wide)
    graph = score_rows(planned.graphs["prefill"])
    bare = logits(float_runner(plain, score_rows(tiny_models.planned(plain).graphs["prefill"]), planned.consts))
    # Some BLAS add up columns of joined matrices in another order than those of the matrices by themselves.
    assert np.allclose(logits(float_runner(plain, graph, planned.consts)), bare, rtol=1e-5, atol=1e-6)
    narrow = replace(wide, branches={n: LowRank(b.a[:2], b.b[:, :2]) for n, b in wide.branches.items()})
    found = compare_float(narrow, planned.graphs["prefill"], planned.consts, narrow.tokenizer, "a a a a", 8, "text")
    assert np.isfinite(found["nmse_logits"])


def test_constants_are_named_after_the_matrix_and_share_its_input() -> None:
    source = with_branches(tiny_models.checkpoint(tiny_models.config(n_layers=1)), (4, 0, 0))
    planned = tiny_models.planned(source, made=tiny_models.recipe(4, 16))
    path = "model.layers.0.self_attn.q_proj"
    assert {f"{path}.lora_a.weight", f"{path}.lora_b.weight"} <= constants(planned.model, 8).keys()
    nodes = {node.name: node for node in planned.graphs["decode"].nodes}
    assert nodes["l0.q.lora_a"].inputs["x"] == nodes["l0.q"].inputs["x"] == nodes["l0.k"].inputs["x"]
    assert nodes["l0.q.lora_a"].source == f"{path}.lora_a"
    assert nodes["l0.q.lora_b"].inputs["addend"] == "l0.q" and nodes["l0.q_rope"].inputs["x"] == "l0.q.lora_add"
    assert "l0.k.lora_a" not in nodes


def test_the_report_counts_them(tmp_path: Path, objects: Path) -> None:
    source = with_branches(tiny_models.checkpoint(tiny_models.config(n_layers=1)), (4, 8, 0, 0, 0, 0, 0))
    artifact = tiny_models.built(source, tmp_path / "out", objects)
    report = report_of(artifact)
    planned = tiny_models.planned(source)
    parts = [part for pair in planned.model.branches.values() for part in pair]
    size = sum(part.packed.nbytes + part.scale.nbytes for part in parts)
    assert report.model["branches"] == {"count": 2, "rank_min": 4, "rank_max": 8, "bits": [8], "bytes": size}
    text = " ".join(plain_text(report).split())
    assert f"low-rank branches beside 2 matrices: rank 4 to 8, 8 bits, {size:,} B" in text
    without = tiny_models.checkpoint(tiny_models.config(n_layers=1))
    assert "low-rank" not in plain_text(report_of(tiny_models.built(without, tmp_path / "plain", objects)))


def test_an_impossible_width_is_refused() -> None:
    with pytest.raises(RecipeError, match="branch_bits is 9"):
        Build(branch_bits=9)
