"""Waiting in tests: for a condition, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], *, within_s: float, every_s: float = 0.02, what: str = "the condition") -> T:
    """The first truthy value of `condition`. Fails the test after `within_s`."""
    ends_at = time.monotonic() + within_s
    while not (value := condition()):
        if time.monotonic() > ends_at:
            raise AssertionError(f"{what} did not come true within {within_s:g} s; last seen: {value!r}")
        time.sleep(every_s)
    return value
