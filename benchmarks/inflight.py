"""`inflight`: how full one worker keeps its 256 slots with calls of one second each; 256/s would be always full."""

from __future__ import annotations

from pathlib import Path

from benchmarks import cpu, load
from benchmarks.figure import Figure, shared_out
from benchmarks.house import are_over, finished_at, house, job_ids
from tests.support.polling import until

GOAL = 0.95
JOBS, SLOTS, CALL_MS = 10_000, 256, 1000
BODY = {"prompt": "tandem " * 146, "model": f"sandbox/slow-{CALL_MS}ms"}
PATIENCE_S = 300


def measure(data: Path) -> Figure:
    """The figure: from the 10th to the 90th percentile of completions, so that start and end do not count."""
    with house(data, concurrency=SLOTS) as service:
        load.run(f"{service.url}/jobs", BODY, connections=16, count=JOBS)
        before = cpu.spent_ms()
        service.add_worker()
        until(lambda: are_over(service, JOBS), within_s=PATIENCE_S, every_s=0.5, what="all jobs being over")
        spent = cpu.spent_ms() - before
        ends = finished_at(service, job_ids(service))
        peak = service.http.get(f"{service.sandbox_root}/control/counts", timeout=5).json()["peak_in_flight"]
    first, last = ends[JOBS // 10], ends[JOBS * 9 // 10]
    rate, full = JOBS * 0.8 / (last - first), SLOTS / (CALL_MS / 1000)
    return Figure(
        value=rate,
        against=full,
        goal=GOAL,
        n=JOBS,
        notes=(
            f"jobs/s of one worker with {SLOTS} threads; at most {peak} calls were in flight at a time",
            shared_out(spent, JOBS),
        ),
    )
