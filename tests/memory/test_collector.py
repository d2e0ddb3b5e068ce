"""The collector of cycles rests while a plan is made, and is left as it was."""

from __future__ import annotations

import gc

import pytest

from edgec.memory.collector import no_cycle_search


def test_it_rests_inside_and_goes_on_behind() -> None:
    assert gc.isenabled()
    with no_cycle_search():
        with no_cycle_search():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_goes_on_after_an_error() -> None:
    with pytest.raises(ValueError), no_cycle_search():
        raise ValueError
    assert gc.isenabled()


def test_who_has_no_collector_gets_none() -> None:
    gc.disable()
    try:
        with no_cycle_search():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
