"""The bootstep that starts and stops a worker's duties with the worker."""

from __future__ import annotations

import os
from typing import Any

import structlog
from celery import bootsteps, signals

from tasks import credentials, logs, process, serving, settings
from tasks.store import steps
from tasks.worker import unacknowledged
from tasks.worker.beat import Beat
from tasks.worker.drain import Drain
from tasks.worker.engine import EngineKeeper
from tasks.worker.gate import Gate
from tasks.worker.governor import Governor
from tasks.worker.wake import Wake
from tasks.worker.watchdog import SILENT_LEASES, SILENT_S, Watchdog, end_when_silent

log = structlog.get_logger()

#: The exit status of a worker that its watchdog ended.
STALLED = os.EX_TEMPFAIL


@signals.setup_logging.connect
def _configure_logging(**_: Any) -> None:
    logs.configure()
    logs.shield_printing()


class Duties(bootsteps.StartStopStep):
    """Everything beside tasks. Started before the consumer, so that nothing is popped by a worker nobody knows of."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **_: Any) -> None:
        here = settings.get()
        queues = worker.app.amqp.queues
        engines = serving.local_queues(queues.consume_from)
        self.has_engine = bool(engines)
        self.was_asked = False
        servings = tuple(serving.local(here, queue) for queue in engines) or serving.hosted(here)
        # Nothing is popped that nobody here can answer: what was accepted for a provider whose key is gone waits.
        others = [name for name in queues.consume_from if not serving.is_hosted(name)]
        queues.select(list(dict.fromkeys([*others, *(one.queue for one in servings), steps.QUEUE])))
        self.process = process.start(worker.hostname, servings, capacity=worker.concurrency)
        self.gate = Gate(worker, [one.queue for one in servings])
        if self.has_engine:
            self.gate.shut()
        unacknowledged.install()

    def start(self, worker: Any) -> None:
        """Begin: say hello, look after leases, sweep; with an engine, start it."""
        self.beat = Beat(self.process, self.gate, capacity=worker.concurrency)
        self.keeper = EngineKeeper(self.process, self.gate, self.beat) if self.has_engine else None
        self.drain = Drain(self.process, self.beat, self.keeper)
        self.wake = Wake(worker)
        self.watchdog = Watchdog(
            self.process, self.gate, capacity=worker.concurrency, on_stall=lambda: self.drain.start_now(STALLED)
        )
        signals.worker_shutting_down.connect(self._on_shutdown, weak=False)
        if self.keeper is not None:
            self.keeper.start()
        self.beat.start()
        governor = Governor()
        self.process.on_wait = governor.wait
        governor.start()
        self.watchdog.start()
        end_when_silent(max(SILENT_S, SILENT_LEASES * settings.get().lease_s))
        credentials.begin(self.process.servings)
        log.info("worker.started", worker=self.process.name, queues=self.gate.queues)

    def stop(self, worker: Any) -> None:
        """Leave: what is not finished within the grace is put back. Ends the process.

        The status is not 0 unless it was asked to: Celery stops a worker in the same way when it breaks.
        """
        if not self.was_asked and isinstance(worker.exitcode, int):
            self.drain.end_with(worker.exitcode)
        self.drain.start()
        self.drain.join()

    def _on_shutdown(self, **_: Any) -> None:
        self.was_asked = True
        self.drain.start()
