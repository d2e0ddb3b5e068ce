"""A clock that only tests move, in place of the one that training stages read."""

from __future__ import annotations


class Clock:
    """Seconds since some beginning."""

    now = 100.0

    def monotonic(self) -> float:
        """The time as it was set."""
        return self.now
