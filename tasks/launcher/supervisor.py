"""supervisord: starts the processes, starts them again when they end, and stops them in order, waiting for each."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import shlex
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

from tasks.launcher.programs import Program
from tasks.launcher.terminal import LaunchError

#: The system's limit for a unix socket's path is 104 bytes or more, and supervisor binds a longer name first.
SOCKET_PATH_BYTES = 90
START_S, POLL_S = 10.0, 0.05
LOG_BYTES, OLD_LOGS = 5_000_000, 2
#: A process that failed to settle so often is left alone for REVIVE_S, and then started again: nobody gives up.
RETRIES, REVIVE_S = 3, 5

DAEMON = """\
[supervisord]
nodaemon=true
silent=true
logfile={logs}/supervisord.log
logfile_maxbytes=1MB
logfile_backups=1
pidfile={run}/supervisord.pid
childlogdir={logs}
[unix_http_server]
file={socket}
chmod=0700
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""

PROGRAM = """\
[program:{name}]
command={command}
priority={priority}
autostart=false
autorestart=true
startsecs={settled_s}
startretries={retries}
stopwaitsecs={stop_s}
killasgroup=true
redirect_stderr=true
stdout_logfile={logs}/{name}.log
stdout_logfile_maxbytes={log_bytes}
stdout_logfile_backups={old_logs}
"""

GROUP = """\
[group:{name}]
programs={programs}
priority={priority}
"""


class Supervisor:
    """One supervisord and its processes. Logs go to `data`/logs."""

    def __init__(self, data: Path, programs: Sequence[Program], environment: Mapping[str, str]) -> None:
        self.logs = data / "logs"
        self._run = data / "run"
        self._socket = _socket_path(self._run)
        self._programs = programs
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, without any of the processes. Raises LaunchError."""
        for folder in (self.logs, self._run, self._socket.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._socket.parent.stat().st_uid != os.getuid():
            raise LaunchError(f"{self._socket.parent} belongs to somebody else")
        config = self._run / "supervisord.conf"
        config.write_text(self._config())
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(config)]
        with (self.logs / "supervisord.out").open("wb") as out:
            # A session of its own: Ctrl-C and the closing of the terminal reach the launcher only.
            self._process = subprocess.Popen(  # noqa: S603 - our own
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        self._await()

    def launch(self, program: Program) -> None:
        """Start one process and return at once. Raises LaunchError."""
        try:
            self._call("startProcess", program.id, False)
        except xmlrpc.client.Fault as fault:
            raise LaunchError(f"{program.name} could not be started: {fault.faultString}") from fault

    def is_alive(self) -> bool:
        """Whether supervisord itself runs."""
        return self._process is not None and self._process.poll() is None

    def has_failed(self, name: str) -> bool:
        """Whether a process ended before it had settled."""
        return any(info["name"] == name and info["statename"] in ("BACKOFF", "FATAL") for info in self._infos())

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
        self._ask("shutdown")
        ends_at = time.monotonic() + within_s
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
        while self.is_alive() and time.monotonic() < ends_at:
            try:
                self._call("getState")
                return
            except OSError:
                time.sleep(POLL_S)
        raise LaunchError(f"the supervisor does not start: see {self.logs / 'supervisord.out'}")

    def _infos(self) -> list[dict[str, Any]]:
        return cast(list[dict[str, Any]], self._call("getAllProcessInfo"))

    def _ask(self, method: str) -> None:
        """Call, and do without an answer while it comes up or goes."""
        with contextlib.suppress(OSError, xmlrpc.client.Error, http.client.HTTPException):
            self._call(method)

    def _call(self, method: str, *arguments: Any) -> object:
        with xmlrpc.client.ServerProxy("http://supervisor/RPC2", transport=_OverSocket(self._socket)) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)

    def _config(self) -> str:
        parts = [DAEMON.format(logs=_plain(self.logs), run=_plain(self._run), socket=_plain(self._socket))]
        parts += [self._program(one) for one in self._programs]
        groups = {one.group: one.priority for one in self._programs}
        for name, priority in groups.items():
            members = ",".join(one.name for one in self._programs if one.group == name)
            parts.append(GROUP.format(name=name, programs=members, priority=priority))
        return "".join(parts)

    def _program(self, one: Program) -> str:
        return PROGRAM.format(
            name=one.name, command=_plain(shlex.join(one.command)), priority=one.priority, settled_s=one.settled_s,
            retries=RETRIES, stop_s=one.stop_s, logs=_plain(self.logs), log_bytes=LOG_BYTES, old_logs=OLD_LOGS,
        )  # fmt: skip


class _OverSocket(xmlrpc.client.Transport):
    """XML-RPC to a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("supervisor", timeout=5)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(5)
        connection.sock.connect(str(self._path))
        return connection


def _plain(text: object) -> str:
    """`text` as supervisor's configuration wants it: a percent sign would begin a variable."""
    return str(text).replace("%", "%%")


def _socket_path(run: Path) -> Path:
    """In `run`, or in a folder of a short name that this `run` alone has."""
    path = run / "supervisor.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
        return path
    short = hashlib.sha256(os.fsencode(run)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"tandem-{os.getuid()}-{short}" / path.name
