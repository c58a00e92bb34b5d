"""The regular duties: heartbeat, sweep, deadlines, and the word that a call must be cut."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable

import structlog

from tasks import limits, listing, recovery, settings
from tasks.domain.errors import Unavailable
from tasks.in_flight import LOST
from tasks.process import WorkerProcess
from tasks.store import connection, due, events, fleet, keys
from tasks.store.fleet import DRAINING, READY, Worker
from tasks.worker.gate import Gate

log = structlog.get_logger()

#: How often to sweep at the least. With short leases more often: a pause of a third of a lease reads as a Redis
#: that was away.
SWEEP_S, SWEEPS_PER_LEASE = 1.0, 6
DEADLINES_S = 0.2
#: How often to look whether it is time to ask providers about their keys.
ASK_LOOK_S = 5.0
#: How often to look whether a provider's list of models is old. The list itself is asked for once an hour.
LISTS_S = 5.0


class Beat:
    """The threads that keep this worker's word: it lives, holds these jobs, and is in this state."""

    def __init__(self, here: WorkerProcess, gate: Gate, *, capacity: int) -> None:
        self._here = here
        self._gate = gate
        self._capacity = capacity
        self._left = threading.Event()
        self._talking = threading.Lock()
        self.state = READY
        self.model = ""
        self.ready_in_s = 0.0

    def start(self) -> None:
        """Say hello and sweep now, and begin the rounds."""
        self.say_hello()
        # Before anything is claimed: only a sweep says that Redis is too full for that.
        self._sweep()
        lease_s, every_s = settings.get().lease_s, settings.get().heartbeat_s
        self._round("heartbeat", self.say_hello, every_s)
        self._round("sweep", self._sweep, min(SWEEP_S, lease_s / SWEEPS_PER_LEASE))
        self._round("models", self._refresh_lists, LISTS_S)
        self._round("limits", self._ask_providers, ASK_LOOK_S)
        self._round("deadlines", self._here.in_flight.cut_overdue, DEADLINES_S)
        events.Listener(connection.default(), keys.NUDGE, lambda job_id: self._here.in_flight.cut(job_id, LOST)).start()

    def say_hello(self) -> None:
        """One heartbeat for all that is held. What is not ours any more is cut. Redis away: the next beat will do."""
        with self._talking:
            if self._left.is_set():
                return
            try:
                self._here.in_flight.cut_lost(fleet.default().hello(self._myself(), self._here.in_flight.leases()))
            except Unavailable:
                log.warning("heartbeat.missed", worker=self._here.name)

    def say_hello_soon(self) -> None:
        """The same, without waiting for Redis."""
        threading.Thread(target=self.say_hello, name="hello", daemon=True).start()

    def say_goodbye(self) -> None:
        """Leave the fleet in order."""
        with self._talking:
            self._left.set()
            try:
                fleet.default().goodbye(self._here.name)
            except Unavailable:
                log.warning("goodbye.missed", worker=self._here.name)

    def _myself(self) -> Worker:
        return Worker(
            name=self._here.name,
            queues=",".join(self._gate.queues),
            providers=",".join(one.provider for one in self._here.servings),
            state=DRAINING if self._here.draining.is_set() else self.state,
            model=self.model,
            device=settings.get().device if self.model else "",
            in_flight=len(self._here.in_flight),
            capacity=self._capacity,
            ready_in_s=self.ready_in_s,
        )

    def _sweep(self) -> None:
        try:
            recovery.sweep(due.default())
        except Unavailable:
            log.warning("sweep.missed")

    def _refresh_lists(self) -> None:
        try:
            listing.refresh(self._here.servings)
        except Unavailable:
            log.warning("listing.missed")

    def _ask_providers(self) -> None:
        try:
            limits.ask_providers(self._here.servings)
        except Unavailable:
            log.warning("limits.missed")

    def _round(self, name: str, duty: Callable[[], None], every_s: float) -> None:
        threading.Thread(target=self._go_round, args=(duty, every_s), name=name, daemon=True).start()

    def _go_round(self, duty: Callable[[], None], every_s: float) -> None:
        # Workers started together would sweep together: the first pause differs.
        pause_s = every_s * random.random()  # noqa: S311
        while not self._left.wait(pause_s):
            try:
                duty()
            except BaseException:
                # A duty that died silently would let every lease of this worker lapse: better a new process.
                log.exception("duty.broke", duty=threading.current_thread().name)
                os._exit(70)
            pause_s = every_s
