"""Lets jobs go that wait for a limit, at the moment when there is room."""

from __future__ import annotations

import threading
import time

import structlog

from tasks import publish
from tasks.domain.errors import Unavailable
from tasks.store import due

log = structlog.get_logger()

#: How often to look where nothing is known: after another worker that knew more has died.
LOOK_S = 0.5
#: The shortest pause between two looks.
LEAST_S = 0.002


class Governor:
    """A thread that asks who may go, when the one who waits longest may, and now and then."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._next_at = 0.0

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, name="governor", daemon=True).start()

    def wait(self, next_in_s: float) -> None:
        """Somebody may go in so many seconds."""
        with self._changed:
            at = time.monotonic() + next_in_s
            if at < self._next_at:
                self._next_at = at
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while (left_s := self._next_at - time.monotonic()) > 0:
                    self._changed.wait(left_s)
                self._next_at = time.monotonic() + LOOK_S
            self.wait(max(LEAST_S, self._let_go()))

    def _let_go(self) -> float:
        try:
            waiters = due.default().waiters()
        except Unavailable:
            log.warning("governor.missed")
            return LOOK_S
        publish.send(waiters.messages)
        return LOOK_S if waiters.next_in_s is None else waiters.next_in_s
