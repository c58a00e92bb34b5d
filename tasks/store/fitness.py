"""Whether this Redis can keep what is promised: its version, what it does when full, and whether it writes to disk.

By INFO alone: hosted ones do not let anybody ask for their settings.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import Any

from redis import Redis
from redis.exceptions import NoPermissionError

from tasks.domain.errors import Unavailable
from tasks.store import connection
from tasks.store.look import Look
from tasks.store.scripts import RETRY_AFTER_S, renamed

#: Scripts with flags came with Redis 7: an older one accepts jobs that nobody can claim.
OLDEST = 7
#: How long a look counts: settings change, and another server may answer after a failover.
LOOK_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Fitness:
    """What was found. With `fault` no job may be accepted; `warnings` are what may lose accepted ones."""

    fault: str = ""
    warnings: tuple[str, ...] = ()


class Fit:
    """Looks at one Redis now and then."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._look = Look(self._ask)
        self._found, self._until = Fitness(), float("-inf")

    def look(self) -> Fitness:
        """What it is like, as of LOOK_S ago at the most. Raises Unavailable when it is away."""
        return self._found if time.monotonic() < self._until else self._look.take()

    def ensure(self) -> None:
        """Raise Unavailable when this Redis cannot be used at all, or is away."""
        if fault := self.look().fault:
            raise Unavailable(fault, retry_after_s=RETRY_AFTER_S)

    def _ask(self) -> Fitness:
        try:
            with renamed():
                pipe = self._redis.pipeline(transaction=False)
                for section in ("server", "memory", "persistence"):
                    pipe.info(section)
                said: dict[str, Any] = {name: value for part in pipe.execute() for name, value in part.items()}
            found = judged(said)
        except Unavailable as error:
            if not isinstance(error.__cause__, NoPermissionError):
                raise
            found = Fitness(warnings=("the Redis in REDIS_URL does not let us ask what it is (INFO)",))
        self._found, self._until = found, time.monotonic() + LOOK_S
        return found


def judged(said: dict[str, Any]) -> Fitness:
    """What INFO means for us."""
    version = str(said.get("redis_version", OLDEST))
    if int(version.partition(".")[0]) < OLDEST:
        return Fitness(fault=f"the Redis in REDIS_URL is too old: version {OLDEST} or newer is needed, not {version}")
    warnings = []
    policy = said.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        warnings.append(
            f"the Redis in REDIS_URL has maxmemory-policy {policy}: when full it drops accepted jobs; use noeviction"
        )
    if int(said.get("aof_enabled", 1)) == 0:
        warnings.append(
            "the Redis in REDIS_URL has no append-only file: when it ends, accepted jobs are lost; use appendonly yes"
        )
    return Fitness(warnings=tuple(warnings))


@cache
def default() -> Fit:
    """The fitness of this process' Redis."""
    return Fit(connection.default())
