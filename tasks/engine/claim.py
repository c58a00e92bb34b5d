"""Who may run the engine of a run_dir: one process at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Claim:
    """A lock on `run_dir`, held until released or until this process ends, however it ends.

    A POSIX lock, not flock: children of the worker do not inherit it, so none of them keeps it when the worker dies.
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / "lock"
        self._file: int | None = None

    def take(self) -> None:
        """Make the folder and take it. Raises BlockingIOError when another process has it."""
        if self._file is not None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(file)
            raise BlockingIOError(f"another process runs the engine of {self._path.parent}") from error
        self._file = file

    def release(self) -> None:
        """Give it up; nothing if it was not taken."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
