"""A real gunicorn on a free port, by the project's own configuration."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import requests

from tests.support.polling import until
from tests.support.valkey import free_port

REPOSITORY = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "gunicorn", "-c", "python:web.server", "web:create_app()"]


class Gunicorn:
    """One server. What it writes goes to `log`."""

    def __init__(self, environment: Mapping[str, str], log: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        self._environment = {**os.environ, **environment, "TANDEM_PORT": str(self.port), "WEB_CONCURRENCY": "2"}
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the process, and do not wait for it."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*COMMAND, *self._options], cwd=REPOSITORY, env=self._environment, stdout=log, stderr=log
            )
        return self._process

    def start(self) -> Gunicorn:
        """Start, and return when it answers."""
        process = self.launch()
        until(lambda: process.poll() is not None or self._answers(), within_s=60, what="gunicorn answering")
        assert process.poll() is None, self.log.read_text()
        return self

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/healthz", timeout=2).ok
        except requests.RequestException:
            return False

    def workers(self) -> list[int]:
        """The processes that answer (Linux)."""
        assert self._process is not None
        pid = self._process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def terminate(self) -> None:
        """Ask it to stop."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the master at once, and not its workers."""
        assert self._process is not None
        self._process.kill()

    def stop(self) -> int:
        """Stop it and return its exit status."""
        assert self._process is not None
        self.terminate()
        return self._process.wait(15)
