"""Our keys at the providers: which are refused, and so hold their provider (lua/circuit.lua)."""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import cast

from redis import Redis

from tasks import settings
from tasks.domain.access import KeyHold
from tasks.domain.job import from_ms
from tasks.store import connection, keys
from tasks.store.circuits import Breaker, KeyRefused
from tasks.store.claim import Claim
from tasks.store.jobs import Jobs
from tasks.store.scripts import Scripts, renamed

#: So long after a key was looked at no other worker looks at it: those of one host start together.
LOOKED_AT_S = 10


class Waits(Enum):
    """What became of a job whose provider refused our key."""

    WAITS = "waits"
    #: Others are answered under the key: it is the job's own affair, and nothing was written.
    OF_MODEL = "of_model"
    #: It is not the caller's any more.
    GONE = "gone"


class Access:
    """The keys as they stand on one Redis. Every method raises Unavailable."""

    def __init__(self, redis: Redis, *, breaker: Breaker) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._breaker = breaker

    def begin(self, provider: str, fingerprint: str) -> bool:
        """A worker starts with this key: whether that ended a hold, which another key had brought about."""
        return bool(self._scripts.call("begin_key", [], [provider, fingerprint]))

    def first_to_look(self, provider: str, fingerprint: str) -> bool:
        """Whether this caller is to look whether the key is good: one of those that start together."""
        with renamed():
            name = f"{keys.access(provider)}:{fingerprint}"
            return bool(self._redis.set(name, 1, nx=True, ex=LOOKED_AT_S))

    def hold(self, provider: str, why: str) -> bool:
        """The provider refused the key when it was asked about it: whether nobody knew that before."""
        return bool(self._scripts.call("hold_key", [], [why, *self._breaker.times, provider]))

    def held(self) -> list[KeyHold]:
        """The providers that refuse our key, by name."""
        with renamed():
            found = cast(set[str], self._redis.smembers(keys.CIRCUITS))
            names = sorted(name for name in found if name.startswith(keys.KEY_CIRCUIT))
            if not names:
                return []
            pipe = self._redis.pipeline(transaction=False)
            for name in names:
                pipe.hmget(keys.circuit(name), "until", "opened_at", "why")
                pipe.zcard(keys.parked(keys.circuit_line(name)))
            said = pipe.execute()
        return [
            KeyHold(
                provider=name.removeprefix(keys.KEY_CIRCUIT),
                reason=why,
                since=from_ms(opened_at),
                until=from_ms(until),
                waiting=waiting,
            )
            for name, (until, opened_at, why), waiting in zip(names, said[::2], said[1::2], strict=True)
            if until is not None
        ]


def wait(jobs: Jobs, claim: Claim, *, why: str) -> Waits:
    """Let a job wait, uncharged, until the key that its provider refused is good. Raises Unavailable."""
    told = jobs.breaker.word(claim, KeyRefused(why=why))
    answer = jobs.scripts.call("await_key", [keys.job(claim.job_id)], [claim.job_id, claim.owner, why, told])
    return Waits(answer[0]) if answer else Waits.GONE


@cache
def default() -> Access:
    """The keys on this process' Redis."""
    return Access(connection.default(), breaker=Breaker.of(settings.get()))
