"""Attention's cost counts the core that has most to do, as the kernels share rows, heads and positions out."""

from __future__ import annotations

import pytest

from edgec.ops import kernel
from edgec.ops.attention import split_form
from edgec.ops.attention_work import AGAIN, LANES, ONE, QUADS, REST, TILE, TILES, whole_work

CORES = 8


def busiest(m: int, heads: int, kv_heads: int, head_dim: int, pos: int, lanes: int, form: str = "") -> int:
    return whole_work(m, heads, kv_heads, head_dim, pos, CORES, lanes, form).row_flops


def cycles(figures: tuple[float, float, float, float], head_dim: int, *seen: int) -> float:
    each, element, position, product = figures
    total = sum(each + element * head_dim + n * (position + product * head_dim) for n in seen)
    if figures is ONE:
        total += sum(REST[0] + REST[1] * head_dim for n in seen if n % TILE) - AGAIN * (len(seen) - 1)
        total += TILES if max(seen) >= TILE else 0.0  # code that is there from then on
    return total


def test_a_row_of_nine_heads_takes_two_turns() -> None:
    assert busiest(1, 9, 9, 16, 20, 1) == pytest.approx(cycles(ONE, 16, 21, 21), abs=1)
    assert busiest(1, 8, 8, 16, 20, 1) == pytest.approx(cycles(ONE, 16, 21), abs=1)


def test_the_last_rows_of_a_head_see_most() -> None:
    """Three heads of 16 rows are 6 a core: the last core has rows 10 to 15 of the last head."""
    assert busiest(16, 3, 3, 16, 0, 1) == pytest.approx(cycles(ONE, 16, *range(11, 17)), abs=1)


def test_lanes_go_together_and_what_is_left_by_itself() -> None:
    """16 rows of 4 heads are 8 a core: of 3 lanes two lots and two rows, of 4, which heads of 4 elements have, two."""
    found = busiest(16, 4, 4, 16, 0, 3)
    assert found == pytest.approx(cycles(LANES, 16, 11, 14) + cycles(ONE, 16, 15, 16), abs=1)
    assert busiest(16, 4, 4, 4, 0, 4) == pytest.approx(cycles(QUADS, 4, 12, 16), abs=1)


def test_a_single_row_has_no_lanes_where_heads_have_keys_of_their_own() -> None:
    assert busiest(1, 16, 16, 4, 0, 4) == pytest.approx(cycles(ONE, 4, 1, 1), abs=1)


def test_lanes_do_not_cross_heads_of_keys() -> None:
    """One row of 8 heads over 2 of keys: no core has three of them; of 32 it has four, three together."""
    assert busiest(1, 8, 2, 16, 9, 3) == pytest.approx(cycles(ONE, 16, 10), abs=1)
    assert busiest(1, 32, 8, 16, 9, 3) == pytest.approx(cycles(LANES, 16, 10) + cycles(ONE, 16, 10), abs=1)


@pytest.mark.parametrize("form", ["teams", "phases"])
def test_positions_are_shared_evenly(form: str) -> None:
    """Nine heads take what nine eighths of a head do, not two, and a position as much as the one before."""
    assert busiest(1, 9, 3, 16, 255, 1, form) < busiest(1, 9, 3, 16, 255, 1)
    steps = [busiest(1, 9, 3, 16, pos, 1, form) for pos in (99, 199, 299)]
    assert steps[2] - steps[1] == pytest.approx(steps[1] - steps[0], abs=1)


def test_few_positions_share_values_alone() -> None:
    """A ninth head is a second one for one core, whose words the others share."""
    eight, nine, sixteen = (busiest(1, heads, 3, 16, 20, 1, "words") for heads in (8, 9, 16))
    assert eight < nine < sixteen < 2 * eight + 10


def test_a_team_of_four_has_a_quarter_of_the_positions() -> None:
    """Ten heads leave two over, with four cores each: what a position adds is 1.25 of a head's, of nine heads 1.125."""
    first, last = ({heads: busiest(1, heads, 1, 16, pos, 1, "teams") for heads in (9, 10)} for pos in (99, 199))
    counted = {heads: heads * 16 * 100 / CORES for heads in (9, 10)}  # products, which are cycles too
    nine, ten = (last[heads] - first[heads] + counted[heads] for heads in (9, 10))
    assert ten / nine == pytest.approx(1.25 / 1.125, rel=0.001)


def test_forms_follow_each_other() -> None:
    """Nine heads of 28 that share three of keys on eight cores: later forms are worth their code at later positions."""
    forms = [split_form(9, 3, 28, pos, CORES) for pos in range(256)]
    assert sorted(set(forms), key=forms.index) == ["words", "teams", "phases"]
    assert (forms.index("teams"), forms.index("phases")) == (8, 110)
    assert "phases" not in [split_form(9, 9, 28, pos, CORES) for pos in range(256)]
    assert "teams" not in [split_form(14, 2, 64, pos, CORES) for pos in range(256)]  # six are left over


def test_products_are_counted_whole() -> None:
    """Reports divide them by cycles: they are those of all cores, and of the positions that each row sees."""
    numbers = {"m": 3, "n_heads": 6, "n_kv_heads": 2, "head_dim": 8, "pos": 4, "cores": CORES, "lanes": 3}
    assert kernel("attention").work(numbers).macs == 2 * 6 * 8 * (5 + 6 + 7)
