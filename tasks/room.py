"""How much of a worker batches may take: what single jobs leave, and a floor, so that they are never starved."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from tasks.domain.job import Priority

T = TypeVar("T")

#: The share of a worker's calls that batches keep when single jobs could fill all of it.
FLOOR = 0.1
#: Shards a worker runs side by side: while one waits for its last item the next fill the room.
SHARDS, SHARD_SHARE = 4, 4
#: A worker that has run nothing of a batch for so long looks for one first.
STARVED_S = 2.0
#: The share of a worker's calls whose places are waited for together, and for how long at the most: each claim is a
#: round trip, and waking a thread for each place alone took a fifth of the rate.
TOGETHER, GATHER_S = 0.125, 0.02
#: kombu's priorities, first served first.
SINGLE, BATCH = (int(Priority.INTERACTIVE),), (int(Priority.HIGH), int(Priority.NORMAL), int(Priority.LOW))


class BatchRoom:
    """Counts the items of batches that run here. `singles` tells how many single jobs do at the moment."""

    def __init__(self, capacity: int, singles: Callable[[], int]) -> None:
        self._capacity = capacity
        self._floor = max(1, int(capacity * FLOOR))
        self._together = max(1, int(capacity * TOGETHER))
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

    @property
    def is_all_shards(self) -> bool:
        """Whether shards have every thread that could run a single job: in a worker of one call at a time, one has."""
        return self.shards >= self._capacity

    def enter(self, goes_on: Callable[[], bool], wanted: int) -> int:
        """Wait for places for more items, and take as many as are wanted and there. 0 once the shard is to end."""
        while goes_on():
            with self._changed:
                self._changed.wait_for(lambda: self._free() >= min(wanted, self._enough()), GATHER_S)
                got = max(0, min(self._free(), wanted))
                self.items += got
            if got:
                return got
        return 0

    def leave(self, count: int) -> None:
        """Give places back that nobody needs."""
        with self._changed:
            self.items -= count
            if self._free() >= self._enough():
                self._changed.notify()

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

    def _free(self) -> int:
        return max(self._floor, self._capacity - self._singles()) - self.items

    def _enough(self) -> int:
        """So many free places are worth a claim; of the floor each is."""
        return self._together if self._capacity - self._singles() > self._floor else 1

    def _run(self, run: Callable[[T], None], item: T) -> None:
        try:
            run(item)
        finally:
            self.leave(1)
