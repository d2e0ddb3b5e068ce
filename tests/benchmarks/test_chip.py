"""benchmarks/chip.py: its figures are the plan's and the cost model's own, and its floor is what it says."""

from __future__ import annotations

import json
from pathlib import Path

import chip
import pytest
import tiny_models
from bench_models import Model, planned
from chip_kernels import DOT_PRODUCT, rates
from chip_speeds import STREAM_BYTES, contexts_within, speeds

from edgec.cost.engine import call_cycles
from edgec.cost.estimate import program_usage
from edgec.memory.plan import Plan
from edgec.target import load_target

TARGET = load_target("siracusa")
SMALL = {
    **{"model_type": "llama", "vocab_size": 97, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 40, "tie_word_embeddings": True},
    **{"rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "architectures": ["LlamaForCausalLM"]},
}


def bytes_read(tied: bool, bits: int) -> float:
    """Of tiny_models.config(), as a token reads them: codes, and a binary16 scale for each 16 inputs."""
    config = tiny_models.config(tied_embeddings=tied)
    shapes = {n: s for n, s in config.tensor_shapes().items() if len(s) == 2 and (tied or "embed" not in n)}
    return sum(n * k * bits / 8 + 2 * n * -(-k // 16) for n, k in shapes.values())


@pytest.fixture(scope="module")
def plan() -> Plan:
    return planned(tiny_models.config(), (), TARGET, 4, 16, 40)


def test_speeds_are_the_cost_models(plan: Plan) -> None:
    first, last = speeds("tiny", plan, 4, 16, [20, 40])
    decode, prefill = (plan.programs[name] for name in ("decode", "prefill"))
    assert (first.context, last.context, first.chunk) == (20, 40, 16)
    assert last.decode_cycles == program_usage(plan, decode, 1, 39).cycles > first.decode_cycles
    runs = program_usage(plan, prefill, 16, 0).cycles + program_usage(plan, prefill, 4, 16).cycles
    assert first.prefill_cycles == pytest.approx(runs)
    assert first.tokens_per_second * first.decode_cycles == pytest.approx(TARGET.clock_hz)
    assert first.prefill_tokens_per_second * first.prefill_cycles == pytest.approx(20 * TARGET.clock_hz)
    for row in (first, last):
        assert row.floor_ratio == pytest.approx(row.floor_cycles / row.decode_cycles)
        assert 0 < row.floor_ratio < 1


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("bits", [4, 8])
def test_the_floor_counts_every_matrix_once(tied: bool, bits: int) -> None:
    made = planned(tiny_models.config(tied_embeddings=tied), (), TARGET, bits, 16, 24)
    (row,) = speeds("tiny", made, bits, 16, [24])
    assert sum(row.weight_bytes.values()) == bytes_read(tied, bits)
    assert row.floor_cycles == bytes_read(tied, bits) / STREAM_BYTES


def test_the_floor_counts_both_matrices_of_an_mlp_in_one_call() -> None:
    config = tiny_models.config(hidden_dim=252, ffn_dim=504, head_dim=12, n_heads=4, n_kv_heads=2)
    made = planned(config, (), TARGET, 4, 252, 24)
    assert any(s.op == "matmul_w4a8_mlp_neureka" for s in made.programs["decode"].steps)
    (row,) = speeds("tiny", made, 4, 252, [24])
    shapes = [s for n, s in config.tensor_shapes().items() if len(s) == 2 and "embed" not in n]
    read = sum(n * k / 2 + 2 * n * -(-k // 252) for n, k in shapes)
    assert sum(row.weight_bytes.values()) == read


def test_off_the_chip_the_slowest_link_sets_the_floor(tmp_path: Path) -> None:
    target = load_target(str(tiny_models.target_file(tmp_path / "small.toml", weights=["L3"], L1=8192)))
    (row,) = speeds("tiny", planned(tiny_models.config(), (), target, 4, 16, 24), 4, 16, [24])
    off_chip = row.weight_bytes["L3"]  # the rest may stay in L1
    assert sum(row.weight_bytes.values()) == bytes_read(False, 4) < 2 * off_chip
    assert row.floor_cycles == pytest.approx(off_chip / target.link_by_name["L3>L2"].bytes_per_cycle)


def test_contexts() -> None:
    assert contexts_within([256, 16, 64], 128) == [16, 64, 128]
    assert contexts_within([64, 256], 64) == [64]


def test_kernels_stay_below_their_bounds(plan: Plan) -> None:
    found = rates({"tiny": plan})
    assert {"decode", "prefill"} == {r.program for r in found}
    assert {"attention", "matmul_w2a8", "matmul_w8a8"} <= {r.kernel for r in found}
    for r in found:
        assert r.macs_per_cycle == pytest.approx(r.macs / r.cycles)
        assert r.ratio == pytest.approx(r.macs_per_cycle / r.bound)
        assert 0 < r.ratio < 1, r
        assert "neureka" in r.kernel or r.bound == DOT_PRODUCT * TARGET.engines[0].cores
    attention = next(r for r in found if r.kernel == "attention" and r.program == "decode")
    numbers = {"m": 1, "n_heads": 4, "n_kv_heads": 2, "head_dim": 8, "pos": 39, "cores": 8, "lanes": 1}
    assert attention.cycles == call_cycles(TARGET, "attention", numbers)
    assert attention.shape == "1 x 4 heads of 8, 40 cached"


@pytest.mark.parametrize(
    ("heads", "hidden", "group", "shapes"),
    [(18, 504, 252, ["1 x 756 x 252", "1 x 252 x 252"]), (10, 96, 0, ["1 x 420 x 252"])],
)
def test_the_smallest_whole_matrix_stands_behind_the_largest_once(
    heads: int, hidden: int, group: int, shapes: list[str]
) -> None:
    """Of q, k and v together, o, down and a head of few outputs: o has 252 inputs only where heads of 14 are 18."""
    config = tiny_models.config(hidden_dim=252, ffn_dim=hidden, head_dim=14, n_heads=heads, n_kv_heads=heads)
    found = rates({"tiny": planned(config, (), TARGET, 4, group, 24)})
    assert [r.shape for r in found if (r.kernel, r.program) == ("matmul_w4a8_neureka", "decode")] == shapes


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "small.json"
    file.write_text(json.dumps(SMALL))
    models = (Model("small", file, 32), Model("absent", tmp_path / "no.gguf", origin="it was not bought"))
    monkeypatch.setattr(chip, "MODELS", models)
    data, plot = tmp_path / "out" / "chip.json", tmp_path / "out" / "chip.png"
    chip.main(["--json", str(data), "--plot", str(plot), "--contexts", "16", "64"])
    shown = capsys.readouterr()
    assert "nothing was measured on silicon" in shown.out and "skipped absent: it was not bought" in shown.out
    assert f"wrote {data}" in shown.out and "plan small" in shown.err
    found = json.loads(data.read_text())
    assert [(r["model"], r["context"]) for r in found["speeds"]] == [("small", 16), ("small", 40)]
    assert found["skipped"] == {"absent": "it was not bought"} and found["clock_hz"] == TARGET.clock_hz
    pytest.importorskip("matplotlib")
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_model_that_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        chip.main(["--models", "storys"])
    assert "there is no model storys; known: stories260K, stories" in capsys.readouterr().err
