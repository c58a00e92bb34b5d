"""What the operator sees. A terminal that was closed is no reason to stop half-way."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from tasks.domain.errors import TandemError


class LaunchError(TandemError):
    """It cannot run; the message is one sentence that says what to do."""


def say(line: str = "") -> None:
    """A line on stdout, at once also through a pipe."""
    _write(sys.stdout, line)


def warn(line: str) -> None:
    """One warning on stderr."""
    _write(sys.stderr, f"warning: {line}")


def fail(line: str) -> None:
    """The one sentence before a non-zero exit."""
    _write(sys.stderr, f"error: {line}")


def _write(stream: TextIO, line: str) -> None:
    try:
        stream.write(line + "\n")
        stream.flush()
    except (OSError, ValueError):
        # Nobody reads any more. What is still buffered would fail again at exit and change the exit status.
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, stream.fileno())
        os.close(devnull)
