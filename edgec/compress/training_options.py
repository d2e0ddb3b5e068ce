"""Options that every stage that trains on text has, checked in one place (the loop itself is compress/training.py)."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import ClassVar

from edgec.errors import RecipeError
from edgec.frontend.structure import BLOCK_ROLES, role_of


@dataclass(frozen=True)
class TrainingOptions:
    """How much text, how many updates of it, how fast; `--minutes` or `minutes` end it earlier, schedules scaled."""

    method: ClassVar[str] = ""
    steps: int = 0  # updates; 0: as many as the epochs take
    epochs: float = 1.0  # over `samples` windows of the calibration text
    minutes: float = 0.0  # 0: no limit
    samples: int = 1024  # windows, or as many as the text has
    batch: int = 1  # windows of a forward pass
    accumulate: int = 2  # forward passes of an update
    rate: float = 2e-3  # of AdamW, falling along a cosine to 0
    warmup: float = 0.05  # share of the updates with a rising rate
    decay: float = 0.0  # AdamW's weight decay
    clip: float = 1.0  # largest norm of a gradient
    temperature: float = 1.0  # of both distributions where one is pulled towards the other
    low_precision: bool = True  # products in bfloat16 where the processor multiplies it fast
    save_every: int = 20  # updates between resumable states

    def __post_init__(self) -> None:
        for name in ("samples", "batch", "accumulate", "save_every"):
            if getattr(self, name) < 1:
                raise RecipeError(f"{self.method}.{name} is {getattr(self, name)}; it is at least 1.")
        if self.epochs <= 0 or self.steps < 0 or self.minutes < 0:
            raise RecipeError(f"{self.method} needs epochs above 0, and steps and minutes of at least 0.")
        if not 0 <= self.warmup < 1:
            raise RecipeError(f"{self.method}.warmup is {self.warmup}; it is at least 0 and below 1.")
        if min(self.rate, self.clip, self.temperature) <= 0 or self.decay < 0:
            raise RecipeError(f"{self.method}.rate, clip and temperature are above 0, decay at least 0.")

    def planned(self, windows: int) -> int:
        """Updates over a text of so many windows."""
        return self.steps or max(1, ceil(self.epochs * windows / (self.batch * self.accumulate)))

    def check_roles(self, roles: tuple[str, ...], known: tuple[str, ...] = (*BLOCK_ROLES, "all")) -> None:
        """Raises RecipeError for a role that there is not, and for none at all."""
        for role in roles:
            if role not in known:
                raise RecipeError(f"{self.method}.roles has no role {role!r}; known: {', '.join(known)}.")
        if not roles:
            raise RecipeError(f"{self.method} needs at least one role.")


def takes(roles: tuple[str, ...], name: str) -> bool:
    """Whether a block's matrix, or a factor of it, has one of the roles."""
    return "all" in roles or role_of(name) in roles
