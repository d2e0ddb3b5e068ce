"""GPTQ and AWQ folders: what edgec computes with is what the codes, zero points and scales say, bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.compress.folder import write_folder
from edgec.compress.gptqmodel_worker import write_padding_tokenizer
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.load import load_checkpoint
from tests.frontend.quantized_writer import Grid, awq_parts, gptq_parts, random_grid, rewrite
from tests.tiny_models import checkpoint, config

Arrays = dict[str, Any]
Q, DOWN = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"
Made = tuple[Path, dict[str, Grid], Arrays]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Made]:
    """make(bits, group_size, ...): a quantised folder, its grids by tensor name, and its tensors."""

    def write(
        bits: int = 4,
        group_size: int = 16,
        method: str = "gptq",
        symmetric: bool = False,
        change: Callable[[dict[str, Grid]], None] | None = None,
        **settings: Any,
    ) -> Made:
        model = checkpoint(config(hidden_dim=40, ffn_dim=56))
        folder = tmp_path / "model"
        write_folder(folder, model)
        (folder / "edgec.json").unlink()
        rng = np.random.default_rng(bits)
        names = model.matrix_names()
        grids = {n: random_grid(rng, *model.tensor(n).shape, bits, group_size, symmetric) for n in names}
        if change:
            change(grids)
        form = "gptq" if method == "gptq" else "gemm"
        quantization = {"quant_method": method, "bits": bits, "group_size": group_size, "checkpoint_format": form}
        quantization |= settings
        tensors = {name: model.tensor(name).astype(np.float16) for name in model.readers if name not in grids}
        for name, grid in grids.items():
            minus_one = quantization["checkpoint_format"] == "gptq"
            parts = gptq_parts(grid, bits, minus_one) if method == "gptq" else awq_parts(grid)
            tensors |= {name.removesuffix("weight") + part: array for part, array in parts.items()}
        rewrite(folder, tensors, quantization)
        return folder, grids, tensors

    return write


def same(loaded: Checkpoint, grids: dict[str, Grid]) -> None:
    """Every matrix of the checkpoint is the grid's, through both of its readers."""
    assert set(loaded.packed) == set(grids)
    for name, grid in grids.items():
        tensor = loaded.packed[name]()
        assert np.array_equal(tensor.dequantized().view(np.uint32), grid.weights().view(np.uint32)), name
        assert np.array_equal(loaded.tensor(name), tensor.dequantized())


@pytest.mark.parametrize("form", ["gptq", "gptq_v2"])
@pytest.mark.parametrize("group_size", [16, 32, -1])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_gptq(bits: int, group_size: int, form: str, make: Callable[..., Made]) -> None:
    folder, grids, tensors = make(bits, group_size, checkpoint_format=form)
    assert any((grid.zero == 0).any() for grid in grids.values()) or bits == 8
    loaded = load_checkpoint(str(folder))
    same(loaded, grids)
    assert np.array_equal(loaded.tensor("model.norm.weight"), tensors["model.norm.weight"].astype(np.float32))
    assert any("without rounding" in note for note in loaded.provenance["notes"])


def test_awq(make: Callable[..., Made]) -> None:
    folder, grids, _ = make(4, 8, "awq", version="gemm")
    same(load_checkpoint(str(folder)), grids)


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_a_constant_middle_needs_no_zero_points(method: str, make: Callable[..., Made]) -> None:
    folder, grids, _ = make(4, 8, method, symmetric=True)
    loaded = load_checkpoint(str(folder))
    same(loaded, grids)
    assert all(read().zero is None for read in loaded.packed.values())


def test_groups_in_another_order(make: Callable[..., Made]) -> None:
    def reverse(grids: dict[str, Grid]) -> None:
        for grid in grids.values():
            grid.group_of = grid.zero.shape[1] - 1 - grid.group_of

    folder, grids, _ = make(4, 8, change=reverse, desc_act=True)
    same(load_checkpoint(str(folder)), grids)


def test_scattered_groups_are_refused(make: Callable[..., Made], refuses: Any) -> None:
    def scatter(grids: dict[str, Grid]) -> None:
        group_of = grids[f"{DOWN}.weight"].group_of
        group_of[[3, 20]] = group_of[[20, 3]]

    folder, _, _ = make(4, 8, change=scatter, desc_act=True)
    refuses(lambda: load_checkpoint(str(folder)), DOWN, "desc_act", "static_groups=True")


