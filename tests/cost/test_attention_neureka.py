"""The prediction for attention whose scores are N-EUREKA's: steps of tokens on the public model of Siracusa."""

from __future__ import annotations

import pytest

from edgec.cost.engine import call_cycles
from edgec.ops.attention import factor
from edgec.ops.attention_neureka import first_position, form
from edgec.target import load_target

# heads, those of keys, elements, position, cycles of one step in a token over an empty cache
MEASURED = [
    (9, 3, 28, 255, 15936),
    (9, 3, 64, 255, 23435),
    (9, 3, 64, 100, 13111),
    (15, 5, 16, 255, 21744),
    (15, 5, 16, 100, 11886),
    (14, 2, 64, 255, 35993),
    (8, 4, 16, 16, 2055),
    (8, 4, 16, 64, 4382),
    (8, 4, 16, 255, 12514),
    (8, 2, 64, 64, 10155),
    (8, 2, 64, 128, 15337),
    (8, 2, 64, 255, 22628),
    (16, 8, 32, 64, 12252),
    (16, 8, 32, 255, 30608),
    (3, 1, 64, 50, 4358),
    (3, 1, 64, 53, 4137),
    (3, 1, 64, 118, 5984),
    (9, 3, 28, 101, 9044),
    (9, 3, 28, 118, 10112),
]
PAIRS = [  # of two heads with the same keys that do not fill the cores
    (4, 2, 64, 127, 8402),
    (4, 2, 64, 255, 13378),
    (2, 1, 128, 127, 7493),
    (2, 1, 128, 255, 11888),
    (6, 3, 48, 63, 8037),
    (6, 3, 48, 255, 17560),
    (10, 5, 64, 95, 15844),
    (10, 5, 64, 255, 31426),
    (12, 6, 32, 127, 14994),
    (12, 6, 32, 255, 24086),
    (12, 6, 16, 255, 18099),
    (4, 2, 32, 255, 9316),
]
SHAPES = ((9, 3, 28), (9, 3, 64), (15, 5, 16), (8, 4, 16), (8, 2, 64), (16, 8, 32), (4, 2, 64), (6, 3, 48), (12, 6, 32))


def numbers(heads: int, kv: int, d: int, pos: int) -> dict[str, float]:
    sizes = {"m": 1, "n_heads": heads, "n_kv_heads": kv, "head_dim": d, "pos": pos, "lds": 256, "cores": 8, "lanes": 1}
    return {**sizes, "rooms": max(8, heads), "factor": float(factor(d))}


@pytest.mark.parametrize(("heads", "kv", "d", "pos", "measured"), MEASURED)
def test_steps_of_tokens(heads: int, kv: int, d: int, pos: int, measured: int) -> None:
    predicted = call_cycles(load_target("siracusa"), "attention_neureka", numbers(heads, kv, d, pos))
    assert 0.95 < predicted / measured < 1.05


@pytest.mark.parametrize(("heads", "kv", "d", "pos", "measured"), PAIRS)
def test_steps_of_tokens_of_pairs(heads: int, kv: int, d: int, pos: int, measured: int) -> None:
    predicted = call_cycles(load_target("siracusa"), "attention_neureka", numbers(heads, kv, d, pos))
    assert 0.92 < predicted / measured < 1.08


def test_the_engine_is_taken_where_it_is_no_slower() -> None:
    """Beside attention by the cores alone: at the first such position, and at a late one."""
    target = load_target("siracusa")
    for heads, kv, d in SHAPES:
        first = first_position(numbers(heads, kv, d, 0))
        assert form(heads, kv, d, first - 1, 8) != "engine"
        for pos, worth in ((first, 1.0), (255, 0.98)):
            by_engine, by_cores = (
                call_cycles(target, name, numbers(heads, kv, d, pos)) for name in ("attention_neureka", "attention")
            )
            assert by_engine < worth * by_cores, (heads, d, pos)
