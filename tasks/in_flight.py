"""What a worker process holds under leases, and the calls that belong to it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from tasks.providers.base import DEADLINE, Call

#: Why we end calls ourselves, besides the deadline.
LOST, DRAIN = "lost", "drain"


class Held(Protocol):
    """What is held under a lease: a job, or a step of a batch."""

    @property
    def job_id(self) -> str:
        """The id of its record."""

    @property
    def fence(self) -> int:
        """What must be shown at every write."""


class InFlight:
    """The calls of this process by job. Threads add and remove their own; others look, and cut."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: By call: after a failover of Redis the same job may come twice with the same fence.
        self._held: dict[Call, Held] = {}
        self._looking = 0
        self._singles = 0
        self._closed: str | None = None

    def __len__(self) -> int:
        return len(self._held)

    @property
    def singles_now(self) -> int:
        """How many threads hold a job that came by itself, or may claim one; items of a batch come with their shard."""
        return self._singles

    @property
    def is_idle(self) -> bool:
        """Whether no job is held, nor about to be."""
        return not self._looking

    @contextmanager
    def looking(self, *, single: bool = False) -> Iterator[None]:
        """Count a thread that may claim a job, from before it asks until the job is out of its hands."""
        with self._lock:
            self._looking += 1
            self._singles += single
        try:
            yield
        finally:
            with self._lock:
                self._looking -= 1
                self._singles -= single

    @contextmanager
    def holding(self, claim: Held, call: Call) -> Iterator[None]:
        """Keep a job among those whose lease is pushed on, for as long as the block runs."""
        with self._lock:
            self._held[call] = claim
            closed = self._closed
        if closed is not None:
            call.cut(closed)
        try:
            yield
        finally:
            with self._lock:
                del self._held[call]

    def leases(self) -> list[tuple[str, int]]:
        """(job id, fence) of all that is held."""
        with self._lock:
            return list({(claim.job_id, claim.fence): None for claim in self._held.values()})

    def calls(self) -> list[tuple[Held, Call]]:
        """All that is held, at this moment."""
        with self._lock:
            return [(claim, call) for call, claim in self._held.items()]

    def cut(self, job_id: str, why: str) -> None:
        """End the calls of one job, if any run here: one whose lease was lost may still be on its way out."""
        for claim, call in self.calls():
            if claim.job_id == job_id:
                call.cut(why)

    def cut_lost(self, leases: Iterable[tuple[str, int]]) -> None:
        """End the calls whose job is not ours any more."""
        lost = set(leases)
        for claim, call in self.calls() if lost else ():
            if (claim.job_id, claim.fence) in lost:
                call.cut(LOST)

    def close(self, why: str) -> None:
        """End every call, those that come later too."""
        with self._lock:
            self._closed = why
        for _claim, call in self.calls():
            call.cut(why)

    def cut_overdue(self) -> None:
        """End the calls whose time is up."""
        for _claim, call in self.calls():
            if call.overdue():
                call.cut(DEADLINE)
