"""Closed forms: LLaMA-3.2-1B's figures from its configuration, and real models' sizes from theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgec.cli import cli
from edgec.compress.counts import bitmask_bits, dry_run, parameters, ranked_bits, size_table
from edgec.compress.depth import Depth
from edgec.compress.eora import Eora
from edgec.compress.lora import Lora
from edgec.compress.quantize import QuantizeBlocks
from edgec.compress.sizes import size_of
from edgec.compress.stage import Calibration, Work
from edgec.compress.width import Width
from edgec.errors import RecipeError
from edgec.frontend.huggingface_config import config_of
from edgec.frontend.model_config import ModelConfig
from edgec.recipe import Recipe
from tests.tiny_models import checkpoint, config

LLAMA = Path(__file__).with_name("llama-3.2-1b.json")
TOTAL, BLOCK, LINEARS = 1_235_814_400, 60_821_504, 60_817_408
PATTERNS = ("1:2", "2:4", "3:4", "1:8", "4:8", "6:8", "1:16", "8:16", "12:16")


@pytest.fixture(scope="module")
def llama() -> ModelConfig:
    return config_of(LLAMA)


def last(shape: ModelConfig, *stages: Any) -> Any:
    return dry_run(shape, Recipe(stages=stages))[-1]


def test_the_dense_model(llama: ModelConfig) -> None:
    assert parameters(llama) == TOTAL
    assert TOTAL - parameters(Depth(blocks=1).shape(llama)) == BLOCK
    size = last(llama)
    assert (size.parameters, size.nonzero, size.bytes) == (TOTAL, TOTAL, 2 * TOTAL)
    assert size.int4_bytes == 2 * (TOTAL - 16 * LINEARS) + 16 * LINEARS * 4.15625 / 8
    assert size.nm_bytes is None and size.saves_nothing == ()


@pytest.mark.parametrize(("blocks", "gib"), [(0, 2.302), (2, 2.075), (4, 1.849), (6, 1.622), (8, 1.396)])
@pytest.mark.parametrize("pattern", ["", *PATTERNS])
def test_every_configuration_of_the_thesis(llama: ModelConfig, blocks: int, gib: float, pattern: str) -> None:
    """P(D, N:M) = total - D * block - (16 - D) * linears * N / M; fp16 sizes do not shrink with the pattern."""
    stages: list[Any] = [Depth(blocks=blocks)] if blocks else []
    stages += [Width(pattern=pattern)] if pattern else []
    size = last(llama, *stages)
    removed, of = map(int, pattern.split(":")) if pattern else (0, 1)
    assert size.blocks == 16 - blocks
    assert size.parameters == TOTAL - blocks * BLOCK
    assert size.nonzero == TOTAL - blocks * BLOCK - (16 - blocks) * LINEARS * removed // of
    assert round(size.fp16_bytes / 2**30, 3) == gib
    weights = (16 - blocks) * LINEARS
    assert size.int4_bytes == 2 * (size.parameters - weights) + weights * 4.15625 / 8
    if pattern:
        bits = 4 * (of - removed) / of + 1
        assert size.nm_bytes == 2 * (size.parameters - weights) + weights * (bits + 0.15625) / 8
        assert size.saves_nothing == ((pattern,) if pattern in ("1:8", "1:16") else ())


@pytest.mark.parametrize(
    ("pattern", "bitmask", "ranked"),
    [
        *[((2, 4), 3.0, 2.75), ((4, 8), 3.0, 2.875), ((8, 16), 3.0, 2.875), ((3, 4), 2.0, 1.5)],
        *[((1, 8), 4.5, 3.875), ((1, 16), 4.75, 4.0), ((1, 2), 3.0, 2.5), ((6, 8), 2.0, 1.625)],
    ],
)
def test_bits_per_weight_of_patterns(pattern: tuple[int, int], bitmask: float, ranked: float) -> None:
    assert (bitmask_bits(*pattern), ranked_bits(*pattern)) == (bitmask, ranked)


def test_a_pattern_that_costs_more_than_dense_codes_is_told(llama: ModelConfig) -> None:
    table = size_table(dry_run(llama, Recipe(stages=(Width(pattern="1:8"),))))
    assert "Removing 1 of every 8 saves nothing" in table and "4.5 bits per weight" in table
    assert "saves nothing" not in size_table(dry_run(llama, Recipe(stages=(Width(pattern="2:4"),))))
    unstructured = last(llama, Width(sparsity=0.5, roles=("gate", "up", "down")))
    assert unstructured.nm_bytes is None and unstructured.saves_nothing == ("1024:2048", "4096:8192")
    assert unstructured.nonzero == TOTAL - 16 * 3 * 2048 * 8192 // 2


def test_roles_that_were_left_out_stay_dense(llama: ModelConfig) -> None:
    ffn = 16 * 3 * 2048 * 8192
    size = last(llama, Width(pattern="2:4", roles=("gate", "up", "down")))
    assert size.nonzero == TOTAL - ffn // 2
    assert size.nm_bits_per_weight == round(4 - ffn / (16 * LINEARS), 4)


def test_an_earlier_stricter_pattern_stays(llama: ModelConfig) -> None:
    for first, second in (("3:4", "2:4"), ("2:4", "3:4")):
        assert last(llama, Width(pattern=first), Width(pattern=second)).nonzero == TOTAL - 16 * LINEARS * 3 // 4


def test_real_models_have_the_sizes_that_were_promised(calibration: Calibration) -> None:
    """Every stage that changes storage, run on a model: its checkpoint has what the dry run said."""
    source = checkpoint(config(n_layers=4))
    stages = (
        Depth(remove=(1,)),
        Width(pattern="1:4", metric="magnitude"),
        QuantizeBlocks(by="rtn", bits=4, group_size=16, bits_of={"down": 6}),
        Eora(rank=9, roles=("q", "up"), samples=2),
        Lora(rank=3, merge=False, roles=("k", "q"), steps=1, samples=2),
    )
    promised = dry_run(source.config, Recipe(stages=stages))
    model = before = source
    for stage, size in zip(stages, promised[1:], strict=True):
        model = stage.run(model, Work(lambda: source, calibration, before_quantize=before))
        before = before if model.packed else model
        found = size_of(model)
        for key in ("parameters", "bytes", "block_bits_per_weight"):
            assert getattr(size, key) == found[key], (stage.method, key)
        # Rounding to codes may make more zeros, never fewer; before it the count is exact.
        assert found["nonzero"] <= size.nonzero if model.packed else found["nonzero"] == size.nonzero, stage.method


def test_the_command_prints_the_table_or_json(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('[[stage]]\nmethod = "depth"\nblocks = 2\n[[stage]]\nmethod = "width"\npattern = "4:8"\n')
    arguments = ["compress", "--dry-run", "--config", str(LLAMA), "--recipe", str(recipe)]
    text = CliRunner().invoke(cli, arguments)
    assert text.exit_code == 0, text.output
    for word in ("1,235,814,400", "2.302", "1,114,171,392", "2.075", "688,449,536", "depth blocks=2"):
        assert word in text.output
    document = json.loads(CliRunner().invoke(cli, [*arguments, "--json"]).stdout)
    assert document[-1]["nonzero"] == 688_449_536 and document[-1]["nm_bits_per_weight"] == 3.0


def test_impossible_stages_are_found_without_weights(llama: ModelConfig) -> None:
    with pytest.raises(RecipeError, match=r"cannot remove 11 of 16 blocks.* 10 may go"):
        dry_run(llama, Recipe(stages=(Depth(blocks=11),)))
    with pytest.raises(RecipeError, match="2048 inputs are not a multiple of 12"):
        dry_run(llama, Recipe(stages=(Width(pattern="3:12"),)))
