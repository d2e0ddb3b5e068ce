"""longest_context against trying every context, and Extent against its words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models
import tiny_seq2seq

from edgec.compress.rtn import quantize_model
from edgec.ir.graph import Graph
from edgec.lower.llama import constants, lower
from edgec.lower.programs import on_shapes, ready
from edgec.memory.capacity import Capacity, longest_context
from edgec.memory.plan import Extent, Position, evaluate, most
from edgec.memory.planner import plan, short_levels
from edgec.memory.repeat import Decisions
from edgec.memory.serialize import dump_plan
from edgec.target import load_target


@pytest.mark.parametrize(
    "sizes", [{"L1": 2560}, {"TILE": 4000, "L2": 540_000, "L3": 25_000, "MRAM": 20_000}, {"L1": 1100}]
)
def test_longest_context_is_the_last_that_fits(tmp_path: Path, sizes: dict[str, int]) -> None:
    """Found by bisection on one layer; here every context up to 48 is planned with all layers."""
    target = load_target(str(tiny_models.target_file(tmp_path / "t.toml", **sizes)))
    model = quantize_model(tiny_models.checkpoint(tiny_models.config(n_layers=2)), tiny_models.recipe().quantize)
    table = constants(model, 1)["rope.table"]

    def make(context: int, layers: int) -> dict[str, Graph]:
        consts = constants(model, 1) | {"rope.table": np.broadcast_to(table, (context, table.shape[1]))}
        return {"decode": lower(model, consts, "decode", 1, context, layers)}

    fits = [not plan(make(c, 2), target, c).deficits() for c in range(1, 49)]
    assert fits == sorted(fits, reverse=True)  # a longer context never needs less
    assert longest_context(make, 2, target, 48) == sum(fits)
    asked = Capacity(make, 2, target)
    assert asked.stretched(33) == make(33, 2)["decode"]
    known = Decisions(target)
    for context in (48, 7, 33):  # what is known of other plans changes neither verdicts nor plans
        alone = plan(make(context, 2), target, context)
        assert set(short_levels(make(context, 2), target, context, known)) == set(alone.deficits())
        assert dump_plan(plan(make(context, 2), target, context, known=known)) == dump_plan(alone)


@pytest.mark.parametrize("sizes", [{"L1": 3100}, {"TILE": 4000, "L2": 540_000, "L3": 35_000, "MRAM": 20_000}])
def test_a_model_with_an_encoder_counts_whole(tmp_path: Path, sizes: dict[str, int]) -> None:
    """Both programs, the weights and caches of both halves; the encoder has more layers than the decoder."""
    target = tiny_models.plain(load_target(str(tiny_models.target_file(tmp_path / "t.toml", **sizes))))
    model = quantize_model(tiny_seq2seq.source(tiny_seq2seq.config()), tiny_models.recipe().quantize)
    make = on_shapes(ready(model, target), {"encode": 1, "decode": 1}, target)
    fits = [not plan(make(c, 2), target, c).deficits() for c in range(1, 33)]
    assert fits == sorted(fits, reverse=True) and 1 < sum(fits) < 32
    assert longest_context(make, 2, target, 32) == sum(fits)


def test_extent_counts_rows_and_positions() -> None:
    for bound, first, limit in [(4, 0, 4), (4, 2, 2), (8, 4, 3)]:
        for m in range(1, 9):
            rows = [r for r in range(min(m, bound)) if first <= r < first + limit]
            assert Extent(bound, first, limit).at(m, 5) == len(rows)
            for pos in range(12):
                seen = [p for p in range(pos + min(m, bound)) if first <= p < first + limit]
                assert Extent(bound, first, limit, 3, True).at(m, pos) == 3 * len(seen)
    assert (most(Extent(4, 2, 2, 5)), most(7)) == (10, 7)
    assert (evaluate(Position(3), 9, 4), evaluate(2.5, 1, 1)) == (7, 2.5)
