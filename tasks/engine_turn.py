"""Who may be in the engine: many jobs at a time, or one alone.

A job that may be deadly has the engine to itself. That, and the load that follows if it is, leaves the others about
half of the engine's time, however many such jobs there are.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tasks.providers.base import Call

#: How often a job that waits for its turn looks whether it was cut.
LOOK_S = 0.1
#: Nobody else waits for an engine that nobody has entered for so long while jobs were popped.
QUIET_S = 1.0
#: So long at the most others go first after a load, or after a job that was alone.
OTHERS_FIRST_S = 120.0


class EngineTurn:
    """Many jobs at a time in the engine, or one job alone: it waits for the others, and they wait for it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._inside = 0
        self._alone_wanted = 0
        self._is_booked = False
        self._others_first_s = 0.0
        self._others_until = 0.0
        self._quiet_since: float | None = None

    def begin(self, loading_s: float) -> None:
        """Say that an engine is ready after so long: from the first that enters it, others go first for as long."""
        with self._changed:
            self._others_first_s = min(loading_s, OTHERS_FIRST_S)
            self._others_until = math.inf
            self._quiet_since = None

    def book(self) -> bool:
        """Take the next turn alone, until `unbook`. False when somebody has it, or others go first: ask again."""
        with self._changed:
            if self._is_booked or (self._clock() < self._others_until and not self._is_quiet()):
                return False
            self._is_booked = True
            return True

    def unbook(self) -> None:
        """Leave the next turn alone to somebody else."""
        with self._changed:
            self._is_booked = False

    @contextmanager
    def shared(self, call: Call) -> Iterator[None]:
        """Be in the engine among others. A call that was cut meanwhile is let in to be told so."""
        with self._changed:
            self._wait(lambda: not self._alone_wanted, call)
            self._inside += 1
            self._quiet_since = None
            self._others_until = min(self._others_until, self._clock() + self._others_first_s)
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
            began_at = self._clock()
            self._wait(lambda: not self._inside, call)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._alone_wanted -= 1
                self._others_first_s = min(self._clock() - began_at, OTHERS_FIRST_S)
                self._others_until = self._clock() + self._others_first_s
            self._leave()

    def _is_quiet(self) -> bool:
        """Whether nobody has been inside since somebody asked this, QUIET_S ago at least."""
        if self._inside:
            return False
        if self._quiet_since is None:
            self._quiet_since = self._clock()
        return self._clock() - self._quiet_since >= QUIET_S

    def _wait(self, is_free: Callable[[], bool], call: Call) -> None:
        while not is_free() and call.why_cut is None:
            self._changed.wait(LOOK_S)

    def _leave(self) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()
