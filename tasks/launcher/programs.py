"""The processes that are started, and in which order they stop."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.launcher.valkey import LOOPBACK, Valkey
from tasks.settings import Settings

#: The whole stop fits into 20 s: 3 (web) + 8 + 3 (workers) + 1 (sandbox) + 3 (Valkey) and a moment between each.
WEB_S, DRAIN_S, LEAVE_S, SANDBOX_S, STORE_S = 3, 8.0, 3, 1, 3
#: A process that ends sooner than this after its start is started again with a growing pause, else at once.
SETTLED_S = 4


@dataclass(frozen=True, kw_only=True)
class Program:
    """One supervised process. Those of one group stop together; groups stop one after the other, highest first."""

    name: str
    command: Sequence[str]
    group: str
    priority: int
    stop_s: int
    settled_s: int = SETTLED_S

    @property
    def id(self) -> str:
        """What the supervisor calls it."""
        return f"{self.group}:{self.name}"


def drain_s(here: Settings) -> float:
    """How long workers may finish what they hold. What is not finished by then is put back, so nothing is lost."""
    return min(here.drain_s, DRAIN_S)


def store(server: Valkey) -> Program:
    """The embedded Valkey: stops last, when nobody writes any more."""
    return Program(name="valkey", command=server.command, group="store", priority=10, stop_s=STORE_S, settled_s=1)


def sandbox(port: int) -> Program:
    """Who answers when there is neither an engine nor a key: stays until the workers have finished."""
    command = [sys.executable, "-m", "tasks.providers.sandbox", "--host", LOOPBACK, "--port", str(port)]
    return Program(name="sandbox", command=command, group="upstream", priority=20, stop_s=SANDBOX_S, settled_s=1)


def api_worker(here: Settings) -> Program:
    """The worker of the api queues."""
    return _worker(here, "api", here.api_concurrency)


def gpu_worker(here: Settings) -> Program:
    """The worker with the engine."""
    return _worker(here, "gpu", here.gpu_concurrency)


def flower(here: Settings) -> Program:
    """Flower, for this machine only and for looking only: it has no login, and could otherwise run tasks."""
    command = [sys.executable, "-m", "tasks.flower", f"--address={LOOPBACK}", f"--port={here.flower_port}"]
    command.append("--read_only=true")
    return Program(name="flower", command=command, group="front", priority=40, stop_s=WEB_S)


def web() -> Program:
    """The REST API: stops first."""
    command = [sys.executable, "-m", "gunicorn", "-c", "python:web.server"]
    command += ["--graceful-timeout", str(WEB_S - 1), "web:create_app()"]
    return Program(name="web", command=command, group="front", priority=40, stop_s=WEB_S)


def _worker(here: Settings, queue: str, threads: int) -> Program:
    # Mingle would cost a second at each start; gossip grows with the square of the workers.
    command = _celery("worker", "-Q", queue, "-P", "threads", "-c", str(threads), "-n", f"{queue}@%h")
    command += ["--without-mingle", "--without-gossip"]
    stop_s = int(drain_s(here)) + LEAVE_S
    return Program(name=queue, command=command, group="workers", priority=30, stop_s=stop_s)


def _celery(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "celery", "-A", "tasks", *arguments]
