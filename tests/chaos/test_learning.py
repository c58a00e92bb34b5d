"""A limit that nobody told: the governor finds it by refusals, and there are few of them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.support.hosted import nim
from tests.support.polling import until
from tests.support.service import Service
from tests.support.verdict import calls

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

#: A minute, scaled: the same setting of limiter and sandbox.
WINDOW_S, WINDOWS = 3.0, 20
MOST_REFUSED, LEAST_USED = 0.02, 0.85


@pytest.mark.parametrize("limit", [10, 20, 45])
def test_an_undisclosed_limit_is_found_with_few_refusals(tmp_path: Path, limit: int) -> None:
    """Learning starts from 30, NIM's default; its refusals give no hint."""
    service = Service(tmp_path, workers=4, concurrency=8, env={"TANDEM_LIMIT_WINDOW_S": str(WINDOW_S)})
    service.env |= nim(service)
    with service:
        service.tell_sandbox(rpm=limit, window_s=WINDOW_S, latency_ms=20)
        for number in range(limit * (WINDOWS + 2)):
            service.submit(f"job {number}", max_tokens=40)
        first_s = until(lambda: calls(service.sandbox_log), within_s=10)[0]["started_at"]
        over_at = first_s + WINDOWS * WINDOW_S
        until(lambda: time.time() > over_at, within_s=WINDOWS * WINDOW_S + 1, every_s=0.2)
        ended = [entry for entry in calls(service.sandbox_log) if entry["event"] == "ended"]
        shown = service.http.get(f"{service.url}/limits", timeout=5).json()["data"][0]
    at = [(entry["started_at"] - first_s) / WINDOW_S for entry in ended if entry["status"] == 200]
    refused = [(entry["started_at"] - first_s) / WINDOW_S for entry in ended if entry["status"] == 429]
    used = sum(WINDOWS / 2 <= moment < WINDOWS for moment in at) / (limit * WINDOWS / 2)
    print(f"limit={limit} used={used:.3f} refused={len(refused)} of {len(ended)} in minutes {refused}")
    print(f"by minute: {[sum(n <= moment < n + 1 for moment in at) for n in range(WINDOWS)]}; {json.dumps(shown)}")
    assert len(refused) <= MOST_REFUSED * len(ended)
    assert used >= LEAST_USED
    assert shown["learned"]["requests"] <= limit + 1
