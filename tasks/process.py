"""What this worker process is, and what it has at hand."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from tasks import settings
from tasks.engine_turn import EngineTurn
from tasks.in_flight import InFlight
from tasks.room import BatchRoom
from tasks.serving import Serving


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
        self.batch_room = BatchRoom(self.capacity, lambda: self.in_flight.singles_now)

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
