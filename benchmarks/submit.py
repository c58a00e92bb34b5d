"""`submit`: accepted jobs per second with 16 clients, against a bare route that only calls apply_async.

Both sides run under this project's gunicorn settings, with the same Celery settings, on one Valkey with its AOF on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks import cpu, load
from benchmarks.bare import QUEUE
from benchmarks.figure import Figure, alternate, shared_out, spelled
from benchmarks.house import Service, forget, house
from benchmarks.load import Seen
from tests.support.polling import until
from tests.support.valkey import free_port

GOAL = 0.8
CLIENTS, SECONDS, WARM_UP_S = 16, 6.0, 1.5
BODY = {"prompt": "tandem " * 146}  # 1 kB


class Side:
    """One of the two: where it listens and the queue that its messages go to."""

    def __init__(self, service: Service, url: str, queue: str) -> None:
        self._service, self._url, self._queue = service, url, queue
        self.cpu_ms: Counter[str] = Counter()
        load.run(url, BODY, connections=CLIENTS, seconds=WARM_UP_S)

    def round(self) -> Seen:
        """One round; every answer must have its message in the queue."""
        forget(self._service)
        before = cpu.spent_ms()
        seen = load.run(self._url, BODY, connections=CLIENTS, seconds=SECONDS)
        self.cpu_ms += cpu.spent_ms() - before
        queued = self._service.valkey.client.llen(self._queue)
        assert queued == seen.n, f"{seen.n} were accepted, {queued} messages are in the queue"
        self.cpu_ms["client"] += seen.cpu_ms
        return seen


def measure(data: Path) -> Figure:
    """The figure."""
    with house(data) as service, _bare(service) as bare_url:
        ours, bare = Side(service, f"{service.url}/jobs", "api.sandbox"), Side(service, f"{bare_url}/jobs", QUEUE)
        rounds = alternate(ours.round, bare.round)
    rates = [[seen.rate for seen in side] for side in rounds]
    counts = [sum(seen.n for seen in side) for side in rounds]
    value, against = (median(side) for side in rates)
    return Figure(
        value=value,
        against=against,
        goal=GOAL,
        n=sum(counts),
        notes=(
            f"jobs/s, ours: {spelled(rates[0])}; bare: {spelled(rates[1])}; every message was found in its queue",
            f"ours, {shared_out(ours.cpu_ms, counts[0])}",
            f"bare, {shared_out(bare.cpu_ms, counts[1])}",
        ),
    )


@contextmanager
def _bare(service: Service) -> Iterator[str]:
    """The bare route's gunicorn; yields its URL."""
    bind = f"127.0.0.1:{free_port()}"
    gunicorn = service.run("bare", "-m", "gunicorn", "-c", "python:web.server", "--bind", bind, "benchmarks.bare:app")
    try:
        until(lambda: _answers(service, bind), within_s=30, what="the bare route answering")
        yield f"http://{bind}"
    finally:
        gunicorn.end()


def _answers(service: Service, bind: str) -> bool:
    try:
        return service.http.get(f"http://{bind}/", timeout=2).status_code == 404
    except OSError:
        return False
