"""Planning makes a million small objects that hold each other in no circle: looking for circles would take half of it.

CPython's collector of cycles walks all living objects again and again while their number grows. Reference counts free
what planning drops by themselves.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_cycle_search() -> Iterator[None]:
    """The collector of cycles rests inside, and goes on behind it if it ran before; also a decorator."""
    ran = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if ran:
            gc.enable()
