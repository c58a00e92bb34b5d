"""One running `vllm serve` and its group."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from tasks.engine import command
from tasks.engine.config import EngineConfig
from tasks.engine.traces import SCRATCH_PREFIX, Traces

#: Below Linux's ephemeral ports, so that no outgoing connection takes the port before vLLM has bound it (8 s later).
PORTS = range(20000, 32000)
#: A unix socket's path has 107 characters; vLLM's names below the scratch folder take up to 45 of them.
LONGEST_SCRATCH = 60


class EngineProcess:
    """Started by its making. `on_exit` is called once, from a thread of its own, when the API server has ended.

    Raises OSError when it cannot be started. The thread that makes it must outlive it: the engine gets SIGTERM when
    that thread ends (see tied.py).
    """

    def __init__(self, config: EngineConfig, *, on_exit: Callable[[], None]) -> None:
        if not config.executable.is_file():
            raise FileNotFoundError(f"no engine is installed at {config.executable}")
        self.port = _free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        #: What requests to /v1 must show: other users of this machine reach the port, too.
        self.api_key = secrets.token_urlsafe(24)
        self._traces = Traces(config.run_dir)
        self._popen = self._start(config)
        threading.Thread(target=self._await_exit, args=(on_exit,), name="engine-exit", daemon=True).start()

    @property
    def exit_status(self) -> int | None:
        """None while the API server runs. 0 does not mean that all was well: a dead EngineCore gives 0 too."""
        return self._popen.poll()

    def note_shared_memory(self) -> None:
        """Remember which shared memory is the engine's, for the case that it is killed."""
        self._traces.note_shared_memory()

    def ask_to_end(self) -> None:
        """Begin the drain: SIGTERM to the API server alone, because the group's other members must go on working."""
        self._popen.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the API server's end; False when it has not come in time."""
        try:
            self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def clear(self) -> None:
        """Kill what is left of the group and remove its traces."""
        self._traces.clear()
        if self._popen.poll() is None:  # where /proc hides environments the marker is not seen
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, signal.SIGKILL)

    def _start(self, config: EngineConfig) -> subprocess.Popen[bytes]:
        scratch = _make_scratch()
        self._traces.note(port=self.port, scratch=str(scratch))
        with _open_log(config.run_dir / "engine.log") as output:
            popen = subprocess.Popen(  # noqa: S603 - the operator's own settings
                command.arguments(config, self.port),
                env=command.environment(config, os.environ, scratch, api_key=self.api_key),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal must not reach it: the drain would break
            )
        self._traces.note(pid=popen.pid)
        return popen

    def _await_exit(self, on_exit: Callable[[], None]) -> None:
        self._popen.wait()
        on_exit()


def _free_port() -> int:
    for port in random.sample(PORTS, 200):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port between {PORTS.start} and {PORTS.stop}")


def _make_scratch() -> Path:
    usual = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX))
    if len(str(usual)) <= LONGEST_SCRATCH:
        return usual
    usual.rmdir()
    return Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX, dir="/tmp"))


def _open_log(path: Path) -> BinaryIO:
    if path.exists():
        path.replace(path.with_suffix(".log.1"))
    return path.open("wb")
