"""What is broken on purpose is found, and named: a kernel's constant, an offset, a transfer, a byte of a weight."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models

from edgec.artifact import Artifact
from edgec.errors import MismatchError, VerifyError
from edgec.verify.chain import verify

SILU = ("x * edgec_sigmoid(x)", "x * 1.001f * edgec_sigmoid(x)")  # before, after
KERNELS = {  # file: (text, what it becomes, op that must be named)
    "rmsnorm_quantize/rmsnorm_quantize_generic.c": ("* gain[i]", "* 1.01f * gain[i]", "rmsnorm_quantize"),
    "quantize_dynamic/quantize_dynamic_generic.c": ("= sum;", "= sum + 1;", "quantize_dynamic"),
    "matmul_w4a8/matmul_w4a8_generic.c": ("1 << (bits - 1u)", "1 << (bits - 2u)", "matmul_w4a8"),
    "rope_append/rope_append_generic.c": ("(float)table[i] * a", "(float)table[i] * 1.001f * a", "rope_append"),
    "common/edgec_softmax.h": (
        "* EDGEC_ONE_255TH",
        "* 1.01f * EDGEC_ONE_255TH",
        "attention",
    ),
    "common/edgec_silu.h": (*SILU, "silu_mul_quantize"),
    "embed/embed_generic.c": ("1 << (bits - 1u)", "1 << (bits - 2u)", "embed"),
    "common/edgec_kv.h": ("1.0f / scale", "0.99f / scale", "rope_append"),
}


@pytest.fixture
def copied(artifact: Artifact, tmp_path: Path) -> Path:
    """A copy of the built folder, to be broken."""
    return Path(shutil.copytree(artifact.path, tmp_path / "out"))


def fails(folder: Path, objects: Path, *legs: str) -> VerifyError:
    """The error that verification must end with."""
    with (
        tiny_models.quick(None, objects),  # type: ignore[arg-type]
        pytest.raises(VerifyError) as caught,
    ):
        verify(Artifact.load(folder), legs)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("file", KERNELS)
def test_a_wrong_constant_in_a_kernel(copied: Path, objects: Path, file: str) -> None:
    path = copied / "project/kernels" / file
    before, after, op = KERNELS[file]
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    error = fails(copied, objects, "host")
    assert isinstance(error, MismatchError)
    assert f"differs from the reference first in {op} " in str(error)
    (found,) = json.loads((copied / "verification.json").read_text())["backends"].values()
    assert found["first_divergence"]["op"] == op
    assert found["mismatches"] > 0


def test_a_wrong_kernel_on_rv32(copied: Path, objects: Path) -> None:
    path = copied / "project/kernels/common/edgec_silu.h"
    path.write_text(path.read_text().replace(*SILU))
    assert "rv32 differs from the reference first in silu_mul_quantize l0.silu.q8g32" in str(
        fails(copied, objects, "rv32")
    )


def edit_plan(folder: Path, change: Callable[[dict], None]) -> None:
    document = json.loads((folder / "plan.json").read_text())
    change(document)
    (folder / "plan.json").write_text(json.dumps(document))


def buffer(document: dict, name: str) -> list:
    found = [b for b in document["buffers"] + [b for p in document["programs"] for b in p["buffers"]] if b[0] == name]
    return found[0]


@pytest.mark.parametrize("name", ["l0.qkv", "embed", "l0.k_cache", "lm_head.weight", "rope.table"])
def test_a_buffer_elsewhere_in_the_plan(copied: Path, objects: Path, name: str) -> None:
    def move(document: dict) -> None:
        buffer(document, name)[2] += 16

    edit_plan(copied, move)
    assert "the plan is unsound" in str(fails(copied, objects, "simulator"))


@pytest.mark.parametrize("node", ["l0.qkv", "l0.attn", "l1.down", "logits"])
def test_an_operand_elsewhere_in_the_plan(copied: Path, objects: Path, node: str) -> None:
    def move(document: dict) -> None:
        step = next(s for s in document["programs"][0]["steps"] if s[1] == node)
        call = next(p[1] for p in step[4] if p[1] is not None)
        region = next(r for r in call[2].values() if r is not None)
        region[1] += 16

    edit_plan(copied, move)
    assert node in str(fails(copied, objects, "simulator"))


@pytest.mark.parametrize("node", ["embed", "l0.attn_norm.q8g32", "l0.qkv", "l0.kv", "l1.kv", "l1.attn", "logits"])
@pytest.mark.parametrize("how", ["drop", "shorten"])
def test_a_transfer_lost_or_shortened_in_the_plan(copied: Path, objects: Path, node: str, how: str) -> None:
    def spoil(document: dict) -> None:
        steps = document["programs"][1]["steps"]
        first = next(i for i, s in enumerate(steps) if s[1] == node)
        moves = next(p[0] for s in steps[first:] for p in s[4] if p[0])
        if how == "drop":
            del moves[0]
        else:
            moves[0][3] -= 4

    edit_plan(copied, spoil)
    said = str(fails(copied, objects, "simulator"))
    step = Artifact.load(copied).plan.programs["decode"].steps
    following = [s.op for s in step[[s.node for s in step].index(node) :]]
    assert any(op in said for op in following)


@pytest.mark.parametrize("op", ["embed", "rmsnorm_quantize", "matmul_w4a8", "rope_append", "attention"])
def test_a_transfer_lost_in_model_c(copied: Path, objects: Path, op: str) -> None:
    path = copied / "project/model.c"
    head, function, rest = path.read_text().partition(f"static void step_{op}_1(")
    line = re.search(r"(hal_dma_(start|into|out_of)|copy_rows(_into|_out_of)?)\(.*\);\n", rest)
    assert line is not None
    path.write_text(head + function + rest.replace(line[0], "(void)0;\n", 1))
    said = str(fails(copied, objects, "host"))
    assert "host differs from the reference first in" in said  # this step, or a later one that it loads for


@pytest.mark.parametrize("name", ["model.layers.1.mlp.gate_up_proj.weight", "model.norm.weight", "rope.table"])
def test_a_flipped_bit_in_an_image(copied: Path, objects: Path, name: str) -> None:
    home = Artifact.load(copied).meta["constants"][name]
    path = copied / "project" / f"{home['level'].lower()}.bin"
    data = bytearray(path.read_bytes())
    data[home["offset"] + 5] ^= 4
    path.write_bytes(data)
    for leg in ("simulator", "host"):
        assert f"constant {name} in" in str(fails(copied, objects, leg))


def test_an_earlier_success_does_not_hide_a_failure(copied: Path, objects: Path) -> None:
    with tiny_models.quick(None, objects):  # type: ignore[arg-type]
        verify(Artifact.load(copied), ["simulator", "host"])
    path = copied / "project/kernels/common/edgec_silu.h"
    path.write_text(path.read_text().replace(*SILU))
    fails(copied, objects, "host")
    found = Artifact.load(copied).verification()["backends"]
    assert found["host"]["mismatches"] > 0
    assert found["simulator"]["mismatches"] == 0
