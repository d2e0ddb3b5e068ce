"""What sets families apart from LLaMA, through the whole chain: exact on every backend, planned without weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from random_cases import Case, prove, source_of

from edgec.compress.quantized import QuantizedModel
from edgec.compress.rtn import quantize_model
from edgec.compress.shapes import planned_model
from edgec.frontend.checkpoint import ModelConfig
from edgec.lower.programs import ready
from edgec.planning import plan_model
from edgec.recipe import Recipe
from edgec.target import load_target

GEMMA: dict[str, Any] = {
    **{"activation": "gelu_tanh", "double_norms": True, "embed_scale": 5.5, "query_scale": 0.2},
    **{"tied_embeddings": True, "n_layers": 3, "head_dim": 12},
}
FAMILIES: dict[str, dict[str, Any]] = {
    "phi3": {"family": "phi3", "windows": (7, 7)},
    "gemma2": {"family": "gemma2", **GEMMA, "windows": (9, 0, 9), "score_softcap": 2.0, "logit_softcap": 3.0},
    "gemma3_text": {
        **{"family": "gemma3_text", **GEMMA, "windows": (6, 6, 0)},
        "local_inv_freq": tuple(100.0 ** (-i / 6) for i in range(6)),
    },
}
OPS = {
    "phi3": {"attention"},
    "gemma2": {"gelu_mul", "softcap"},
    "gemma3_text": {"gelu_mul", "rmsnorm"},
}


def case_of(family: str, target: str, context: int = 40, chunk: int = 5) -> Case:
    config = tiny_models.config(**FAMILIES[family])
    recipe = tiny_models.recipe(bits=4, group_size=32, context=context, chunk=chunk)
    return Case(config, recipe, target, 3, biases=False, qk_norms=family == "gemma3_text")


@pytest.mark.parametrize("target", ["siracusa", "small", "everything in L3", "host"])
@pytest.mark.parametrize("family", FAMILIES)
def test_exact(family: str, target: str, tmp_path: Path, objects: Path) -> None:
    """Prompts are longer than the windows: positions before them are in the cache and must not count."""
    case = case_of(family, target)
    artifact = prove(case, source_of(case), tmp_path, objects, ("simulator", "host"))
    assert {node.op for node in artifact.graphs["decode"].nodes} >= OPS[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_exact_on_rv32(family: str, tmp_path: Path, objects: Path) -> None:
    case = case_of(family, "siracusa")
    prove(case, source_of(case), tmp_path, objects, ("simulator", "rv32"))


@pytest.mark.parametrize("family", ["gemma2"])
def test_exact_with_a_cache_of_4_bits(family: str, tmp_path: Path, objects: Path) -> None:
    case = case_of(family, "siracusa")
    case = replace(case, recipe=replace(case.recipe, build=replace(case.recipe.build, kv="int4")))
    prove(case, source_of(case), tmp_path, objects, ("simulator", "host"))


@pytest.mark.parametrize("family", FAMILIES)
def test_planned_from_the_shape_alone(family: str) -> None:
    case = case_of(family, "siracusa")
    extras = {"self_attn.q_norm.weight", "self_attn.k_norm.weight"} if case.qk_norms else set()
    model = quantize_model(source_of(case), case.recipe.quantize)
    plans = [buffers(made, case.recipe) for made in (model, planned_model(case.config, extras, case.recipe))]
    assert plans[0] == plans[1]


def buffers(model: QuantizedModel, recipe: Recipe) -> list[tuple[str, str, int, int]]:
    made = plan_model(ready(model), load_target("siracusa"), 40, recipe)[1]
    return [(b.name, b.level, b.offset, b.size) for b in made.all_buffers()]


def test_a_long_row_of_logits_is_capped_in_tiles(tmp_path: Path, objects: Path) -> None:
    """A vocabulary whose logits are beyond an L1."""
    case = case_of("gemma2", "small", context=12)
    case = replace(case, config=replace(case.config, vocab_size=9001))
    artifact = prove(case, source_of(case), tmp_path, objects, ("simulator", "host"))
    decode = artifact.plan.programs["decode"]
    (step,) = [s for s in decode.steps if s.op == "softcap"]
    assert sum(phase.call is not None for phase in step.phases) > 1


def test_layers_keep_their_windows_when_others_go() -> None:
    config: ModelConfig = tiny_models.config(**FAMILIES["gemma3_text"])
    assert config.with_blocks([0, 2]).windows == (6, 0)
    assert tiny_models.config().with_blocks([1]).windows == ()
