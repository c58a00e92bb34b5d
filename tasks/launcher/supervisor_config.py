"""What supervisord is told: its own configuration file, written anew at every start."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from tasks.launcher.programs import Program

LOG_BYTES, OLD_LOGS = 5_000_000, 2
#: After so many failures to settle, each with a longer pause, the supervisor gives up and the launcher sees to it.
RETRIES = 3

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


def text(programs: Sequence[Program], *, run: Path, logs: Path, socket: Path) -> str:
    """The configuration. Nothing starts by itself: the launcher decides when."""
    parts = [DAEMON.format(logs=_plain(logs), run=_plain(run), socket=_plain(socket))]
    parts += [_program(one, logs) for one in programs]
    for name, priority in {one.group: one.priority for one in programs}.items():
        members = ",".join(one.name for one in programs if one.group == name)
        parts.append(GROUP.format(name=name, programs=members, priority=priority))
    return "".join(parts)


def _program(one: Program, logs: Path) -> str:
    return PROGRAM.format(
        name=one.name, command=_plain(shlex.join(one.command)), priority=one.priority, settled_s=one.settled_s,
        retries=RETRIES, stop_s=one.stop_s, logs=_plain(logs), log_bytes=LOG_BYTES, old_logs=OLD_LOGS,
    )  # fmt: skip


def _plain(value: object) -> str:
    """`value` as supervisor's configuration wants it: a percent sign would begin a variable."""
    return str(value).replace("%", "%%")
