"""Whether Redis has room for one more job. What was accepted must be finishable: accepting stops before it is full."""

from __future__ import annotations

import threading
import time
from functools import cache

from redis import Redis

from tasks import settings
from tasks.domain.errors import NoRoom
from tasks.domain.estimate import ANSWER_BYTES
from tasks.store import connection, keys
from tasks.store.look import Look
from tasks.store.scripts import renamed

#: A reading of Redis' memory counts for this long, or for this many bytes accepted since, whichever ends first.
READING_S, READING_BYTES = 0.2, 1024 * 1024
RETRY_AFTER_S = 5.0
#: How long the word of a trial write stays.
TRIED_S = 60
#: What an item of a batch takes in Redis beyond its line until it has ended: 1.2 kB when it is read, and then its
#: message, its trail, and an answer. What it asks for is known when it is read.
ITEM_BYTES = 2500 + ANSWER_BYTES


class Capacity:
    """Refuses what would fill Redis over `share` of its maxmemory. Redis keeps the rest to finish what it holds.

    What accepted lines of batches will take when they are read, and answers when their jobs have ended, counts as if it
    were there.
    """

    def __init__(self, redis: Redis, *, share: float) -> None:
        self._redis = redis
        self._share = share
        #: Held for counting only, never while Redis is asked.
        self._lock = threading.Lock()
        self._look = Look(self._read)
        self._read_at = float("-inf")
        self._since = 0
        self._left_bytes = 0.0

    def reserve(self, size_bytes: int, *, later_bytes: int = 0) -> None:
        """Count on `size_bytes` more. There must be room for `later_bytes`, which will come without being asked for.

        Raises NoRoom when Redis is too full, and Unavailable when it is away.
        """
        with self._lock:
            self._since += size_bytes
            is_old = time.monotonic() - self._read_at > READING_S or self._since > READING_BYTES
        if is_old:
            self._look.take()
        if self._left_bytes < later_bytes:
            raise NoRoom("the queue is full: Redis has no room for more jobs", retry_after_s=RETRY_AFTER_S)

    def try_write(self) -> None:
        """Write a word. Raises Unavailable when Redis does not take it: a replica after a failover, a lost disk."""
        with renamed():
            self._redis.set(keys.TRIED, 1, ex=TRIED_S)

    def _read(self) -> None:
        with renamed():
            pipe = self._redis.pipeline(transaction=False)
            pipe.info("memory")
            pipe.mget(keys.UNREAD, keys.RESERVED_BYTES)
            memory, (unread, reserved) = pipe.execute()
        most = int(memory["maxmemory"])
        to_come = max(0, int(unread or 0)) * ITEM_BYTES + max(0, int(reserved or 0))
        used = int(memory["used_memory"]) + to_come
        self._left_bytes = most * self._share - used if most > 0 else float("inf")
        with self._lock:
            self._read_at, self._since = time.monotonic(), 0


@cache
def default() -> Capacity:
    """The room on this process' Redis."""
    return Capacity(connection.default(), share=settings.get().accept_until)
