"""A cache of 4 bits: half the bytes, exact on every backend, prefill in chunks equal to token by token."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models

from edgec import compiler
from edgec.artifact import Artifact
from edgec.compress.rtn import quantize_model
from edgec.errors import MismatchError
from edgec.frontend.checkpoint import Checkpoint
from edgec.lower.llama import constants, lower
from edgec.recipe import Build, Quantize, Recipe
from edgec.verify.chain import verify
from edgec.verify.quality import compare_float
from edgec.verify.workload import TEXT


def with_centres(source: Checkpoint) -> Checkpoint:
    """A model whose keys have random vectors taken off, as smooth_keys leaves it."""
    rng = np.random.default_rng(5)
    width = source.config.n_kv_heads * source.config.head_dim
    names = [f"model.layers.{i}.self_attn" for i in range(source.config.n_layers)]
    return source.with_tensors({}, key_centres={name: rng.normal(size=width).astype(np.float32) for name in names})


def build(
    out: Path,
    objects: Path,
    kv: str,
    seed: int = 1,
    chunk: int = 4,
    measured: bool = False,
    centred: bool = False,
) -> Artifact:
    config = tiny_models.config(head_dim=(8, 6, 18)[seed % 3], n_heads=6, n_kv_heads=(2, 3, 6)[seed % 3])
    source = tiny_models.checkpoint(config, seed, qk_norms=bool(seed % 2))
    source = with_centres(source) if centred else source
    recipe = Recipe(Quantize(bits=4, group_size=32), Build(context=40, chunk=chunk, kv=kv))
    with tiny_models.quick(source, objects, measured=measured):
        return compiler.build("memory", recipe=recipe, out=out)


@pytest.mark.parametrize(("seed", "leg"), [(0, "host"), (1, "host"), (2, "host"), (1, "rv32")])
def test_exact_on_every_backend(seed: int, leg: str, tmp_path: Path, objects: Path) -> None:
    artifact = build(tmp_path / "out", objects, "int4", seed, measured=leg == "rv32")
    assert {"attention_i4", "kv_append_i4"} <= {node.op for node in artifact.graphs["decode"].nodes}
    source = tiny_models.checkpoint(tiny_models.config())
    with tiny_models.quick(source, objects, measured=leg == "rv32"):
        found = verify(artifact, ("simulator", leg))["backends"]
    assert found["simulator"]["mismatches"] == found[leg]["mismatches"] == 0


@pytest.mark.parametrize(("kv", "leg"), [("int8", "host"), ("int4", "host"), ("int4", "rv32")])
def test_centred_keys_are_exact_on_every_backend(kv: str, leg: str, tmp_path: Path, objects: Path) -> None:
    artifact = build(tmp_path / "out", objects, kv, 2, measured=leg == "rv32", centred=True)
    assert all("k_centre" in node.inputs for node in artifact.graphs["decode"].nodes if node.op.startswith("kv_append"))
    source = tiny_models.checkpoint(tiny_models.config())
    with tiny_models.quick(source, objects, measured=leg == "rv32"):
        found = verify(artifact, ("simulator", leg))["backends"]
    assert found["simulator"]["mismatches"] == found[leg]["mismatches"] == 0


def test_it_takes_half_the_bytes_and_says_so(tmp_path: Path, objects: Path) -> None:
    made = {kv: build(tmp_path / kv, objects, kv) for kv in ("int8", "int4")}
    sizes = {
        kv: sum(b.size for b in a.plan.buffers if b.kind == "kv" and "scale" not in b.name) for kv, a in made.items()
    }
    assert 2 * sizes["int4"] == sizes["int8"] > 0
    for kv, artifact in made.items():
        assert f"cache {kv}, " in (artifact.path / "report.txt").read_text()
        assert artifact.meta["recipe"]["build"]["kv"] == kv


def test_chunks_of_prefill_give_the_same_bits(tmp_path: Path, objects: Path) -> None:
    artifact = build(tmp_path / "out", objects, "int4", chunk=5)
    tokens = [7, 3, 1, 90, 4, 4, 12, 8, 55, 23, 6]
    logits = []
    for pieces in ([tokens], [[t] for t in tokens], [tokens[:3], tokens[3:9], tokens[9:]]):
        runner = artifact.reference()
        for piece in pieces:
            runner.prefill(piece)
        logits.append(runner.logits.tobytes())
    assert logits[0] == logits[1] == logits[2]


@pytest.mark.parametrize("centred", [False, True])
def test_the_float_model_has_a_wide_cache(centred: bool) -> None:
    source = tiny_models.checkpoint(tiny_models.config(), 1)
    source = with_centres(source) if centred else source
    found = {}
    for kv in (8, 4):
        model = quantize_model(source, Quantize(bits=8, group_size=32), kv_bits=kv)
        consts = constants(model, 24)
        graph = lower(model, consts, "prefill", 4, 24)
        assert source.tokenizer is not None
        found[kv] = compare_float(source, graph, consts, source.tokenizer, TEXT, 16, "text")
    # One float model for both; a cache of fewer bits is further from it. Rows of the cache itself are not compared.
    assert found[4]["perplexity_float"] == found[8]["perplexity_float"]
    assert 1.5 * found[8]["nmse_logits"] < found[4]["nmse_logits"] < 0.5
    assert not any(".kv" in worst["value"] for worst in found[4]["worst_tensors"])


@pytest.mark.parametrize(
    ("file", "before", "after", "op"),
    [
        (
            "attention_i4/attention_i4_generic.c",
            "(int32_t)(pair >> 4) * high",
            "(int32_t)(pair & 15u) * high",
            "attention_i4",
        ),
        ("attention_i4/attention_i4_generic.c", "eight_p += 8 * p[t]", "eight_p += 7 * p[t]", "attention_i4"),
        ("kv_append_i4/kv_append_i4_generic.c", "-7.0f), 7.0f", "-8.0f), 6.0f", "kv_append_i4"),
        ("kv_append_i4/kv_append_i4_generic.c", "row % a->heads", "(row + 1u) % a->heads", "kv_append_i4"),
    ],
)
def test_a_wrong_kernel_is_found(file: str, before: str, after: str, op: str, tmp_path: Path, objects: Path) -> None:
    artifact = build(tmp_path / "out", objects, "int4", centred="heads" in before)
    kernel = artifact.path / "project/kernels" / file
    text = kernel.read_text()
    assert before in text
    kernel.write_text(text.replace(before, after))
    source = tiny_models.checkpoint(tiny_models.config())
    with tiny_models.quick(source, objects), pytest.raises(MismatchError, match=f"first in {op} "):
        verify(artifact, ("host",))
