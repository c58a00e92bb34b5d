"""`idle_latency`: from the moment a client sends its POST until the provider is called, in an idle system."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from benchmarks.figure import Figure
from benchmarks.house import Service, house
from tests.support.polling import until

GOAL = 1.0
JOBS, MOST_MS, WARM_UP = 150, 15.0, 10
#: Between a job's end and the next POST, at random, so that no round of the worker's is met each time.
PAUSE_S = (0.05, 0.25)


@dataclass(frozen=True, kw_only=True)
class Trip:
    """One job's way, in ms from the send: when its POST was answered, when its provider was called."""

    answered_ms: float
    called_ms: float


def measure(data: Path) -> Figure:
    """The figure."""
    with house(data, workers=1) as service:
        trips = [_trip(service) for _ in range(WARM_UP + JOBS)][WARM_UP:]
    called = [trip.called_ms for trip in trips]
    value = median(called)
    return Figure(
        value=value,
        against=MOST_MS,
        lower_is_better=True,
        goal=GOAL,
        n=JOBS,
        notes=(
            f"ms from the client's send: provider called p50 {value:.1f}, p95 {quantiles(called, n=20)[-1]:.1f}; "
            f"POST answered p50 {median(trip.answered_ms for trip in trips):.1f}",
        ),
    )


def _trip(service: Service) -> Trip:
    time.sleep(random.uniform(*PAUSE_S))
    sent_at = time.time()
    job_id = service.submit(model="sandbox/echo")
    answered_at = time.time()
    called_at = until(lambda: _called_at(service, job_id), within_s=10, what="the provider being called")
    return Trip(answered_ms=(answered_at - sent_at) * 1000, called_ms=(called_at - sent_at) * 1000)


def _called_at(service: Service, job_id: str) -> float:
    """When the sandbox was called for a job that is answered; 0 before that."""
    calls = service.http.get(f"{service.sandbox_root}/control/calls", timeout=5).json()["calls"]
    return sum(float(call["started_at"]) for call in calls if call["job_id"] == job_id and call["ended_at"])
