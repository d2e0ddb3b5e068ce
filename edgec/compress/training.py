"""The loop behind every stage that trains: AdamW on named parameters, resumable, over when the steps or the time are.

Everything random is a function of the seed and the step's number (order of windows, dropout), so that a run which was
killed and resumed gives the bytes of one that was not. What is scheduled follows the share of the training that is
done: of its steps or of its time, whichever is more, so that rates, decays and pruning arrive at their ends with a time
limit too. Only one that binds makes results depend on the machine.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgec.compress.stage import Work
from edgec.errors import RecipeError

KEPT = ("exp_avg", "exp_avg_sq", "step")  # AdamW's state of a parameter


@dataclass(frozen=True)
class Group:
    """Parameters by name that share a rate; the norm of their gradients together is at most `clip`."""

    parameters: dict[str, Tensor]
    rate: float
    clip: float = 1.0


class State(Protocol):
    """What a stage has beside its parameters that a resumed run needs."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All of it, by name."""
        ...

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """What `arrays` gave in an earlier run."""
        ...


class Training:
    """One run; `step` is the number of steps done, `losses` has the loss of each."""

    def __init__(
        self,
        method: str,
        groups: Sequence[Group],
        work: Work,
        *,
        steps: int,
        factor: Callable[[int, float], float],
        save_every: int,
        minutes: float = 0.0,
        decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        state: State | None = None,
    ) -> None:
        """`factor` is the share of the rates at (step, steps planned); 0 `minutes`: only the work's deadline."""
        self.method, self.groups, self.work, self.steps, self.factor = method, groups, work, steps, factor
        self.save_every, self.minutes, self.state = save_every, minutes, state
        self.parameters = {name: each for group in groups for name, each in group.parameters.items()}
        tables = [{"params": list(group.parameters.values()), "lr": group.rate} for group in groups]
        self.optimizer = torch.optim.AdamW(tables, betas=betas, weight_decay=decay)
        self.losses: list[float] = []
        self.shares: list[float] = []  # what was done before each step
        self.step = 0
        self.seconds = 0.0  # of all steps done
        self.spent = 0.0  # share of the time limit that is over; kept apart so that an ample one changes nothing

    @property
    def done(self) -> float:
        """Share of the training before this step, 0 to 1; never falls, not even when a run is resumed."""
        return max(self.step / self.steps, self.spent)

    @property
    def planned(self) -> float:
        """Steps that there will be at the present speed."""
        return self.steps if self.step / self.steps >= self.spent else self.step / self.spent

    def run(self, gradients: Callable[[int, float], float]) -> None:
        """Train from where an earlier run stopped.

        `gradients` leaves the gradients of step (number, share done) in the parameters and returns its loss.
        Raises RecipeError if that is not finite.
        """
        self._resume()
        began, first = time.monotonic(), self.step
        seconds, spent = self.seconds, self.spent
        with torch.random.fork_rng(devices=[]):
            while self.done < 1:
                self._report()
                torch.manual_seed(int(np.random.default_rng([self.work.seed, 1, self.step]).integers(2**62)))
                self._update(gradients(self.step, self.done))
                self.step += 1
                elapsed = time.monotonic() - began
                self.seconds = seconds + elapsed
                left = self.work.seconds_left()
                if self.minutes:
                    left = min(left, 60 * self.minutes - self.seconds)
                if elapsed / (self.step - first) > left:
                    self.spent = 1.0  # a step that would end behind the limit is not begun
                elif not math.isinf(left):
                    self.spent = spent + (1 - spent) * elapsed / (elapsed + left)
                if self.step % self.save_every == 0 and self.done < 1:
                    self._save()

    def sampled(self, values: Sequence[float]) -> list[float]:
        """About 20 of one value a step, for the notes."""
        return [float(f"{value:.4g}") for value in values[:: max(1, len(values) // 20)]]

    def notes(self) -> dict[str, Any]:
        """What every stage that trains records."""
        return {"updates": self.step, "losses": self.sampled(self.losses)}

    def _report(self) -> None:
        recent = self.losses[-10:]
        said = f"train, loss {sum(recent) / len(recent):.3f}" if recent else "train"
        self.work.say(said, self.step, round(self.planned))

    def _update(self, loss: float) -> None:
        if not math.isfinite(loss):
            rate = max(group.rate for group in self.groups)
            raise RecipeError(f"the {self.method} stage diverged at step {self.step + 1}; lower its rate of {rate}.")
        self.losses.append(loss)
        self.shares.append(self.done)
        factor = self.factor(self.step, self.planned)
        for group, table in zip(self.groups, self.optimizer.param_groups, strict=True):
            table["lr"] = group.rate * factor
            torch.nn.utils.clip_grad_norm_(table["params"], group.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _save(self) -> None:
        arrays: dict[str, Any] = {
            "numbers": np.array([self.step, self.seconds, self.spent]),
            "losses": np.array(self.losses),
            "shares": np.array(self.shares),
        }
        for name, parameter in self.parameters.items():
            arrays[f"{name}.value"] = parameter.detach().numpy()
            arrays |= {f"{name}.{key}": value.numpy() for key, value in self.optimizer.state[parameter].items()}
        if self.state is not None:
            arrays |= {f"state.{name}": array for name, array in self.state.arrays().items()}
        self.work.save("updates", arrays)

    def _resume(self) -> None:
        arrays = self.work.load("updates")
        if arrays is None:
            return
        step, self.seconds, self.spent = arrays["numbers"].tolist()
        self.step = int(step)
        self.losses, self.shares = arrays["losses"].tolist(), arrays["shares"].tolist()
        for name, parameter in self.parameters.items():
            parameter.data.copy_(torch.from_numpy(arrays[f"{name}.value"]))
            self.optimizer.state[parameter] = {key: torch.from_numpy(arrays[f"{name}.{key}"]) for key in KEPT}
        if self.state is not None:
            found = {n.removeprefix("state."): a for n, a in arrays.items() if n.startswith("state.")}
            self.state.restore(found)


def schedule(step: int, planned: float, warmup: float) -> float:
    """Share of the full rate at a step: a linear rise, then a cosine to (nearly) 0 at the last one."""
    rise = warmup * planned
    if step < rise:
        return (step + 1) / (math.floor(rise) + 1)
    return cosine((step - rise) / max(1.0, planned - rise))


def cosine(share: float) -> float:
    """Half a cosine wave from 1 at 0 to 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def draw(seeds: Sequence[int], number: int, batch: int, available: int) -> list[int]:
    """Windows of forward pass `number`: a shuffled pass over all of them, then another one."""
    picked = []
    for i in range(number * batch, (number + 1) * batch):
        order = np.random.default_rng([*seeds, i // available]).permutation(available)
        picked.append(int(order[i % available]))
    return picked


def fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware (elsewhere it is slower than float32)."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
