"""The workers of the state machine: who says hello, leaves in order, or falls silent; and whose death is suspicious."""

from __future__ import annotations

import time
from collections.abc import Iterable

from redis import Redis

from tasks.store import keys
from tasks.store.claim import Claim
from tasks.store.fleet import Fleet, Worker

#: Two workers of one host, and one of another.
NAMES = ("a@one#1", "b@one#1", "a@two#1")
LEASE_S = 60.0
#: Moments of death, in leases ago: of the same moment is who died within half a lease of another, and all are past a
#: lease. The oldest is still remembered (see KEEP_S).
MOMENTS = (1.5, 2.5, 3.5)
#: How far apart, in leases, those are seen who died together.
APART = 0.2


class Workers:
    """Three workers on one Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._fleet = Fleet(redis, lease_s=LEASE_S)
        self._alive: set[str] = set()
        self._died: dict[str, float] = {}

    def hello(self, name: str, held: Iterable[Claim]) -> set[tuple[str, int]]:
        """A heartbeat for `held`; what it is told to be lost. One that had fallen silent is back."""
        self._died.pop(name, None)
        self._alive.add(name)
        leases = [(claim.job_id, claim.fence) for claim in held]
        return set(self._fleet.hello(Worker(name=name, queues="api", state="ready"), leases))

    def goodbye(self, name: str) -> None:
        """Leave in order."""
        self._died.pop(name, None)
        self._alive.discard(name)
        self._fleet.goodbye(name)

    def fall_silent(self, name: str, moment: float, late: bool) -> None:
        """Die, so many leases ago."""
        self._alive.discard(name)
        self._died[name] = moment
        at = time.time() - (moment - APART * late) * LEASE_S
        self._redis.zadd(keys.WORKERS, {name: at * 1000})

    def is_alive(self, name: str) -> bool:
        """Whether it has been heard of within a lease."""
        return name in self._alive

    def died_without_its_host(self, name: str) -> bool:
        """Whether its jobs are to be suspects the first time."""
        moment = self._died.get(name)
        neighbours = [one for one in NAMES if one != name and one.partition("@")[2] == name.partition("@")[2]]
        if moment is None:  # nobody knows of it
            return False
        if any(one in self._alive or self._died.get(one, moment) < moment for one in neighbours):
            return True
        return all(self._died.get(one) != moment for one in neighbours)
