"""What other threads tell an engine's supervisor."""

from __future__ import annotations

import threading
import time


class Signals:
    """Halt, suspicions and signs of life; any thread may give them, the supervisor alone pauses on them."""

    def __init__(self) -> None:
        #: When (monotonic seconds) a caller last got an answer.
        self.heard_at = 0.0
        self._halt = threading.Event()
        self._wake = threading.Event()
        self._suspected = False

    @property
    def halted(self) -> bool:
        """Whether the supervision is to end."""
        return self._halt.is_set()

    def halt(self) -> None:
        """End the supervision."""
        self._halt.set()
        self._wake.set()

    def begin(self) -> None:
        """Forget an earlier halt."""
        self._halt.clear()

    def hear(self) -> None:
        """The engine has just answered somebody."""
        self.heard_at = time.monotonic()

    def suspect(self) -> None:
        """Somebody doubts that the engine lives."""
        self._suspected = True
        self._wake.set()

    def take_suspicion(self) -> bool:
        """Whether somebody did since this was last asked."""
        suspected, self._suspected = self._suspected, False
        return suspected

    def wake(self) -> None:
        """End a pause: something is to be looked at."""
        self._wake.set()

    def pause(self, seconds: float) -> None:
        """Until the time is up, or a signal comes or has come since the last pause."""
        self._wake.wait(seconds)
        self._wake.clear()

    def back_off(self, seconds: float) -> None:
        """Until the time is up; only `halt` ends it early."""
        self._halt.wait(seconds)
