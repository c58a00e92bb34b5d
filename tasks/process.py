"""What this worker process is, and the jobs it holds."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from tasks import settings
from tasks.providers.base import DEADLINE, Call
from tasks.room import BatchRoom
from tasks.serving import Serving

#: Why we end calls ourselves, besides the deadline.
LOST, DRAIN = "lost", "drain"
#: How often a job that waits for its turn in the engine looks whether it was cut.
LOOK_S = 0.1


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
        self._held: dict[tuple[str, int], tuple[Held, Call]] = {}
        self._looking = 0
        self._closed: str | None = None

    def __len__(self) -> int:
        return len(self._held)

    @property
    def looking_now(self) -> int:
        """How many threads hold a job or may claim one."""
        return self._looking

    @property
    def is_idle(self) -> bool:
        """Whether no job is held, nor about to be."""
        return not self._looking

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Count a thread that may claim a job, from before it asks until the job is out of its hands."""
        with self._lock:
            self._looking += 1
        try:
            yield
        finally:
            with self._lock:
                self._looking -= 1

    @contextmanager
    def holding(self, claim: Held, call: Call) -> Iterator[None]:
        """Keep a job among those whose lease is pushed on, for as long as the block runs."""
        lease = (claim.job_id, claim.fence)
        with self._lock:
            self._held[lease] = (claim, call)
            closed = self._closed
        if closed is not None:
            call.cut(closed)
        try:
            yield
        finally:
            with self._lock:
                del self._held[lease]

    def leases(self) -> list[tuple[str, int]]:
        """(job id, fence) of all that is held."""
        with self._lock:
            return list(self._held)

    def calls(self) -> list[tuple[Held, Call]]:
        """All that is held, at this moment."""
        with self._lock:
            return list(self._held.values())

    def cut(self, job_id: str, why: str) -> None:
        """End the calls of one job, if any run here: one whose lease was lost may still be on its way out."""
        for claim, call in self.calls():
            if claim.job_id == job_id:
                call.cut(why)

    def cut_lost(self, leases: Iterable[tuple[str, int]]) -> None:
        """End the calls whose job is not ours any more."""
        for lease in leases:
            with self._lock:
                held = self._held.get(lease)
            if held is not None:
                held[1].cut(LOST)

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


class EngineTurn:
    """Many jobs at a time in the engine, or one job alone: it waits for the others, and they wait for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._alone_wanted = 0

    @contextmanager
    def shared(self, call: Call) -> Iterator[None]:
        """Be in the engine among others. A call that was cut meanwhile is let in to be told so."""
        with self._changed:
            self._wait(lambda: not self._alone_wanted, call)
            self._inside += 1
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def alone(self, call: Call) -> Iterator[None]:
        """Be in the engine alone. A call that was cut meanwhile is let in to be told so."""
        with self._changed:
            self._wait(lambda: not self._alone_wanted, call)
            self._alone_wanted += 1
            self._wait(lambda: not self._inside, call)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._alone_wanted -= 1
            self._leave()

    def _wait(self, is_free: Callable[[], bool], call: Call) -> None:
        while not is_free() and call.why_cut is None:
            self._changed.wait(LOOK_S)

    def _leave(self) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()


@dataclass(kw_only=True)
class WorkerProcess:
    """One worker process. `servings` are the queues it serves; `name` is its own, new at every start; `capacity` is how
    many calls it makes at a time."""

    name: str
    servings: tuple[Serving, ...]
    isolation_slots: int
    capacity: int = 1
    in_flight: InFlight = field(default_factory=InFlight)
    engine_turn: EngineTurn = field(default_factory=EngineTurn)
    draining: threading.Event = field(default_factory=threading.Event)
    #: Told when a call found the engine gone, so that it is looked at now.
    on_engine_lost: Callable[[], None] = lambda: None
    #: Told when the engine has answered a call: as good as a probe of it.
    on_engine_answer: Callable[[], None] = lambda: None
    #: Told in how many seconds a job that waits for a limit may go.
    on_wait: Callable[[float], None] = lambda _: None

    def __post_init__(self) -> None:
        self.isolation = threading.BoundedSemaphore(self.isolation_slots)
        self.batch_room = BatchRoom(self.capacity, self._singles)

    def _singles(self) -> int:
        room = self.batch_room
        return self.in_flight.looking_now - room.items - room.shards

    def serving(self, queue: str) -> Serving | None:
        """Who answers the jobs of `queue` here, if anybody does."""
        return next((one for one in self.servings if one.queue == queue), None)


_here: WorkerProcess | None = None


def start(node: str, servings: tuple[Serving, ...], *, capacity: int) -> WorkerProcess:
    """Say what this process is, and how many calls it makes at a time. Called once, when the worker starts."""
    global _here
    name = f"{node}#{secrets.token_hex(4)}"
    _here = WorkerProcess(
        name=name, servings=servings, isolation_slots=settings.get().isolation_slots, capacity=capacity
    )
    return _here


def here() -> WorkerProcess:
    """This worker process. Raises RuntimeError in a process that is none."""
    if _here is None:
        raise RuntimeError("this process is not a worker")
    return _here


def wait_for_limit(next_in_s: float) -> None:
    """A job that waits for a limit may go in so many seconds: this process, if it is a worker, will see to it."""
    if _here is not None:
        _here.on_wait(next_in_s)
