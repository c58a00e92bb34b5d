"""How many jobs stand in line for each queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import cast

from redis import Redis

from tasks.domain.job import Priority
from tasks.store import connection, keys
from tasks.store.scripts import renamed


class Lines:
    """The lines on one Redis. Every method raises Unavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def depths(self) -> Counter[str]:
        """Queue → jobs whose message waits in it, of all priorities."""
        with renamed():
            lines = [line.split(" ") for line in cast(set[str], self._redis.smembers(keys.LINES))]
            pipe = self._redis.pipeline(transaction=False)
            for queue, priority in lines:
                pipe.zcard(keys.waiting(queue, int(priority)))
            found: Counter[str] = Counter()
            for (queue, _), depth in zip(lines, pipe.execute(), strict=True):
                found[queue] += depth
            return found

    def first(self, queues: Iterable[str]) -> int:
        """How many wait in these queues before all items of batches: single jobs, and steps that are no shards."""
        with renamed():
            pipe = self._redis.pipeline(transaction=False)
            for queue in queues:
                pipe.zcard(keys.waiting(queue, Priority.INTERACTIVE))
            return sum(pipe.execute())


@cache
def default() -> Lines:
    """The lines on this process' Redis."""
    return Lines(connection.default())
