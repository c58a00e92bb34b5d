"""Ends a worker that should consume and does not, or has fallen silent: its supervisor starts a fresh one."""

from __future__ import annotations

import faulthandler
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from celery import signals
from redis.exceptions import RedisError

from tasks import publish, settings
from tasks.process import WorkerProcess
from tasks.store import connection, steps
from tasks.worker.gate import Gate

log = structlog.get_logger()

LOOKS_PER_STALL = 12
#: How long a process may be silent at the least before it is ended; its leases have lapsed by then.
SILENT_S, SILENT_LEASES = 60.0, 4
#: How often it shows that it is not.
SHOW_S = 1.0
STDERR = 2


def end_when_silent(after_s: float) -> None:
    """From now on end this process, with status 1, when no thread of its has run for so long.

    C code that holds the GIL stops every thread, and with them heartbeat and watchdogs; the clock of faulthandler needs
    no GIL. Where the threads stood goes to stderr.
    """

    def show() -> None:
        while True:
            faulthandler.dump_traceback_later(after_s, exit=True, file=STDERR)
            time.sleep(min(SHOW_S, after_s / 4))

    threading.Thread(target=show, name="silence", daemon=True).start()


class Watchdog:
    """Seen with Celery on Redis: after a lost connection the consumer lives and never pops again.

    A stall is: consuming is intended, slots are free, the queue is not empty, and nothing was popped for `stall_s`.
    """

    def __init__(self, here: WorkerProcess, gate: Gate, *, capacity: int, on_stall: Callable[[], None]) -> None:
        self._here = here
        self._gate = gate
        self._capacity = capacity
        self._on_stall = on_stall
        self._stall_s = settings.get().stall_s
        self._alive_at = time.monotonic()
        signals.task_received.connect(self._popped, weak=False)

    def start(self) -> None:
        """Begin to watch."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def _popped(self, **_: Any) -> None:
        self._alive_at = time.monotonic()

    def _run(self) -> None:
        while True:
            time.sleep(self._stall_s / LOOKS_PER_STALL)
            if not self._should_pop():
                self._alive_at = time.monotonic()
            elif time.monotonic() - self._alive_at > self._stall_s:
                log.error("watchdog.stalled", worker=self._here.name, stall_s=self._stall_s)
                self._on_stall()
                return

    def _should_pop(self) -> bool:
        if self._here.draining.is_set() or len(self._here.in_flight) >= self._capacity:
            return False
        # Steps of batches are taken whether or not there is an engine.
        queues = [*(self._gate.queues if self._gate.is_open else ()), steps.QUEUE]
        pipe = connection.default().pipeline(transaction=False)
        # Shards only while there is room for one.
        for priority in self._here.batch_room.order():
            for queue in queues:
                pipe.llen(publish.list_of(queue, priority))
        try:
            return any(pipe.execute())
        except RedisError:
            return False
