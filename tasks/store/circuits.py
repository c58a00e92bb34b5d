"""Circuits: what a call tells of its provider's model, and which are not closed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import cast

from redis import Redis

from tasks.domain.circuit import Circuit, CircuitState
from tasks.domain.job import from_ms
from tasks.settings import Settings
from tasks.store import clock, connection, keys
from tasks.store.claim import Claim
from tasks.store.scripts import renamed


class Told(StrEnum):
    """What a call has shown of a provider's model."""

    ANSWERED = "answered"
    FAILED = "failed"
    #: It failed as if the provider were away: that counts twice.
    AWAY = "away"


@dataclass(frozen=True, kw_only=True)
class KeyRefused:
    """A call has shown that the provider refuses our key, for all models. `why` is the error's code."""

    why: str


#: What a call may have shown.
Shown = Told | KeyRefused


@dataclass(frozen=True, kw_only=True)
class Breaker:
    """When a circuit opens, and for how long: at first, and at the longest."""

    failures: int = 5
    open_s: float = 10.0
    longest_s: float = 120.0

    @classmethod
    def of(cls, here: Settings) -> Breaker:
        """As the settings have it."""
        return cls(failures=here.circuit_failures, open_s=here.circuit_open_s, longest_s=here.circuit_longest_s)

    @property
    def times(self) -> tuple[int, int]:
        """For how long a circuit is open, at first and at the longest, in ms."""
        return int(self.open_s * 1000), int(self.longest_s * 1000)

    def word(self, claim: Claim, told: Shown | None) -> str:
        """What a claim's call has shown, as the scripts take it; "" for nothing."""
        if told is None:
            return ""
        first, longest = self.times
        if isinstance(told, KeyRefused):
            return f"refused {told.why} {first} {longest} {claim.provider} {claim.target}"
        return f"{told.value} {self.failures} {first} {longest} {claim.provider}:{claim.target}"


DEFAULT = Breaker()


class Circuits:
    """The circuits on one Redis. Every method raises Unavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def not_closed(self) -> list[Circuit]:
        """Those of models that are not closed, by name."""
        with renamed():
            found = cast(set[str], self._redis.smembers(keys.CIRCUITS))
            names = sorted(name for name in found if not name.startswith(keys.KEY_CIRCUIT))
            pipe = self._redis.pipeline(transaction=False)
            clock.ask(pipe)
            for name in names:
                pipe.hgetall(keys.circuit(name))
                pipe.zcard(keys.parked(keys.circuit_line(name)))
            time, seen, *said = pipe.execute()
        now_ms = clock.now_us(time, seen) / 1000
        rows = zip(names, said[::2], said[1::2], strict=True)
        # One that nothing was heard of for a day is forgotten.
        return [_circuit(name, one, waiting, now_ms) for name, one, waiting in rows if "until" in one]


def _circuit(name: str, said: Mapping[str, str], waiting: int, now_ms: float) -> Circuit:
    provider, _, model = name.partition(":")
    return Circuit(
        provider=provider,
        model=model,
        state=CircuitState.OPEN if float(said["until"]) > now_ms else CircuitState.HALF_OPEN,
        opened_at=from_ms(said["opened_at"]),
        until=from_ms(said["until"]),
        opens=int(said["opens"]),
        waiting=waiting,
    )


@cache
def default() -> Circuits:
    """The circuits on this process' Redis."""
    return Circuits(connection.default())
