"""What tests on random configurations share: the case, a target that just holds it, and the proof."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tiny_models
from hypothesis import HealthCheck, Phase, settings

from edgec import compiler
from edgec.artifact import Artifact
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.model_config import ModelConfig
from edgec.recipe import Recipe
from edgec.verify.chain import verify

FIXED = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],  # shrinking would take hours; the failing configuration is printed as it is
    suppress_health_check=list(HealthCheck),
)
KINDS = ("small", "spilled", "siracusa", "host", "everything in L3", "short transfers")
L1_SIZES = [int(1024 * 1.5**step) for step in range(2, 14)]


@dataclass(frozen=True)
class Case:
    """One configuration; its repr reproduces it."""

    config: ModelConfig
    recipe: Recipe
    target: str
    seed: int
    biases: bool
    qk_norms: bool


def source_of(case: Case) -> Checkpoint:
    """The case's model, with random weights."""
    return tiny_models.checkpoint(case.config, case.seed, case.biases, case.qk_norms)


def target_of(case: Case, source: Checkpoint, folder: Path) -> str:
    """The target's file: Siracusa, or one with the smallest L1 for which the plan has no deficit."""
    if case.target in ("siracusa", "host"):
        return case.target
    # A row put at a position of the cache or read from one of the rope table is moved by one transfer, not split.
    c = case.config
    shortest = max(c.n_kv_heads * c.head_dim, 2 * c.head_dim)
    levels = {
        "spilled": {"weights": ["L3"], "kv": ["L2"], "large": ["L2"]},
        "everything in L3": {"weights": ["L3"], "kv": ["L3"], "large": ["L2"]},
        "short transfers": {"max_bytes": max(260 + 4 * case.seed, shortest)},
    }.get(case.target, {})
    for size in L1_SIZES:
        path = tiny_models.target_file(folder / "target.toml", L1=size, **levels)
        if not tiny_models.planned(source, path, case.recipe).plan.deficits():
            return str(path)
    raise AssertionError(f"no L1 up to {L1_SIZES[-1]} B holds {case}")


def prove(
    case: Case, source: Checkpoint, folder: Path, objects: Path, legs: tuple[str, ...], optimize: str = "-O0"
) -> Artifact:
    """Build a model of the case's shape and verify it on these backends."""
    target = target_of(case, source, folder)
    with tiny_models.quick(source, objects, optimize, measured="rv32" in legs):
        artifact = compiler.build("memory", target=target, recipe=case.recipe, out=folder / "out")
        found = verify(artifact, legs)
    assert artifact.built
    for leg in legs:
        result = found["backends"][leg]
        assert result["mismatches"] == 0
        assert result["tensors"] > 20 * case.config.n_layers
    return artifact
