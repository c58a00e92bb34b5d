"""A launcher as a real process, in a session of its own, on free ports and a data folder of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import psutil
import requests

from tasks.launcher.owner import MARK
from tests.launcher.terminal import Terminal
from tests.support.polling import until
from tests.support.valkey import free_port

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "tasks.launcher"]
START_S, STOP_S = 90, 20
#: Where the launcher is started: a folder without an engine, which this checkout may have.
FOLDER = Path(__file__).parent


def environment(data: Path, changes: Mapping[str, str]) -> dict[str, str]:
    """The environment of a launcher whose data lie in `data`."""
    own = {"TANDEM_DATA": str(data), "TANDEM_PORT": str(free_port()), "TANDEM_FLOWER_PORT": str(free_port())}
    return {**os.environ, "PYTHONPATH": str(ROOT), **own, **changes}


def refused(data: Path, **changes: str) -> tuple[int, str]:
    """Start a launcher that is not to come up: (exit status, stderr)."""
    ended = subprocess.run(
        COMMAND, cwd=FOLDER, env=environment(data, changes), capture_output=True, text=True, timeout=START_S
    )
    assert survivors(data) == []
    return ended.returncode, ended.stderr


def survivors(data: Path) -> list[psutil.Process]:
    """The living processes that were started for `data`, however they are related."""
    found = []
    for process in psutil.process_iter():
        try:
            environ = process.environ()
            # The launcher has the one, the engine the other, everything else both.
            ours = str(data) in (environ.get("TANDEM_DATA"), environ.get(MARK))
            if ours and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def _control_terminal() -> None:
    """The first terminal that a session's leader opens becomes its controlling one: Ctrl-C and hang-ups reach it."""
    os.close(os.open(os.ttyname(1), os.O_RDWR))


class Launched:
    """`with Launched(data) as run:` is one launcher from start to end, in a terminal or without."""

    def __init__(self, data: Path, *, terminal: Terminal | None = None, **changes: str) -> None:
        self.data = data
        self.env = environment(data, changes)
        self.url = f"http://127.0.0.1:{self.env['TANDEM_PORT']}"
        self.flower_url = f"http://127.0.0.1:{self.env['TANDEM_FLOWER_PORT']}"
        self._terminal = terminal
        self._out = data.with_suffix(".out")
        with self._out.open("w+b") as out:
            to = out if terminal is None else terminal.theirs
            self.process = subprocess.Popen(
                COMMAND, cwd=FOLDER, env=self.env, stdin=to, stdout=to, stderr=to, start_new_session=True,
                preexec_fn=None if terminal is None else _control_terminal,
            )  # fmt: skip

    def __enter__(self) -> Launched:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in survivors(self.data):
            process.kill()

    def output(self) -> str:
        """All it has said so far."""
        return self._out.read_text() if self._terminal is None else self._terminal.read()

    def ready(self) -> Launched:
        """Wait until it has told where to go."""
        until(lambda: self.process.poll() is not None or "Ctrl-C stops" in self.output(), within_s=START_S)
        assert self.process.poll() is None, self.output()
        return self

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        """What Ctrl-C does: a signal to the terminal's whole process group."""
        os.killpg(self.process.pid, number)

    def stopped(self) -> float:
        """Wait for the end and see that nothing survives; returns the seconds it took."""
        began_at = time.monotonic()
        assert self.process.wait(STOP_S + 5) == 0, self.output()
        took_s = time.monotonic() - began_at
        assert took_s <= STOP_S
        assert survivors(self.data) == []
        return took_s

    def post(self, **job: Any) -> dict[str, Any]:
        """Hand in a job, and wait for it for up to 20 s if the header says so."""
        headers = {"Prefer": f"wait={job.pop('wait_s', 0)}"}
        answer = requests.post(f"{self.url}/jobs", json={"prompt": "Hello?", **job}, headers=headers, timeout=30)
        assert answer.ok, answer.text
        return cast(dict[str, Any], answer.json())

    def job(self, job_id: str) -> dict[str, Any]:
        """Ask after a job."""
        return cast(dict[str, Any], requests.get(f"{self.url}/jobs/{job_id}", timeout=5).json())

    def pid_of(self, name: str) -> int:
        """The process that the supervisor runs under this name, or 0."""
        for process in survivors(self.data):
            if re.search(rf"-n {name}@", " ".join(process.cmdline())):
                return process.pid
        return 0
