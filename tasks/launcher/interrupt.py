"""Ctrl-C and its relatives: SIGINT, SIGTERM, and SIGHUP of a terminal that was closed."""

from __future__ import annotations

import os
import select
import signal
from types import FrameType, TracebackType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupt:
    """Remembers whether one of the signals came; a second one changes nothing.

    A pipe, because threading.Event may deadlock when it is set by a handler that interrupts its own wait().
    """

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        for number in SIGNALS:
            signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # Python and its last words may still take a moment: a signal in it must not spoil the exit status.
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        os.close(self._read)
        os.close(self._write)

    def wait(self, timeout_s: float) -> bool:
        """Wait for a signal; whether one has come, now or before."""
        return bool(select.select([self._read], [], [], timeout_s)[0])

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        try:
            os.write(self._write, b"!")
        except BlockingIOError:
            return  # full: it has been noted often enough
