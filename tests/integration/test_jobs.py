"""A job's way from the POST to the answer, through Celery and a provider, and what can be read on the way."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil

from tests.support.keyspace import IN_A_BODY, places_of
from tests.support.polling import until
from tests.support.service import Service
from tests.support.verdict import calls

CANARY = "canary-7f3a-the-prompt-that-must-stay-private"


def test_a_prompt_comes_back_answered(service: Service) -> None:
    answer = service.post("hello there", headers={"Prefer": "wait=10"})
    job = answer.json()
    assert answer.status_code == 200
    assert answer.headers["Preference-Applied"] == "wait=10"
    assert job["status"] == "completed"
    assert job["result"]["content"].startswith("[simulated] ")
    assert job["usage"]["total_tokens"] == job["usage"]["prompt_tokens"] + job["usage"]["completion_tokens"]
    [attempt] = job["attempts"]
    assert (attempt["queue"], attempt["provider"], attempt["outcome"]) == ("api.sandbox", "sandbox", "completed")
    assert attempt["worker"].startswith("api")


def test_without_waiting_the_job_is_asked_after(service: Service) -> None:
    with service.upstream_held():
        answer = service.post("hello")
        assert answer.status_code == 202
        assert answer.headers["Location"] == f"/jobs/{answer.json()['id']}"
        until(lambda: service.job(answer.json()["id"])["status"] == "processing", within_s=5)
    until(lambda: service.job(answer.json()["id"])["status"] == "completed", within_s=5)


def test_no_gpu_worker_is_a_503_for_gpu_only(service: Service) -> None:
    refused = service.post("hello", mode="gpu")
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) > 0
    assert service.post("hello", mode="auto").status_code == 202
    assert service.post("hello", mode="api").status_code == 202


def test_a_failing_provider_is_asked_again_and_every_try_can_be_read(service: Service) -> None:
    job_id = service.submit("hello", model="sandbox/status-503+times-2")
    until(lambda: service.job(job_id)["status"] == "completed", within_s=15)
    outcomes = [(a["n"], a["outcome"], a["reason"]) for a in service.job(job_id)["attempts"]]
    assert outcomes == [
        (1, "failed_try", "provider_overloaded"),
        (2, "failed_try", "provider_overloaded"),
        (3, "completed", None),
    ]


def test_what_will_fail_again_fails_at_once(service: Service) -> None:
    job_id = service.submit("hello", model="sandbox/status-410")
    until(lambda: service.job(job_id)["status"] == "failed", within_s=5)
    assert service.job(job_id)["error"]["code"] == "model_retired"
    assert len([c for c in calls(service.sandbox_log) if c["job_id"] == job_id and c["outcome"] == "in_flight"]) == 1


def test_a_prompt_that_the_model_finds_too_long_fails_by_that_name(service: Service) -> None:
    job_id = service.submit("hello", model="sandbox/too-long")
    until(lambda: service.job(job_id)["status"] == "failed", within_s=5)
    job = service.job(job_id)
    assert job["error"]["code"] == "context_too_long"
    assert "1024 tokens" in job["error"]["message"]
    assert [attempt["reason"] for attempt in job["attempts"]] == ["context_too_long"]


def test_a_waiting_job_says_what_it_waits_for_and_holds_no_slot(service: Service) -> None:
    job_id = service.submit("hello", model="sandbox/status-503-after-30+times-1")

    def put_back() -> dict[str, Any]:
        job = service.job(job_id)
        return job if job["status"] == "pending" and job["attempts"] else {}

    waiting_on = until(put_back, within_s=5)["waiting_on"]
    assert waiting_on["reason"] == "backoff"
    assert waiting_on["until"] is not None
    until(lambda: sum(worker_in_flight(service)) == 0, within_s=5)
    assert service.http.post(f"{service.url}/jobs/{job_id}/cancel", timeout=5).json()["status"] == "cancelled"


def worker_in_flight(service: Service) -> list[int]:
    """What the workers said they hold."""
    names = service.live_workers()
    return [int(str(service.valkey.client.hget(f"tandem:worker:{name}", "in_flight"))) for name in names]


def test_a_running_job_is_really_stopped(service: Service) -> None:
    job_id = service.submit("hello", model="sandbox/hang")
    until(lambda: any(c["job_id"] == job_id for c in calls(service.sandbox_log)), within_s=5)
    begun = time.monotonic()
    assert service.http.post(f"{service.url}/jobs/{job_id}/cancel", timeout=5).json()["status"] == "cancelled"
    until(lambda: outcome(service, job_id) == "aborted", within_s=5)
    assert time.monotonic() - begun < 2
    assert service.http.post(f"{service.url}/jobs/{job_id}/cancel", timeout=5).json()["status"] == "cancelled"


def test_a_deleted_running_job_is_stopped_and_gone(service: Service) -> None:
    job_id = service.submit("hello", model="sandbox/hang")
    until(lambda: any(c["job_id"] == job_id for c in calls(service.sandbox_log)), within_s=5)
    assert service.http.delete(f"{service.url}/jobs/{job_id}", timeout=5).status_code == 204
    until(lambda: outcome(service, job_id) == "aborted", within_s=5)
    assert service.http.get(f"{service.url}/jobs/{job_id}", timeout=5).status_code == 404


def outcome(service: Service, job_id: str) -> str | None:
    """How the job's last call ended at the sandbox."""
    ends = [c["outcome"] for c in calls(service.sandbox_log) if c["job_id"] == job_id and c["outcome"] != "in_flight"]
    return ends[-1] if ends else None


def test_a_job_past_its_deadline_expires(service: Service) -> None:
    job_id = service.submit("hello", model="sandbox/hang", expires_in_s=1)
    until(lambda: service.job(job_id)["status"] == "expired", within_s=6)
    assert service.job(job_id)["error"]["code"] == "deadline_exceeded"


def test_prompts_stay_private(tmp_path: Path) -> None:
    """Not in the broker, not in a log, not in a command line: only in the job's record, whatever becomes of it."""
    with Service(tmp_path, workers=0) as service:
        ids = [service.submit(CANARY) for _ in range(3)]
        records, redis_url = {f"tandem:job:{job_id}" for job_id in ids}, service.valkey.url
        assert places_of(IN_A_BODY, redis_url) == {"api.sandbox"}, "the messages are not there, or were not understood"
        assert places_of(CANARY, redis_url) == records
        with service.upstream_held():
            service.add_worker()
            until(lambda: all(service.job(one)["status"] == "processing" for one in ids), within_s=30)
            assert places_of(CANARY, redis_url) == records
            commands = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
            assert any("celery" in command for command in commands)
            assert not any(CANARY in command for command in commands)
        until(lambda: all(service.job(one)["status"] == "completed" for one in ids), within_s=30)
        assert places_of(CANARY, redis_url) <= records
        logs = {path.name: path.read_text(errors="replace") for path in service.data.glob("*.log")}
        assert all(one in logs["api0.log"] for one in ids), "the worker's log says nothing of these jobs"
        assert [name for name, log in logs.items() if CANARY in log] == []
