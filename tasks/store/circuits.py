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
from tasks.store import connection, keys
from tasks.store.claim import Claim
from tasks.store.scripts import renamed


class Told(StrEnum):
    """What a call has shown of a provider's model."""

    ANSWERED = "answered"
    FAILED = "failed"


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

    def word(self, claim: Claim, told: Told | None) -> str:
        """What a claim's call has shown, as the scripts take it; "" for nothing."""
        if told is None:
            return ""
        times = f"{int(self.open_s * 1000)} {int(self.longest_s * 1000)}"
        return f"{told.value} {self.failures} {times} {claim.provider}:{claim.target}"


DEFAULT = Breaker()


class Circuits:
    """The circuits on one Redis. Every method raises Unavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def not_closed(self) -> list[Circuit]:
        """Those that are not closed, by name."""
        with renamed():
            names = sorted(cast(set[str], self._redis.smembers(keys.CIRCUITS)))
            pipe = self._redis.pipeline(transaction=False)
            pipe.time()
            for name in names:
                pipe.hgetall(keys.circuit(name))
                pipe.zcard(keys.parked(keys.circuit_line(name)))
            (seconds, micros), *said = pipe.execute()
        now_ms = seconds * 1000 + micros / 1000
        found = zip(names, said[::2], said[1::2], strict=True)
        # One that nothing was heard of for a day is forgotten.
        return [_circuit(name, one, waiting, now_ms) for name, one, waiting in found if "until" in one]


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
