"""One launcher per data folder, and what an earlier one left behind.

Every process started from here carries a mark in its environment, which its own children inherit: whatever becomes of
parents and process groups, the mark says to which data folder a process belongs.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from tasks.launcher.terminal import LaunchError

#: Not TANDEM_…: those are withheld from the engine, which must carry it too.
MARK = "SUPERVISED_FOR_TANDEM"
#: Set by supervisor for each of its children.
NAME = "SUPERVISOR_PROCESS_NAME"
#: What a supervisor left alone may take to stop everything in order, and what its orphans may take.
IN_ORDER_S, ORPHANS_S, STORE_S, KILL_S = 20.0, 4.0, 3.0, 2.0
#: Nobody else reads prompts and answers: they are in the log of Valkey, in files and in logs of engines.
PRIVATE = 0o700
#: Helpers of a process that has just ended (multiprocessing's server of children) end by themselves within this.
HELPERS_S = 0.5


@contextmanager
def owned(data: Path) -> Iterator[None]:
    """Own `data` for the block. Raises LaunchError when another launcher that lives does."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(data.stat().st_mode) != PRIVATE:
            data.chmod(PRIVATE)
        lock = (data / "launcher.lock").open("a+")
    except OSError as error:
        raise LaunchError(f"{data} (TANDEM_DATA) cannot be written to: {error.strerror}") from error
    with lock:
        try:
            # Freed by the system when this process ends, however it ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise LaunchError(
                f"another make run (process {lock.read().strip()}) is using {data}: "
                "stop it, or give this one a TANDEM_DATA and ports of its own"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def find(data: Path) -> dict[psutil.Process, str]:
    """The living processes that belong to `data`, each with its name in the supervisor ("" for the supervisor)."""
    found = {}
    for process in psutil.process_iter():
        try:
            environ = process.environ()
            if environ.get(MARK) == str(data) and process.status() != psutil.STATUS_ZOMBIE:
                found[process] = environ.get(NAME, "")
        except psutil.Error:
            continue
    return found


def end(data: Path) -> None:
    """End every process that belongs to `data`: in order as far as they can, the store last."""
    for chosen, patience_s in (
        (lambda name: name == "", IN_ORDER_S),
        (lambda name: name != "valkey", ORPHANS_S),
        (lambda name: True, STORE_S),
    ):
        _terminate([process for process, name in find(data).items() if chosen(name)], patience_s)
    kill(data)


def kill(data: Path) -> list[str]:
    """Kill what is left of `data`; returns the names. Looks again, as a parent may just have had a child."""
    psutil.wait_procs(list(find(data)), timeout=HELPERS_S)
    names: list[str] = []
    ends_at = time.monotonic() + KILL_S
    while (left := find(data)) and time.monotonic() < ends_at:
        names += [name for name in left.values() if name not in names]
        _each(left, psutil.Process.kill)
        psutil.wait_procs(list(left), timeout=0.5)
    return names


def _terminate(processes: Sequence[psutil.Process], patience_s: float) -> None:
    _each(processes, psutil.Process.terminate)
    psutil.wait_procs(processes, timeout=patience_s)


def _each(processes: Iterable[psutil.Process], do: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        try:
            do(process)
        except psutil.NoSuchProcess:
            continue
