"""Leaving in order: let calls finish for a grace, put the rest back uncharged, stop the engine, end the process."""

from __future__ import annotations

import os
import threading
import time

import structlog

from tasks import isolation, settings
from tasks.in_flight import DRAIN
from tasks.process import WorkerProcess
from tasks.worker.beat import Beat
from tasks.worker.engine import EngineKeeper

log = structlog.get_logger()

LOOK_S = 0.05
#: How long threads whose call was cut may take to put their jobs back.
PUT_BACK_S = 1.3
#: How long a Redis that does not answer may hold up the leave-taking.
GOODBYE_S = 0.5


class Drain:
    """Ends this process. Threads cannot be stopped, so it leaves by os._exit once nothing is held any more."""

    def __init__(self, here: WorkerProcess, beat: Beat, keeper: EngineKeeper | None) -> None:
        self._here = here
        self._beat = beat
        self._keeper = keeper
        self._once = threading.Lock()
        self._grace_s = settings.get().drain_s
        self._status = 0
        self._thread = threading.Thread(target=self._run, name="drain", daemon=True)

    def start(self) -> None:
        """Begin, once. Called from a signal handler: takes no lock it could wait for."""
        if self._once.acquire(blocking=False):
            self._here.draining.set()
            self._thread.start()

    def end_with(self, status: int) -> None:
        """End with this status, should nothing else have set one."""
        self._status = self._status or status

    def start_now(self, status: int) -> None:
        """Begin without a grace, and end with `status`."""
        self._grace_s, self._status = 0.0, status
        self.start()

    def join(self) -> None:
        """Wait for the end, which is this process' own."""
        self._thread.join()

    def _run(self) -> None:
        ends_at = time.monotonic() + self._grace_s
        log.info("drain.started", worker=self._here.name, in_flight=len(self._here.in_flight), grace_s=self._grace_s)
        self._beat.say_hello_soon()
        self._wait(ends_at)
        left = len(self._here.in_flight)
        self._here.in_flight.close(DRAIN)
        # Side by side: neither the engine nor a slow Redis may keep the process beyond its time. The first thing that
        # stopping an engine without grace does is to kill it.
        engine = threading.Thread(target=self._stop_engine, args=(ends_at,), name="stop-engine", daemon=True)
        engine.start()
        out_at = max(ends_at, time.monotonic()) + PUT_BACK_S
        self._wait(out_at)
        engine.join(max(0.0, out_at - time.monotonic()))
        goodbye = threading.Thread(target=self._beat.say_goodbye, name="goodbye", daemon=True)
        goodbye.start()
        goodbye.join(GOODBYE_S)
        isolation.clear()
        log.info("drain.ended", worker=self._here.name, released=left)
        os._exit(self._status)

    def _stop_engine(self, ends_at: float) -> None:
        if self._keeper is not None:
            self._keeper.stop(max(0.0, ends_at - time.monotonic()))

    def _wait(self, ends_at: float) -> None:
        while not self._here.in_flight.is_idle and time.monotonic() < ends_at:
            time.sleep(LOOK_S)
