"""`recovery`: from kill -9 of a worker that holds 64 jobs until the last of them is done elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

from benchmarks.figure import ROUNDS, Figure, spelled
from benchmarks.house import Service, are_over, default, finished_at, house, job_ids
from tests.support.polling import until

GOAL = 1.0
HELD, BEYOND_LEASE_S = 64, 5.0
#: Long enough that no call ends by itself before its worker is killed.
HANGS_MS = 600_000


def measure(data: Path) -> Figure:
    """The figure."""
    seconds = [_round(data / str(number)) for number in range(ROUNDS)]
    lease_s = float(default("lease_s"))
    value, most = median(seconds), lease_s + BEYOND_LEASE_S
    return Figure(
        value=value,
        against=most,
        lower_is_better=True,
        goal=GOAL,
        n=ROUNDS * HELD,
        notes=(f"seconds, with a lease of {lease_s:g} s: {spelled(seconds)}; each job ran in a process of its own",),
    )


def _round(data: Path) -> float:
    with house(data, workers=1, concurrency=HELD) as service:
        doomed = service.workers[0]
        service.tell_sandbox(latency_ms=HANGS_MS)
        for _ in range(HELD):
            service.submit(model="sandbox/echo")
        until(lambda: _in_flight(service) == HELD, within_s=30, what="the worker holding all jobs")
        service.add_worker()
        until(lambda: len(service.live_workers()) == 2, within_s=30, what="the other worker being there")
        service.tell_sandbox(latency_ms=0)
        doomed.retire()
        killed_at = time.time()
        doomed.kill()
        until(lambda: are_over(service, HELD), within_s=120, every_s=0.1, what="all jobs being done elsewhere")
        return finished_at(service, job_ids(service))[-1] - killed_at


def _in_flight(service: Service) -> int:
    return int(service.http.get(f"{service.sandbox_root}/control/counts", timeout=5).json()["in_flight"])
