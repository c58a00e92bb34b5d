"""The limits as they stand: what was used and learned, who waits, and what providers say of their keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from redis import Redis

from tasks import quotas, settings
from tasks.store import connection, keys
from tasks.store.scripts import Scripts, renamed

#: How long a provider's word of its key counts.
REPORT_KEPT_S = 3600


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A scope's standing. `requests` and `tokens` are used in the window, `day` since midnight UTC; times are ms.

    `limit` is the number of requests per window that counts now, None without one.
    """

    requests: int
    tokens: int
    day: int
    calls: int
    waiting: int
    limit: int | None
    learned: int | None
    learned_at: int | None
    held_until: int | None
    refused: int
    asked: int


class Limits:
    """The standing of the limits on one Redis. Every method raises Unavailable."""

    def __init__(self, redis: Redis, *, policy: str) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._policy = policy

    def standing(self, scope: str) -> Standing:
        """How one scope stands now."""
        flat = self._scripts.call("standing", [], [self._policy, scope])
        said = dict(
            zip(flat[::2], (None if number == "" else int(float(number)) for number in flat[1::2]), strict=True)
        )
        return Standing(**cast(dict[str, Any], said))

    def first_to_ask(self, provider: str, every_s: float) -> bool:
        """Whether this caller is to ask the provider now: one of all workers, once in `every_s`."""
        with renamed():
            return bool(self._redis.set(f"{keys.key_report(provider)}:asked", 1, nx=True, ex=max(1, int(every_s))))

    def keep_report(self, provider: str, said: Mapping[str, Any]) -> None:
        """Keep what a provider says of its key."""
        with renamed():
            self._redis.set(keys.key_report(provider), json.dumps(said), ex=REPORT_KEPT_S)

    def report(self, provider: str) -> dict[str, Any] | None:
        """What a provider said of its key lately."""
        with renamed():
            said = self._redis.get(keys.key_report(provider))
        return json.loads(str(said)) if said else None


@cache
def default() -> Limits:
    """The limits on this process' Redis."""
    return Limits(connection.default(), policy=quotas.policy(settings.get()))
