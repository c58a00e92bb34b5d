"""`cache_hit`: from a client's POST to its answer, for a job that was answered before and one that is asked anew.

The sandbox answers at once, so this is the least that a hit saves: a real model's seconds come on top.
"""

from __future__ import annotations

import json
import time
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from benchmarks.figure import Figure, alternate, spelled
from benchmarks.house import house, job_ids
from tests.support.verdict import calls

GOAL = 2.0
JOBS, WARM_UP = 200, 20
BODY = {"prompt": "tandem " * 146, "temperature": 0, "model": "sandbox/echo"}  # 1 kB
HEADERS = {"Content-Type": "application/json", "Prefer": "wait=20"}


def measure(data: Path) -> Figure:
    """The figure."""
    with house(data, workers=1) as service:
        client = HTTPConnection(urlsplit(service.url).netloc, timeout=30)
        for cache in ("refresh", *["use", "off"] * WARM_UP):
            _answered(client, cache)
        cached, uncached = alternate(lambda: _round(client, "use"), lambda: _round(client, "off"))
        asked, jobs = sum(c["event"] == "ended" for c in calls(service.sandbox_log)), len(job_ids(service))
    assert (asked, jobs) == (1 + WARM_UP + 3 * JOBS, 1 + 2 * WARM_UP + 6 * JOBS), f"{asked} calls for {jobs} jobs"
    value, against = median(cached), median(uncached)
    return Figure(
        value=value,
        against=against,
        lower_is_better=True,
        goal=GOAL,
        n=6 * JOBS,
        notes=(
            f"ms from POST to answer, medians of rounds, cached: {spelled(cached)}; uncached: {spelled(uncached)}",
            f"{jobs} jobs, {asked} calls of the sandbox: none for a cached job",
        ),
    )


def _round(client: HTTPConnection, cache: str) -> float:
    return median(_answered(client, cache) for _ in range(JOBS))


def _answered(client: HTTPConnection, cache: str) -> float:
    """Ms until a job had its answer."""
    began = time.monotonic()
    client.request("POST", "/jobs", json.dumps({**BODY, "cache": cache}), HEADERS)
    answer = client.getresponse()
    job: dict[str, Any] = json.load(answer)
    took_ms = (time.monotonic() - began) * 1000
    assert (answer.status, job["status"], job["cached"]) == (200, "completed", cache == "use"), job
    return took_ms
