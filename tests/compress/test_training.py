"""The training loop: schedules, windows, limits of time, states that resume to the same bytes, losses that explode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch trains")

from edgec.compress.stage import Work  # noqa: E402
from edgec.compress.training import Group, Training, cosine, draw, schedule  # noqa: E402
from edgec.errors import RecipeError  # noqa: E402
from tests.compress.clock import Clock  # noqa: E402
from tests.tiny_models import checkpoint, config  # noqa: E402


def work_for(partial: Path | None = None, deadline: float | None = None) -> Work:
    return Work(lambda: checkpoint(config()), partial=partial, deadline=deadline)


class Counter:
    """A state beside the parameters."""

    def __init__(self) -> None:
        self.seen = np.zeros(2)

    def arrays(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def restore(self, arrays: dict[str, Any]) -> None:
        self.seen = arrays["seen"]


class Bowl:
    """A loss |x - 1|^2 with noise drawn as dropout is."""

    def __init__(self, work: Work, steps: int, kill: int = -1, clock: Clock | None = None, **options: Any) -> None:
        self.x = torch.zeros(3, requires_grad=True)
        self.counter, self.kill, self.clock = Counter(), kill, clock or Clock()
        self.shares: list[float] = []
        group = Group({"x": self.x}, 0.1)
        usual: dict[str, Any] = {"factor": lambda step, planned: schedule(step, planned, 0.1), "save_every": 4}
        self.training = Training("lora", [group], work, steps=steps, state=self.counter, **(usual | options))

    def run(self) -> Any:
        self.training.run(self.gradients)
        return self.x.detach().numpy().copy()

    def gradients(self, step: int, done: float) -> float:
        if step == self.kill:
            raise KeyboardInterrupt
        self.clock.now += 0.25
        self.shares.append(done)
        self.counter.seen = self.counter.seen + np.array([1, step])
        loss = (self.x - 1 + 0.1 * torch.randn(3)).square().sum()
        loss.backward()
        return float(loss.detach())


def test_rates_rise_then_fall_and_windows_are_all_seen() -> None:
    rates = [schedule(step, 40, 0.1) for step in range(40)]
    assert rates[:4] == sorted(rates[:4]) and rates[4:] == sorted(rates[4:], reverse=True)
    assert max(rates) == 1 and 0 < rates[-1] < 0.01 and 0 < rates[0] < 0.3
    assert schedule(0, 1, 0.05) > 0
    assert cosine(0) == 1 and cosine(0.5) == pytest.approx(0.5) and cosine(1) == cosine(2) == 0
    seen = [i for number in range(8) for i in draw((0, 0), number, 2, 8)]
    assert sorted(seen[:8]) == sorted(seen[8:]) == list(range(8)) and seen[:8] != seen[8:]
    assert draw((0, 0), 0, 8, 8) != draw((1, 0), 0, 8, 8)


def test_steps_are_what_is_done_without_a_limit(tmp_path: Path) -> None:
    bowl = Bowl(work_for(), 10)
    before = torch.get_rng_state()
    bowl.run()
    assert bowl.shares == [step / 10 for step in range(10)] and bowl.training.done == 1
    assert torch.equal(before, torch.get_rng_state())
    assert bowl.training.losses[-1] < bowl.training.losses[0] and len(bowl.training.notes()["losses"]) == 10


@pytest.mark.parametrize("deadline", [None, 10_000.0])
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path, clock: Clock, deadline: float | None) -> None:
    """Also with a time limit, as long as it does not bind."""
    whole = Bowl(work_for(), 12)
    wanted = whole.run()
    with pytest.raises(KeyboardInterrupt):
        Bowl(work_for(tmp_path, deadline), 12, kill=10, clock=clock).run()
    again = Bowl(work_for(tmp_path, deadline), 12, clock=clock)
    assert np.array_equal(again.run(), wanted)
    assert again.shares == [step / 12 for step in range(8, 12)]
    assert again.counter.seen.tolist() == [12, 66] == whole.counter.seen.tolist()
    assert again.training.losses == whole.training.losses and again.training.shares == whole.shares


def test_a_limit_of_time_is_the_end_of_every_schedule(clock: Clock) -> None:
    factors: list[float] = []

    def factor(step: int, planned: float) -> float:
        factors.append(schedule(step, planned, 0.1))
        return factors[-1]

    bowl = Bowl(work_for(deadline=110.0), 100_000, clock=clock, factor=factor)
    bowl.run()
    assert clock.now == 110 and bowl.training.step == 40 and bowl.training.done == 1
    assert bowl.shares == pytest.approx([step / 40 for step in range(40)])
    assert max(factors) > 0.9 and factors[-1] < 0.01

    minutes = Bowl(work_for(deadline=1000.0), 100_000, clock=clock, minutes=0.1)
    minutes.run()
    assert clock.now == 116 and minutes.training.step == 24

    over = Bowl(work_for(deadline=50.0), 100_000, clock=clock)
    over.run()
    assert over.training.step == 1


def test_a_resumed_run_never_goes_back(tmp_path: Path, clock: Clock) -> None:
    """The second run has a limit of its own for the rest of the schedule."""
    first = Bowl(work_for(tmp_path, 110.0), 100_000, kill=24, clock=clock)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = Bowl(work_for(tmp_path, clock.now + 5), 100_000, clock=clock)
    second.run()
    assert first.shares[-1] == pytest.approx(23 / 40)
    assert second.shares[0] == pytest.approx(24 / 40)  # of the state kept after 24 steps
    assert second.shares == sorted(second.shares) and len(second.shares) == 20 and second.training.done == 1


def test_a_loss_that_explodes_is_one_sentence() -> None:
    bowl = Bowl(work_for(), 10)
    with pytest.raises(RecipeError, match=r"lora stage diverged at step 1; lower its rate of 0\.1"):
        bowl.training.run(lambda step, done: float("nan"))
