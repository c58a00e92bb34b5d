"""How much of a worker batches may take: what single jobs leave, and a floor, so that they are never starved."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from tasks.domain.job import Priority
from tasks.providers.base import Call

T = TypeVar("T")

#: The share of a worker's calls that batches keep when single jobs could fill all of it.
FLOOR = 0.1
#: Shards a worker runs side by side: while one waits for its last item the next fill the room.
SHARDS, SHARD_SHARE = 4, 4
#: A worker that has run nothing of a batch for so long looks for one first.
STARVED_S = 2.0
#: How often who waits for a place looks whether its shard was cut.
LOOK_S = 0.1
#: kombu's priorities, first served first.
SINGLE, BATCH = (int(Priority.INTERACTIVE),), (int(Priority.HIGH), int(Priority.NORMAL), int(Priority.LOW))


class BatchRoom:
    """Counts the items of batches that run here. `singles` tells how many single jobs do at the moment."""

    def __init__(self, capacity: int, singles: Callable[[], int]) -> None:
        self._capacity = capacity
        self._floor = max(1, int(capacity * FLOOR))
        self._most_shards = max(1, min(SHARDS, capacity // SHARD_SHARE))
        self._singles = singles
        self._changed = threading.Condition()
        self._pool = ThreadPoolExecutor(max_workers=capacity, thread_name_prefix="item")
        self.items = 0
        self.shards = 0
        self._ran_at = time.monotonic()

    @contextmanager
    def shard(self) -> Iterator[None]:
        """Count a shard for as long as the block runs."""
        with self._changed:
            self.shards += 1
        try:
            yield
        finally:
            with self._changed:
                self.shards -= 1
            self._ran_at = time.monotonic()

    def enter(self, handle: Call, wanted: int) -> int:
        """Wait for places for more items, and take as many as are wanted and there. 0 when the shard was cut."""
        with self._changed:
            while (free := max(self._floor, self._capacity - self._singles()) - self.items) <= 0:
                if handle.why_cut is not None:
                    return 0
                self._changed.wait(LOOK_S)
            got = min(free, wanted) if handle.why_cut is None else 0
            self.items += got
            return got

    def leave(self, count: int) -> None:
        """Give places back that nobody needs."""
        with self._changed:
            self.items -= count
            self._changed.notify(count)

    def submit(self, run: Callable[[T], None], item: T) -> Future[None]:
        """Run an item in a place that was taken for it."""
        return self._pool.submit(self._run, run, item)

    def order(self) -> Sequence[int]:
        """The priorities to pop now, the first served first: no shard beyond those there is room for."""
        if self.shards >= self._most_shards:
            return SINGLE
        if not self.shards and not self.items and time.monotonic() - self._ran_at > STARVED_S:
            return (*BATCH, *SINGLE)
        return (*SINGLE, *BATCH)

    def _run(self, run: Callable[[T], None], item: T) -> None:
        try:
            run(item)
        finally:
            self.leave(1)
