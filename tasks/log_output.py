"""Where log lines go: a file descriptor. That it cannot be written to fails nothing and holds up nobody."""

from __future__ import annotations

import contextlib
import io
import os
import select
import threading
from collections.abc import Callable

#: A pipe that is said to have room takes so many bytes at once without waiting (PIPE_BUF of Linux).
PIECE_BYTES = 4096
#: How long a reader that has fallen behind is waited for, once; until it reads again lines are lost at once.
PATIENCE_MS = 100


class LogOutput(io.TextIOBase):
    """A text stream for whole lines. `write` never raises and soon returns: a line that finds a closed pipe, a full
    disk or a reader that stands still is lost. Lost lines are counted, and told by `tell(count)`, which is a line, as
    soon as lines are taken again.
    """

    encoding = "utf-8"

    def __init__(self, fd: int, tell: Callable[[int], str]) -> None:
        self._fd, self._tell = fd, tell
        self._lock = threading.Lock()
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._lost = 0
        self._is_torn = self._is_stuck = False

    def write(self, text: str) -> int:
        """Write a line, or count it as lost. Returns the length of `text` either way."""
        with self._lock:
            if self._lost and self._put(self._tell(self._lost)):
                self._lost = 0
            if self._lost or not self._put(text):
                self._lost += 1
        return len(text)

    def fileno(self) -> int:
        """The descriptor that lines go to."""
        return self._fd

    def isatty(self) -> bool:
        """Whether somebody sits before it."""
        return os.isatty(self._fd)

    def flush(self) -> None:
        """Nothing is buffered here."""

    def _put(self, line: str) -> bool:
        data = ("\n" * self._is_torn + line).encode(errors="backslashreplace")
        with contextlib.suppress(OSError):
            while data and self._has_room():
                data = data[os.write(self._fd, data[:PIECE_BYTES]) :]
                self._is_torn = bool(data)
        return not data

    def _has_room(self) -> bool:
        self._is_stuck = not self._poll.poll(0 if self._is_stuck else PATIENCE_MS)
        return not self._is_stuck
