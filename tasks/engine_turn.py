"""Who may be in the engine: many jobs at a time, or one alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tasks.providers.base import Call

#: How often a job that waits for its turn looks whether it was cut.
LOOK_S = 0.1


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
