"""A terminal with somebody who reads it, types, and closes the window."""

from __future__ import annotations

import contextlib
import os
import pty

CTRL_C = b"\x03"


class Terminal:
    """A pseudo-terminal. `theirs` is the end that a process has as its controlling terminal."""

    def __init__(self) -> None:
        self._ours, self.theirs = pty.openpty()
        os.set_blocking(self._ours, False)
        self._shown = b""

    def read(self) -> str:
        """All that has been on the screen so far."""
        with contextlib.suppress(OSError):
            while more := os.read(self._ours, 65536):
                self._shown += more
        return self._shown.decode(errors="replace")

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._ours, keys)

    def close(self) -> None:
        """Close the window: those who run in it are hung up."""
        self.read()
        os.close(self.theirs)
        os.close(self._ours)
