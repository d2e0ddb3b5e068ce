"""edgec plan: from a configuration alone, the plan of the build to come, byte for byte."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models
from click.testing import CliRunner

from edgec import compiler
from edgec.cli import cli
from edgec.compress.depth import Depth
from edgec.compress.eora import Eora
from edgec.compress.masks import keep_highest
from edgec.compress.quantize import QuantizeBlocks
from edgec.compress.rtn import quantize_model
from edgec.compress.shapes import planned_model
from edgec.compress.smooth_keys import SmoothKeys
from edgec.compress.width import Width
from edgec.frontend.huggingface_config import architecture_of
from edgec.frontend.structure import Structure
from edgec.lower.programs import ready
from edgec.memory.plan import Plan
from edgec.planning import plan_model
from edgec.recipe import Build, Quantize, Recipe, RoleOverride
from edgec.report.report import make_report
from edgec.target import load_target

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = {
    **{"model_type": "llama", "vocab_size": 97, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "tie_word_embeddings": True},
    **{"rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "architectures": ["LlamaForCausalLM"]},
}


def bytes_of(made: Plan) -> list[tuple]:
    return [(b.name, b.level, b.offset, b.size, b.kind, b.program, b.start, b.end) for b in made.all_buffers()]


@pytest.mark.parametrize("kv", ["int8", "int4"])
@pytest.mark.parametrize("biases", [False, True])
def test_the_plan_of_a_build_without_stages(kv: str, biases: bool) -> None:
    config = tiny_models.config(hidden_dim=48, vocab_size=97, n_layers=3, tied_embeddings=True)
    source = tiny_models.checkpoint(config, 1, biases=biases)
    recipe = Recipe(Quantize(bits=3, group_size=20, roles={"head": RoleOverride(8)}), Build(32, kv=kv))
    extras = {f"self_attn.{r}_proj.bias" for r in "qkv"} if biases else set()
    model = quantize_model(source, recipe.quantize, kv_bits=4 if kv == "int4" else 8)
    empty = planned_model(config, extras, recipe)
    plans = [plan_model(ready(m), load_target("siracusa"), 32, recipe)[1] for m in (model, empty)]
    assert bytes_of(plans[0]) == bytes_of(plans[1])


@pytest.mark.parametrize("pattern", ["2:4", "8:16", "1:8"])
def test_the_plan_of_pruned_matrices(pattern: str) -> None:
    config = tiny_models.config(hidden_dim=64, ffn_dim=96, head_dim=16, n_layers=2, tied_embeddings=True)
    source = tiny_models.checkpoint(config)
    stage = Width(pattern=pattern)
    found = stage.patterns(Structure(config))
    tensors = {n: source.tensor(n) * keep_highest(abs(source.tensor(n)), *p) for n, p in found.items()}
    recipe = Recipe(Quantize(bits=4, group_size=32), Build(24), stages=(stage,))
    model = quantize_model(replace(source.with_tensors(tensors), patterns=found), recipe.quantize, sparse="auto")
    empty = planned_model(config, (), recipe)
    plans = [plan_model(ready(m), load_target("siracusa"), 24, recipe)[1] for m in (model, empty)]
    assert bytes_of(plans[0]) == bytes_of(plans[1])


def test_stages_change_the_plan() -> None:
    config = tiny_models.config(hidden_dim=64, ffn_dim=96, n_layers=8, tied_embeddings=True)
    chain = (Depth(blocks=2), SmoothKeys(), QuantizeBlocks(bits=4, group_size=32), Eora(rank=4))
    model = planned_model(config, (), Recipe(stages=chain))
    assert model.config.n_layers == 6
    assert len(model.branches) == 6 * 7 and len(model.key_centres) == 6
    assert {m.bits for n, m in model.matrices.items() if "proj" in n} == {4}
    assert model.matrices["model.embed_tokens.weight"].bits == 8


@pytest.mark.parametrize(
    ("name", "context", "parameters", "verdict", "cpu_seconds"),
    [
        ("stories260k", 512, 260_032, "fits_on_chip", 3),
        ("microllama", 64, 558_144, "fits_on_chip", 2),
        ("llama6m", 512, 6_060_348, "fits_on_chip", 3),
        ("llama7m", 512, 6_557_952, "fits_on_chip", 3),
        ("smollm2-135m", 512, 134_515_008, "needs_l3", 15),
        ("llama-3.2-1b", 256, 1_235_814_400, "does_not_fit", 28),
    ],
)
def test_published_models_are_planned_in_seconds(
    name: str, context: int, parameters: int, verdict: str, cpu_seconds: float
) -> None:
    """CPU seconds, at most three times what planning takes on an idle core."""
    file = EXAMPLES / name / "config.json"
    architecture_of(file)  # imports transformers
    began = time.process_time()
    meta, graphs, made = compiler.plan_config(file, "siracusa", Recipe(build=Build(context=context)))
    seconds = time.process_time() - began
    report = make_report(meta, made, graphs, {})
    assert (report.verdict, report.model["parameters"]) == (verdict, parameters)
    assert report.model["matrices_kept"] == 0 and report.quantization == {}
    assert seconds < cpu_seconds


def test_a_plan_of_a_billion_weights_holds_no_weights() -> None:
    tracemalloc.start()
    planned_model(architecture_of(EXAMPLES / "llama-3.2-1b" / "config.json").config, (), Recipe())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**26


def test_the_command(tmp_path: Path) -> None:
    file = tmp_path / "small.json"
    file.write_text(json.dumps(SMALL))
    shown = CliRunner().invoke(cli, ["plan", "--config", str(file), "--context", "64"])
    assert shown.exit_code == 0, shown.output
    assert "Fits on chip" in shown.output and "planned from the configuration alone" in " ".join(shown.output.split())
    found = json.loads(CliRunner().invoke(cli, ["plan", "--config", str(file), "--format", "json"]).output)
    assert found["context"] == 128 and found["program"] is None
    assert CliRunner().invoke(cli, ["plan", "--config", str(tmp_path / "no.json")]).exit_code != 0
    both = CliRunner().invoke(cli, ["plan", "--config", str(file), "--recipe", "x", "--bits", "4"])
    assert both.exit_code == 2 and "excludes" in both.output


def test_the_command_does_not_import_torch(tmp_path: Path) -> None:
    """Transformers would import it with the first configuration, which takes longer than planning."""
    pytest.importorskip("torch")
    file = tmp_path / "config.json"
    file.write_text(json.dumps(SMALL))
    asks = "import sys; from edgec.cli import main; sys.argv[1:] = ARGV\n"
    asks += "try: main()\nexcept SystemExit as end: print('torch', sys.modules.get('torch'), end.code, file=sys.stderr)"
    asks = asks.replace("ARGV", repr(["plan", "--config", str(file)]))
    done = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True)
    assert "Memory" in done.stdout
    assert done.stderr.splitlines()[-1] == "torch None 0"