def test_zero_biases_of_older_tools_are_harmless(make: Callable[..., Made], edit_tensors: Any, refuses: Any) -> None:
    folder, grids, tensors = make()
    edit_tensors(folder, lambda _: tensors | {f"{Q}.bias": np.zeros(32, np.float16)})
    same(load_checkpoint(str(folder)), grids)
    edit_tensors(folder, lambda _: tensors | {f"{Q}.bias": np.full(32, 0.5, np.float16)})
    refuses(lambda: load_checkpoint(str(folder)), f"{Q}.bias")


def test_matrices_may_stay_float(make: Callable[..., Made], edit_tensors: Any) -> None:
    folder, grids, tensors = make(dynamic={"-:.*down_proj": {}})
    weights = grids.pop(f"{DOWN}.weight").weights().astype(np.float16)
    kept = {name: array for name, array in tensors.items() if not name.startswith(DOWN)}
    edit_tensors(folder, lambda _: kept | {f"{DOWN}.weight": weights})
    loaded = load_checkpoint(str(folder))
    same(loaded, grids)
    assert np.array_equal(loaded.tensor(f"{DOWN}.weight"), weights.astype(np.float32))


REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "method": ({"quant_method": "bitsandbytes"}, ["'bitsandbytes'", "gptq and awq"]),
    "format": ({"checkpoint_format": "marlin"}, ["'marlin'", "gptq_v2"]),
    "planar": ({"checkpoint_format": "gptq_p"}, ["'gptq_p'"]),
    "width": ({"bits": 5}, ["5 bits", "2, 3, 4, 8"]),
    "width as text": ({"bits": "4"}, ["'4' bits"]),
    "group": ({"group_size": 0}, ["group_size", "0"]),
    "words": ({"pack_dtype": "int64"}, ["'int64'"]),
    "dynamic": ({"dynamic": {"+:.*down_proj": {"bits": 8}}}, ["dynamic"]),
    "other width": ({"bits": 8}, ["qweight", "[5, 32]", "[10, 32]"]),
    "other group": ({"group_size": 20}, ["[3, 4]", "[2, 4]"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_configurations_that_are_refused(case: str, make: Callable[..., Made], edit_config: Any, refuses: Any) -> None:
    folder, _, _ = make()
    changes, words = REFUSED[case]
    raw = json.loads((folder / "config.json").read_text())["quantization_config"]
    edit_config(folder, quantization_config=raw | changes)
    refuses(lambda: load_checkpoint(str(folder)), *words)


def test_awq_of_another_width(make: Callable[..., Made], edit_config: Any, refuses: Any) -> None:
    folder, _, _ = make(4, 8, "awq")
    raw = json.loads((folder / "config.json").read_text())["quantization_config"]
    edit_config(folder, quantization_config=raw | {"bits": 8})
    refuses(lambda: load_checkpoint(str(folder)), "awq", "8 bits")


def damaged(tensors: Arrays) -> dict[str, tuple[Arrays, list[str]]]:
    """Damaged tensors by case, and the words of the sentence. None removes a tensor."""
    scales, g_idx = tensors[f"{Q}.scales"], tensors[f"{Q}.g_idx"]
    infinite, fine = scales.copy(), scales.astype(np.float32)
    infinite[0, 0], fine[0, 0] = np.inf, 1 / 3
    return {
        "no scales": ({f"{Q}.scales": None}, [f"{Q} has no scales"]),
        "no zero points": ({f"{Q}.qzeros": None}, [f"{Q} has no qzeros"]),
        "short": ({f"{Q}.qweight": tensors[f"{Q}.qweight"][:-1]}, [f"{Q}.qweight", "[4, 32]", "[5, 32]"]),
        "floats": ({f"{Q}.qweight": tensors[f"{Q}.qweight"].astype(np.float32)}, [f"{Q}.qweight", "F32"]),
        "infinite scale": ({f"{Q}.scales": infinite}, [f"{Q}.scales", "infinite"]),
        "fine scale": ({f"{Q}.scales": fine}, [f"{Q}.scales", "float16"]),
        "negative group": ({f"{Q}.g_idx": g_idx - 1}, [f"{Q}.g_idx", "-1"]),
        "one group too many": ({f"{Q}.g_idx": g_idx + 1}, [f"{Q}.g_idx", "group 3"]),
        "one group for all": ({f"{Q}.g_idx": g_idx * 0}, [f"{Q}.g_idx", "without inputs"]),
        "twice": ({f"{Q}.weight": np.zeros((32, 40), np.float16)}, [f"{Q}.weight", "twice"]),
        "unknown part": ({f"{Q}.weird": scales}, [f"{Q}.weird"]),
        "unknown matrix": ({"model.layers.9.mlp.up_proj.qweight": g_idx}, ["model.layers.9.mlp.up_proj.qweight"]),
    }


@pytest.mark.parametrize("case", damaged({f"{Q}.{p}": np.ones((1, 1)) for p in ("scales", "g_idx", "qweight")}))
def test_damage_is_one_sentence(case: str, make: Callable[..., Made], edit_tensors: Any, refuses: Any) -> None:
    folder, _, tensors = make()
    changes, words = damaged(tensors)[case]
    made = {name: array for name, array in (tensors | changes).items() if array is not None}
    edit_tensors(folder, lambda _: made)

    def read() -> None:
        loaded = load_checkpoint(str(folder))
        for name in loaded.readers:
            loaded.tensor(name)

    refuses(read, *words)


def test_a_float_folder_that_claims_to_be_quantised(make_model: Any, edit_config: Any, refuses: Any) -> None:
    folder, _ = make_model("llama")
    edit_config(folder, quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 16})
    refuses(lambda: load_checkpoint(str(folder)), "gptq", "no tensor")


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "int4": ({"hidden_dim": 36, "ffn_dim": 52}, {"bits": 4, "group_size": 32}),
    "int4_row": ({"hidden_dim": 64}, {"bits": 4, "group_size": -1, "sym": False, "act_group_aware": False}),
    "int2_zeros": ({"hidden_dim": 36, "ffn_dim": 52}, {"bits": 2, "group_size": 16, "sym": False}),
    "int3_zeros": ({"hidden_dim": 64, "ffn_dim": 96, "head_dim": 16}, {"bits": 3, "group_size": 16, "sym": False}),
    "int8_v2": ({"hidden_dim": 64}, {"bits": 8, "group_size": 16, "sym": False, "format": "gptq_v2"}),
    "static": ({"hidden_dim": 64}, {"bits": 4, "group_size": 16, "desc_act": True, "static_groups": True}),
    "awq": (
        {"hidden_dim": 64, "ffn_dim": 128, "head_dim": 16, "n_kv_heads": 4},
        {"method": "awq", "format": "gemm", "bits": 4, "group_size": 16},
    ),
    "awq_zeros": (
        {"hidden_dim": 64, "ffn_dim": 128, "head_dim": 16, "n_kv_heads": 4},
        {"method": "awq", "format": "gemm", "bits": 4, "group_size": 16, "sym": False},
    ),
    "act_order": ({"hidden_dim": 64}, {"bits": 4, "group_size": 16, "desc_act": True}),
}


