"""What an engine leaves on the machine, and its removal: processes, shared memory, sockets, temporary files.

vLLM cleans up after itself when it ends in good order. After a crash or kill -9 its EngineCore and workers may live on
and hold the GPU, and its files in /dev/shm and its sockets stay. Processes are known by the marker in their
environment, shared memory by having been mapped by such a process, the scratch folder by the record.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil
import structlog

from tasks.engine.command import MARKER

log = structlog.get_logger()

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the kernel's, not a temporary file of ours
SCRATCH_PREFIX = "tandem-"
#: The longest `clear` waits for the end of what it killed. It takes 0.1 s, unless a process sits in a GPU driver's call
#: or the machine is overloaded.
KILL_WAIT_S = 5
POLL_S = 0.05


class Traces:
    """The traces of the engine that has this run_dir, whoever started it. The record is `run_dir`/engine.json."""

    def __init__(self, run_dir: Path) -> None:
        self._marker = str(run_dir.resolve())
        self._record = run_dir / "engine.json"

    def note(self, **facts: Any) -> None:
        """Add to the record: `pid`, `port`, `scratch`."""
        unfinished = self._record.with_suffix(".new")
        unfinished.write_text(json.dumps(self._noted() | facts))
        unfinished.replace(self._record)

    def note_shared_memory(self) -> None:
        """Add the files in /dev/shm that the engine uses now, so that they are known when no process is left to ask."""
        self.note(shared_memory=sorted(_mapped(self.processes())))

    def processes(self) -> list[psutil.Process]:
        """The living processes of this engine, whoever their parent is by now."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def clear(self) -> int:
        """Kill what still runs and remove what was left; returns how many processes were killed. Safe to repeat."""
        noted = self._noted()
        files = _mapped(self.processes()) | set(noted.get("shared_memory", ()))
        killed = self._kill()
        for name in files - (_mapped(psutil.process_iter()) if files else set()):
            with contextlib.suppress(OSError):
                (SHARED_MEMORY / name).unlink()
        if scratch := noted.get("scratch"):
            _remove_scratch(Path(scratch))
        self._record.unlink(missing_ok=True)
        return killed

    def _kill(self) -> int:
        deadline = time.monotonic() + KILL_WAIT_S
        # The trackers go last: when the others are gone they remove what those registered and then end by themselves.
        killed = self._kill_until(deadline, lambda process: not _is_tracker(process))
        while self.processes() and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return killed + self._kill_until(deadline, lambda _: True)

    def _kill_until(self, deadline: float, chosen: Callable[[psutil.Process], bool]) -> int:
        """Kill until none is found: one may have been forked while the others were being killed."""
        killed: set[int] = set()
        while found := [process for process in self.processes() if chosen(process)]:
            for process in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
                    killed.add(process.pid)
            if time.monotonic() > deadline:
                log.warning("engine.dies_slowly", pids=sorted(killed))
                break
            time.sleep(POLL_S)
        return len(killed)

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.pid != os.getpid() and process.environ().get(MARKER) == self._marker
        except (psutil.Error, OSError):  # gone, a zombie, or somebody else's
            return False

    def _noted(self) -> dict[str, Any]:
        try:
            noted: dict[str, Any] = json.loads(self._record.read_text())
        except (OSError, ValueError):
            return {}
        return noted


def _is_tracker(process: psutil.Process) -> bool:
    """Whether it is Python's own keeper of shared memory and semaphores, one per family of processes."""
    try:
        return "multiprocessing.resource_tracker" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def _mapped(processes: Iterable[psutil.Process]) -> set[str]:
    """Names of the files in /dev/shm that these processes have mapped and that still exist."""
    names: set[str] = set()
    for process in processes:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{process.pid}/maps").read_text(errors="replace").splitlines()
            names |= {line.rpartition("/")[2] for line in lines if f" {SHARED_MEMORY}/" in line}
    return {name for name in names if (SHARED_MEMORY / name).is_file()}


def _remove_scratch(folder: Path) -> None:
    with contextlib.suppress(OSError):
        # The record is a file that anybody with the data folder could have written: look before removing a tree.
        if folder.name.startswith(SCRATCH_PREFIX) and folder.lstat().st_uid == os.getuid() and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)
