"""The whole service as real processes: Valkey, sandbox, gunicorn, supervised workers. What chaos is let loose on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import requests
from requests.adapters import HTTPAdapter

from tasks.engine.traces import Traces
from tests.support import trail
from tests.support.polling import until
from tests.support.valkey import Valkey, free_port

ROOT = Path(__file__).parents[2]


class Supervised:
    """A process that is started again whenever it exits, as a supervisor would."""

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], log: Path, root: Path) -> None:
        self._command, self._env, self.log, self._root = list(command), dict(env), log, root
        self.exits: list[int] = []
        self._stopping = threading.Event()
        self._spawn()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def _spawn(self) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self._command, cwd=self._root, env=self._env, stdout=out, stderr=out, start_new_session=True
            )

    def _keep(self) -> None:
        while True:
            self.exits.append(self.process.wait())
            if self._stopping.wait(0.2):
                return
            self._spawn()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the process alone."""
        self.process.send_signal(number)

    def retire(self) -> None:
        """Do not start it again after its next exit."""
        self._stopping.set()

    def end(self) -> None:
        """Kill the process and its group, for good."""
        self.retire()
        for number in (signal.SIGCONT, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                break
        self._keeper.join(10)


class Service:
    """`with Service(tmp_path) as service:` runs everything on free ports of loopback."""

    def __init__(
        self,
        data: Path,
        *,
        workers: int = 2,
        concurrency: int = 64,
        env: Mapping[str, str] | None = None,
        valkey_options: Sequence[str] = (),
        worker_options: Sequence[str] = (),
        sandbox_url: str | None = None,
    ) -> None:
        self.data = data
        #: The code that is run; another one may be set for what is started next.
        self.root = ROOT
        self.valkey = Valkey(data / "valkey", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction",
                             *trail.OPTIONS, *valkey_options)  # fmt: skip
        self._count, self._concurrency, self._worker_options = workers, concurrency, list(worker_options)
        self._port, self._sandbox_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.sandbox_root = f"http://127.0.0.1:{self._sandbox_port}"
        self.sandbox_log = data / "sandbox.jsonl"
        self._outside_sandbox = sandbox_url
        self.env = {
            **os.environ,
            "TANDEM_ENV_FILE": "/dev/null",
            "REDIS_URL": self.valkey.url,
            "NVIDIA_API_KEY": "", "NVIDIA_BASE_URL": "", "OPENROUTER_API_KEY": "", "TANDEM_API_KEYS": "",
            "TANDEM_MODEL": "", "TANDEM_API_MODEL": "",
            "TANDEM_SANDBOX_URL": sandbox_url or f"{self.sandbox_root}/v1",
            "TANDEM_DATA": str(data),
            "TANDEM_LEASE_S": "2", "TANDEM_DRAIN_S": "2", "TANDEM_BACKOFF_S": "0.2", "TANDEM_BACKOFF_CAP_S": "2",
            "TANDEM_MAX_TRIES": "10", "TANDEM_OUTAGE_S": "0",
            "PYTHONUNBUFFERED": "1",
            **(env or {}),
        }  # fmt: skip
        self.workers: list[Supervised] = []
        self._sandbox: Supervised | None = None
        self._others: list[Supervised] = []
        self.http = requests.Session()
        self.http.mount("http://", HTTPAdapter(pool_maxsize=64))

    # ---- starting and stopping ----

    def __enter__(self) -> Service:
        self.valkey.start()
        if self._outside_sandbox is None:
            self._sandbox = self.run("sandbox", "-m", "tasks.providers.sandbox", "--host", "127.0.0.1", "--port",
                                     str(self._sandbox_port), "--log", str(self.sandbox_log))  # fmt: skip
            self._others.append(self._sandbox)
        self.web = self.run_web()
        for _ in range(self._count):
            self.add_worker()
        until(self.is_ready, within_s=30, what="the service being ready")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in (*self.workers, *self._others):
            process.end()
        for noted in self.data.rglob("engine.json"):
            Traces(noted.parent).clear()  # a worker that is killed cannot clear up after its engine
        self.valkey.stop()

    def run_web(self, **env: str) -> Supervised:
        """Start gunicorn."""
        bind = f"127.0.0.1:{self._port}"
        web = self.run("web", "-m", "gunicorn", "-c", "python:web.server", "--bind", bind, "web:create_app()", env=env)
        self._others.append(web)
        return web

    def run(self, name: str, *arguments: str, env: Mapping[str, str] | None = None) -> Supervised:
        """Start `python ARGUMENTS…` under supervision."""
        own = {**self.env, **(env or {})}
        return Supervised([sys.executable, *arguments], env=own, log=self.data / f"{name}.log", root=self.root)

    def add_worker(self, queues: str = "api", **env: str) -> Supervised:
        """Start one more worker."""
        name = f"{queues}{len(self.workers)}"
        worker = self.run(
            name, "-m", "celery", "-A", "tasks", "worker", "-Q", queues, "-P", "threads", "-c", str(self._concurrency),
            "--without-mingle", "--without-gossip", "-n", f"{name}@%h", "-l", "WARNING", *self._worker_options, env=env,
        )  # fmt: skip
        self.workers.append(worker)
        return worker

    def is_ready(self) -> bool:
        """Whether the web accepts jobs and all workers have said hello."""
        try:
            answer = self.http.get(f"{self.url}/readyz", timeout=5)
        except requests.RequestException:
            return False
        return answer.status_code == 200 and len(self.live_workers()) >= len(self.workers)

    def live_workers(self) -> list[str]:
        """The names of the workers that said hello within a lease."""
        since = (time.time() - float(self.env["TANDEM_LEASE_S"])) * 1000
        return cast(list[str], self.valkey.client.zrangebyscore("tandem:workers", since, "+inf"))

    # ---- a client ----

    def post(
        self, text: str = "hi", *, timeout: float = 20, headers: Mapping[str, str] | None = None, **body: Any
    ) -> requests.Response:
        """POST /jobs."""
        return self.http.post(
            f"{self.url}/jobs", json={"prompt": text, **body}, timeout=timeout, headers=dict(headers or {})
        )

    def submit(self, text: str = "hi", **body: Any) -> str:
        """POST a job that must be accepted; its id."""
        answer = self.post(text, **body)
        assert answer.status_code in (200, 202), answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """GET a job."""
        answer = self.http.get(f"{self.url}/jobs/{job_id}", timeout=10)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def tell_sandbox(self, **said: Any) -> None:
        """PUT /control."""
        self.http.put(f"{self.sandbox_root}/control", json=said, timeout=5).raise_for_status()

    @contextmanager
    def upstream_held(self) -> Iterator[None]:
        """While the block runs calls go to the sandbox and none is answered: it is stopped.

        It cannot be told anything meanwhile, and does not log a call before the block ends.
        """
        assert self._sandbox is not None
        self._sandbox.kill(signal.SIGSTOP)
        try:
            yield
        finally:
            self._sandbox.kill(signal.SIGCONT)