QUICK = ("int3_zeros", "static", "awq_zeros")


@pytest.mark.skipif(find_spec("gptqmodel") is None, reason="gptqmodel is not installed")
@pytest.mark.parametrize("names", [QUICK, pytest.param(tuple(sorted(CASES.keys() - QUICK)), marks=pytest.mark.slow)])
def test_equal_to_what_gptqmodel_makes_of_its_own_files(names: tuple[str, ...], tmp_path: Path, refuses: Any) -> None:
    cases: dict[str, Any] = {}
    for name in sorted(names):
        sizes, settings = CASES[name]
        write_folder(tmp_path / f"{name}.float", checkpoint(config(**sizes)))
        write_padding_tokenizer(tmp_path / f"{name}.float")
        fixed = {"offload_to_disk": False, "pack_impl": "original"}
        cases[name] = {"model": str(tmp_path / f"{name}.float"), "config": settings | fixed, "vocab": 97}
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    oracle = Path(__file__).resolve().parents[1] / "compress" / "gptqmodel_oracle.py"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, str(oracle), str(tmp_path)], capture_output=True, env=environment, cwd=tmp_path, timeout=600
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    for name in names:
        settings = CASES[name][1]
        if name == "act_order":
            refuses(lambda: load_checkpoint(str(tmp_path / "act_order")), "scattered")
            continue
        loaded = load_checkpoint(str(tmp_path / name))
        with np.load(tmp_path / f"{name}.npz") as theirs:
            assert len(loaded.packed) == len(theirs.files) // 2 == 14
            for matrix, read in loaded.packed.items():
                tensor, module = read(), matrix.removesuffix(".weight")
                assert (tensor.zero is None) == settings.get("sym", True), (name, matrix)
                ours = tensor.dequantized()
                assert np.array_equal(ours.view(np.uint32), theirs[f"{module}.f32"].view(np.uint32)), (name, matrix)
                # GPTQModel itself rounds the product to binary16.
                assert np.array_equal(ours.astype(np.float16), theirs[module]), (name, matrix)
