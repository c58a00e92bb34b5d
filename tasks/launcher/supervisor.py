"""supervisord: starts the processes, starts them again when they end, and stops them in order, waiting for each."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from tasks.launcher import supervisor_config
from tasks.launcher.programs import Program
from tasks.launcher.terminal import LaunchError

#: The system's limit for a unix socket's path is 104 bytes or more, and supervisor binds a longer name first.
SOCKET_PATH_BYTES = 90
START_S, CALL_S, ASK_S, POLL_S = 60.0, 10.0, 1.0, 0.05
#: A process that failed to settle several times is left alone for so long, then started again: nobody gives up.
REVIVE_S = 5


class Supervisor:
    """One supervisord and its processes. Logs go to `data`/logs."""

    def __init__(self, data: Path, programs: Sequence[Program], environment: Mapping[str, str]) -> None:
        self.logs = data / "logs"
        self._run = data / "run"
        self._socket = _socket_path(self._run)
        self._programs = programs
        self._environment = dict(environment)
        self._first_pids: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, without any of the processes. Raises LaunchError."""
        for folder in (self.logs, self._run, self._socket.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._socket.parent.stat().st_uid != os.getuid():
            raise LaunchError(f"{self._socket.parent} belongs to somebody else")
        config = self._run / "supervisord.conf"
        config.write_text(supervisor_config.text(self._programs, run=self._run, logs=self.logs, socket=self._socket))
        command = [sys.executable, "-m", "tasks.launcher.supervisord", "-c", str(config)]
        with (self.logs / "supervisord.out").open("wb") as out:
            # A session of its own: Ctrl-C and the closing of the terminal reach the launcher only.
            self._process = subprocess.Popen(  # noqa: S603 - our own
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        self._await()

    def launch(self, program: Program) -> None:
        """Start one process and return at once. Raises LaunchError."""
        self._call("startProcess", program.id, False)
        self._first_pids.setdefault(program.name, self._info(program.name)["pid"])

    def is_alive(self) -> bool:
        """Whether supervisord itself runs."""
        return self._process is not None and self._process.poll() is None

    def has_failed(self, name: str) -> bool:
        """Whether the process that was launched under this name has ended, started again or not."""
        return bool(self._info(name)["pid"] != self._first_pids[name])

    def revive(self) -> None:
        """Start those again that failed again and again and have been left alone for a while."""
        down = [info["name"] for info in self._infos() if info["statename"] == "FATAL"
                and info["now"] - info["stop"] >= REVIVE_S]  # fmt: skip
        for program in self._programs:
            if program.name in down:
                self.launch(program)

    def stop(self, within_s: float) -> bool:
        """Stop everything in order; whether all of it was over in time."""
        if self._process is None:
            return True
        ends_at = time.monotonic() + within_s
        self._ask("shutdown")
        while self._process.poll() is None:
            if time.monotonic() > ends_at:
                return False
            # It looks at its processes once a second, and whenever it is asked something.
            self._ask("getState")
            time.sleep(POLL_S)
        return True

    def remove_socket(self) -> None:
        """Leave no socket behind, nor the folder that was made for it elsewhere."""
        self._socket.unlink(missing_ok=True)
        if self._socket.parent != self._run:
            shutil.rmtree(self._socket.parent, ignore_errors=True)

    def _await(self) -> None:
        ends_at = time.monotonic() + START_S
        while not self._ask("getState"):
            if not self.is_alive() or time.monotonic() > ends_at:
                raise LaunchError(f"the supervisor does not start: see {self.logs / 'supervisord.out'}")
            time.sleep(POLL_S)

    def _info(self, name: str) -> dict[str, Any]:
        return next(info for info in self._infos() if info["name"] == name)

    def _infos(self) -> list[dict[str, Any]]:
        return cast(list[dict[str, Any]], self._call("getAllProcessInfo"))

    def _ask(self, method: str) -> bool:
        """Call, and say whether there was an answer: there may be none while it comes up or goes."""
        try:
            self._call(method, timeout_s=ASK_S)
        except LaunchError:
            return False
        return True

    def _call(self, method: str, *arguments: object, timeout_s: float = CALL_S) -> object:
        transport = _OverSocket(self._socket, timeout_s)
        try:
            with xmlrpc.client.ServerProxy("http://supervisor/RPC2", transport=transport) as proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except (OSError, xmlrpc.client.Error, http.client.HTTPException) as error:
            raise LaunchError(f"the supervisor does not do {method}: {error}") from error


class _OverSocket(xmlrpc.client.Transport):
    """XML-RPC to a unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__()
        self._path = path
        self._timeout_s = timeout_s

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("supervisor")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(self._timeout_s)
        connection.sock.connect(str(self._path))
        return connection


def _socket_path(run: Path) -> Path:
    """In `run`, or in a folder of a short name that this `run` alone has."""
    path = run / "supervisor.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
        return path
    short = hashlib.sha256(os.fsencode(run)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"tandem-{os.getuid()}-{short}" / path.name
