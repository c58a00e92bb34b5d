"""Whether what Redis has answered is on disk, for those who want no accepted job lost even to a host's crash."""

from __future__ import annotations

import time
from functools import cache
from typing import cast

import structlog
from redis import Redis
from redis.exceptions import ResponseError

from tasks.domain.errors import Unavailable
from tasks.store import connection
from tasks.store.look import Look
from tasks.store.scripts import RETRY_AFTER_S, renamed

log = structlog.get_logger()

#: How long a look at Redis' settings counts: a restart of Redis brings back those of its file.
LOOK_S = 1.0


class Durability:
    """Sees to it that Redis answers a write only once it is on disk: `appendonly yes`, `appendfsync always`.

    WAITAOF would promise the same for single writes, but under `everysec` Valkey 9.1.2 answers it before the fsync
    (docs/decisions/0006).
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._look = Look(self._set)
        self._sure_until = float("-inf")

    def ensure(self) -> None:
        """Return when every write is answered from disk. Raises Unavailable when Redis cannot be brought to that."""
        if time.monotonic() >= self._sure_until:
            self._look.take()

    def _set(self) -> None:
        with renamed():
            said = self._settings()
            if said.get("appendonly") == "yes" and said.get("appendfsync") != "always":
                self._redis.config_set("appendfsync", "always")
                log.warning("durability.appendfsync_set", was=said.get("appendfsync"), now="always")
        if said.get("appendonly") != "yes":
            raise refused("it has appendonly off")
        self._sure_until = time.monotonic() + LOOK_S

    def _settings(self) -> dict[str, str]:
        try:
            return cast(dict[str, str], self._redis.config_get("append*"))
        except ResponseError as error:
            raise refused("it may not be asked for its settings") from error


def refused(why: str) -> Unavailable:
    """The error for a Redis that cannot promise it."""
    return Unavailable(f"Redis cannot promise that accepted jobs are on disk: {why}", retry_after_s=RETRY_AFTER_S)


@cache
def default() -> Durability:
    """The durability of this process' Redis."""
    return Durability(connection.default())
