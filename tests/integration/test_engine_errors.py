"""Requests that their engine fails at fail with its words, and nobody else notices. Others go before deadly ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.engine.panel import Panel
from tests.support.polling import until
from tests.support.service import Service

pytestmark = pytest.mark.timeout(120)
SAYS = "the engine failed at this request: list index out of range"


def test_requests_that_an_engine_fails_at_harm_nobody_else(tmp_path: Path) -> None:
    panel = Panel(tmp_path)
    gpu = {"TANDEM_VLLM": str(panel.executable), "TANDEM_MODEL": str(panel.model), "TANDEM_DEVICE": "cpu"}
    with Service(tmp_path, workers=0) as service:
        worker = service.add_worker("gpu", **gpu)
        until(lambda: service.post(mode="gpu").status_code == 202, within_s=40, what="an engine")
        ids = [service.submit(f"{n} {'BOOM' if n % 2 else 'ok'}", mode="gpu", cache="off") for n in range(40)]
        jobs = [ended(service, job_id) for job_id in ids]

        for job in jobs[1::2]:
            assert (job["status"], job["error"]) == ("failed", {"code": "engine_error", "message": SAYS})
            assert [(one["outcome"], one["reason"]) for one in job["attempts"]] == [
                ("failed_try", SAYS),
                ("failed", "engine_error"),
            ]
        trails = Counter(tuple(one["outcome"] for one in job["attempts"]) for job in jobs[::2])
        assert trails == {("completed",): 20}, "others were harmed"
        assert (worker.exits, len(panel.lines("starts"))) == ([], 1), "the engine was taken for dead"


def test_a_job_that_kills_the_engine_lets_others_go_first(tmp_path: Path) -> None:
    panel = Panel(tmp_path)
    gpu = {"TANDEM_VLLM": str(panel.executable), "TANDEM_MODEL": str(panel.model), "TANDEM_DEVICE": "cpu"}
    with Service(tmp_path, workers=0, concurrency=1) as service:
        worker = service.add_worker("gpu", **gpu)
        until(lambda: service.post(mode="gpu").status_code == 202, within_s=40, what="an engine")
        deadly = service.submit("DIE", mode="gpu", cache="off")
        ids = [service.submit(f"{n}", mode="gpu", cache="off") for n in range(4)]
        others = [ended(service, job_id) for job_id in ids]
        crash = until(lambda: first_crash(service, deadly), within_s=40, what="its turn alone")

        assert crash is not None
        assert {job["status"] for job in others} == {"completed"}
        assert max(job["attempts"][-1]["ended_at"] for job in others) < crash["started_at"], "they waited for it"
        assert Counter(one["outcome"] for one in service.job(deadly)["attempts"][:3]) == {
            "engine_lost": 2,
            "crashed": 1,
        }
        assert worker.exits == []


def first_crash(service: Service, job_id: str) -> dict[str, Any] | None:
    return next((one for one in service.job(job_id)["attempts"] if one["outcome"] == "crashed"), None)


def ended(service: Service, job_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        job = service.job(job_id)
        return job if job["status"] in ("completed", "failed") else None

    job = until(look, within_s=40, every_s=0.1, what="its end")
    assert job is not None
    return job
