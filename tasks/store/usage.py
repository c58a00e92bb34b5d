"""What owners have used: tokens by day, provider and model. Counted by the script that settles a job."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import cast

from redis import Redis

from tasks.store import connection, keys
from tasks.store.scripts import renamed

#: provider, model
Line = tuple[str, str]


class Used:
    """The counts on one Redis. Every method raises Unavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def on(self, owner: str, days: Sequence[int]) -> list[dict[Line, dict[str, int]]]:
        """Of each day (days since the epoch, UTC): (provider, model) → count by name."""
        pipe = self._redis.pipeline(transaction=False)
        for day in days:
            pipe.hgetall(keys.usage(owner, day))
        with renamed():
            return [_lines(cast(dict[str, str], said)) for said in pipe.execute()]


def _lines(said: dict[str, str]) -> dict[Line, dict[str, int]]:
    found: defaultdict[Line, dict[str, int]] = defaultdict(dict)
    for name, count in said.items():
        provider, rest = name.split(" ", 1)
        model, what = rest.rsplit(" ", 1)
        found[provider, model][what] = int(count)
    return dict(found)


@cache
def default() -> Used:
    """The counts on this process' Redis."""
    return Used(connection.default())
