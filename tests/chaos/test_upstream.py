"""Upstreams that never answer, or ask everybody to slow down."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.polling import until
from tests.support.service import Service
from tests.support.verdict import calls, claims_in_a_hold, judge, wait_for_all

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]


def test_an_upstream_that_never_answers_holds_up_nobody_else(tmp_path: Path) -> None:
    with Service(tmp_path, workers=1, concurrency=16, env={"TANDEM_CALL_TIMEOUT_S": "2"}) as service:
        hanging = [service.submit("never", model="sandbox/hang", expires_in_s=5) for _ in range(12)]
        others = [service.submit(f"job {n}") for n in range(200)]
        begun = time.monotonic()
        wait_for_all(service, others, within_s=5)
        others_s = time.monotonic() - begun
        wait_for_all(service, hanging, within_s=20)
        verdict = judge(service, others)
        after = [service.submit(f"after {n}") for n in range(50)]
        wait_for_all(service, after, within_s=5)
        print(f"others after {others_s:.1f} s {verdict}; hanging: {judge(service, hanging)}; {judge(service, after)}")
        assert verdict.by_status == {"completed": 200}
        assert judge(service, hanging).by_status == {"expired": 12}
        assert service.job(hanging[0])["error"]["code"] == "deadline_exceeded"
        assert judge(service, after).by_status == {"completed": 50}, "slots were not freed"


def test_a_rate_limited_provider_is_left_alone_until_its_time(tmp_path: Path) -> None:
    """1,000 jobs against 20 s of 429 with Retry-After: all complete, and hardly a call or claim is wasted."""
    with Service(tmp_path) as service:
        service.tell_sandbox(latency_ms=50, fail={"status": 429, "retry_after_s": 2, "for_s": 20})
        ids = [service.submit(f"job {n}") for n in range(1000)]
        wait_for_all(service, ids, within_s=60)
        verdict = judge(service, ids)
        early = claims_in_a_hold(service, ids, hold_s=2)
        print(f"calls/job={verdict.calls / 1000:.2f} claims/job={verdict.claims / 1000:.2f} early={early} {verdict}")
        assert verdict.by_status == {"completed": 1000}
        assert verdict.calls <= 1300
        assert verdict.claims <= 2000
        assert early == 0


def test_a_cancelled_call_is_cut_upstream(tmp_path: Path) -> None:
    with Service(tmp_path, workers=1) as service:
        job_id = service.submit("never", model="sandbox/hang")
        until(lambda: calls(service.sandbox_log), within_s=10)
        begun = time.monotonic()
        service.http.post(f"{service.url}/jobs/{job_id}/cancel", timeout=5)
        until(lambda: any(c["outcome"] == "aborted" for c in calls(service.sandbox_log)), within_s=5)
        print(f"cut after {time.monotonic() - begun:.2f} s")
        assert time.monotonic() - begun <= 2
        assert service.job(job_id)["status"] == "cancelled"
