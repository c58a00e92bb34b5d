"""What strangers send costs as much as it is long: four times as much of it, about four times the time."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.costs import ROWS, Row, read

#: Of four times the input. What grows with the square takes sixteen times as long, and caches may make four times five
#: or six.
MOST_TIMES = 7
#: Below that the clock and what was warmed up decide.
LEAST_S = 0.002
#: What seems to grow faster is measured again: a time is the best of so many at the most, for neighbours add to it.
ROUNDS = 8


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_time_grows_like_the_input(row: Row) -> None:
    make, run, size = row
    inputs = [make(size * times) for times in (1, 2, 4)]
    best = [float("inf")] * 3
    for _ in range(ROUNDS):
        best = [min(so_far, _seconds(run, given)) for so_far, given in zip(best, inputs, strict=True)]
        if _is_linear(best):
            return
    pytest.fail(f"seconds for {size} times 1, 2 and 4: {best}")


def _is_linear(best: list[float]) -> bool:
    return best[2] <= MOST_TIMES * max(best[0], LEAST_S)


def _seconds(run: Callable[[Any], object], given: Any) -> float:
    """CPU seconds of this thread: what others run does not count."""
    gc.disable()
    try:
        began = time.thread_time()
        read(run, given)
        return time.thread_time() - began
    finally:
        gc.enable()
