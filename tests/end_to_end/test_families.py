"""What sets families apart from LLaMA, through the whole chain: exact on every backend, planned without weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from random_cases import Case, prove, source_of

from edgec import compiler
from edgec.compress.quantized import QuantizedModel
from edgec.compress.rtn import quantize_model
from edgec.compress.shapes import planned_model
from edgec.errors import MismatchError, RecipeError
from edgec.frontend.model_config import ModelConfig
from edgec.lower.programs import ready
from edgec.planning import plan_model
from edgec.recipe import Recipe
from edgec.target import load_target
from edgec.verify.chain import verify

GEMMA: dict[str, Any] = {
    **{"activation": "gelu_tanh", "double_norms": True, "embed_scale": 5.5, "query_scale": 0.2},
    **{"tied_embeddings": True, "n_layers": 3, "head_dim": 12},
}
GPT: dict[str, Any] = {
    **{"activation": "gelu_tanh", "gated": False, "layer_norms": True, "learned_positions": True},
    **{"rope_inv_freq": (), "n_kv_heads": 4, "tied_embeddings": True},
}
FAMILIES: dict[str, dict[str, Any]] = {
    "phi3": {"family": "phi3", "windows": (7, 7)},
    "gemma2": {"family": "gemma2", **GEMMA, "windows": (9, 0, 9), "score_softcap": 2.0, "logit_softcap": 3.0},
    "gemma3_text": {
        **{"family": "gemma3_text", **GEMMA, "windows": (6, 6, 0)},
        "local_inv_freq": tuple(100.0 ** (-i / 6) for i in range(6)),
    },
}
FAMILIES |= {
    "gpt2": {"family": "gpt2", **GPT},
    "gpt_neo": {"family": "gpt_neo", **GPT, "activation": "gelu", "head_dim": 9, "query_scale": 1.0, "windows": (0, 7)},
}
OPS = {
    "phi3": {"attention"},
    "gemma2": {"gelu_mul", "softcap"},
    "gemma3_text": {"gelu_mul", "rmsnorm"},
    "gpt2": {"add_positions", "layernorm", "gelu"},
    "gpt_neo": {"add_positions", "layernorm", "gelu"},
}


def case_of(family: str, target: str, context: int = 40, chunk: int = 5) -> Case:
    config = tiny_models.config(**FAMILIES[family])
    recipe = tiny_models.recipe(bits=4, group_size=32, context=context, chunk=chunk)
    return Case(config, recipe, target, 3, biases=family == "gpt2", qk_norms=family == "gemma3_text")


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
    extras |= {f"self_attn.{role}_proj.bias" for role in "qkv"} if case.biases else set()
    model = quantize_model(source_of(case), case.recipe.quantize)
    plans = [buffers(made, case.recipe) for made in (model, planned_model(case.config, extras, case.recipe))]
    assert plans[0] == plans[1]


def test_heads_of_odd_size_have_no_cache_of_4_bits() -> None:
    """Nor does the search for a recipe that fits offer it."""
    case = case_of("gpt_neo", "siracusa")
    recipe = replace(case.recipe, build=replace(case.recipe.build, kv="int4"))
    with pytest.raises(RecipeError, match="heads of 9 are odd"):
        planned_model(case.config, (), recipe)


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


@pytest.mark.parametrize(
    ("family", "file", "before", "after", "op"),
    [
        ("phi3", "attention/attention_softmax_generic.c", "length - a->window", "length - a->window - 1u", "attention"),
        (
            "gemma2",
            "attention/attention_cap_generic.c",
            "t = before; t < length",
            "t = before + 1u; t < length",
            "att",
        ),
        ("gemma2", "softcap/softcap_generic.c", "2.0f / a->cap", "1.9f / a->cap", "softcap"),
        ("gemma3_text", "common/edgec_gelu.h", "* z + 1.5957691216f", "* z + 1.5957681216f", "gelu_mul"),
        ("gemma2", "embed/embed_generic.c", "y[j] *= a->factor", "y[j] *= 5.4f", "embed"),
    ],
)
def test_a_wrong_kernel_is_found(
    family: str, file: str, before: str, after: str, op: str, tmp_path: Path, objects: Path
) -> None:
    case = case_of(family, "siracusa")
    source = source_of(case)
    with tiny_models.quick(source, objects):
        artifact = compiler.build("memory", recipe=case.recipe, out=tmp_path / "out")
        kernel = artifact.path / "project/kernels" / file
        text = kernel.read_text()
        assert before in text
        kernel.write_text(text.replace(before, after))
        with pytest.raises(MismatchError, match=f"first in {op}"):
            verify(artifact, ("host",))


def test_layers_keep_their_windows_when_others_go() -> None:
    config: ModelConfig = tiny_models.config(**FAMILIES["gemma3_text"])
    assert config.with_blocks([0, 2]).windows == (6, 0)
    assert tiny_models.config().with_blocks([1]).windows == ()
