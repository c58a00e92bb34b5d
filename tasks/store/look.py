"""A look at Redis that many threads need at the same moment: one of them asks, the others get what it got."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Look(Generic[T]):
    """`ask`, once for all who come while it is under way.

    With a lock around it they would ask one after the other: of sixty-four threads the last would wait for sixty-four
    time-outs of a Redis that does not answer.
    """

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._under_way: Future[T] | None = None

    def take(self) -> T:
        """What it answers; raises what it raises."""
        mine: Future[T] = Future()
        with self._lock:
            found = self._under_way
            if found is None:
                self._under_way = mine
        if found is not None:
            return found.result()
        try:
            value = self._ask()
        except BaseException as error:
            self._end()
            mine.set_exception(error)
            raise
        self._end()
        mine.set_result(value)
        return value

    def _end(self) -> None:
        with self._lock:
            self._under_way = None
