"""Providers that fail, through real workers and both hosted dialects: who goes elsewhere, who waits, who is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tasks.store import keys
from tests.engine.panel import Panel
from tests.support import hosted
from tests.support.polling import until
from tests.support.service import Service
from tests.support.verdict import calls, judge, wait_for_all

pytestmark = pytest.mark.timeout(180)

OPEN_S, FAILURES, AUTO_WAIT_S = 1.0, 3, 2.0
CATALOG = """
[[model]]
id = "acme/both"
nim = "acme/both"
openrouter = "acme/both:free"
[[model]]
id = "acme/nim-only"
nim = "acme/nim-only"
[[model]]
id = "acme/vectors"
abilities = ["embedding"]
nim = "acme/vectors"
[[model]]
id = "acme/denied"
nim = "sandbox/status-404"
openrouter = "acme/denied:free"
[[model]]
id = "acme/refusing"
nim = "sandbox/status-422"
openrouter = "acme/refusing:free"
"""
BREAKER = {
    "TANDEM_CIRCUIT_FAILURES": str(FAILURES),
    "TANDEM_CIRCUIT_OPEN_S": str(OPEN_S),
    "TANDEM_CIRCUIT_LONGEST_S": str(2 * OPEN_S),
    "TANDEM_AUTO_WAIT_S": str(AUTO_WAIT_S),
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with hosted.service(tmp_path_factory.mktemp("fallback"), CATALOG, workers=2, **BREAKER) as service:
        yield service


@pytest.fixture
def service(running: Service) -> Iterator[Service]:
    mend(running)
    yield running
    mend(running)


def mend(service: Service) -> None:
    service.http.delete(f"{service.sandbox_root}/control", timeout=5).raise_for_status()
    until(lambda: all_closed(service), within_s=15, what="all circuits closed")


def all_closed(service: Service) -> bool:
    """Nobody may be waiting to try: a job of each model that is not closed does."""
    for one in circuits(service):
        kind = {"kind": "embedding", "input": "hi"} if "vectors" in one["model"] else {"prompt": "hi"}
        asked = {"model": one["model"], "mode": "api", **kind}
        service.http.post(f"{service.url}/jobs", json=asked, timeout=5)
    return not circuits(service)


def break_nim(service: Service, **how: Any) -> None:
    said = {"fail": {"status": 503, **how}}
    service.http.put(f"{service.sandbox_root}/control/nim", json=said, timeout=5).raise_for_status()


def circuits(service: Service) -> list[dict[str, Any]]:
    return list(service.http.get(f"{service.url}/limits", timeout=5).json()["circuits"])


def ended(service: Service, job_id: str, within_s: float = 20) -> dict[str, Any]:
    return dict(
        until(lambda: (found := service.job(job_id))["finished_at"] and found, within_s=within_s, what="the end")
    )


def trail(job: dict[str, Any]) -> list[tuple[str | None, ...]]:
    return [(a["queue"], a["provider"], a["model"], a["outcome"], a["reason"]) for a in job["attempts"]]


def asked(service: Service, job_ids: list[str]) -> list[dict[str, Any]]:
    """The calls that were made for these jobs, oldest first."""
    return [c for c in calls(service.sandbox_log) if c["event"] == "arrived" and c["job_id"] in job_ids]


LAST = ("api.openrouter", "openrouter", "acme/both:free", "completed", None)


def test_what_nim_cannot_answer_openrouter_does_and_the_trail_says_so(service: Service) -> None:
    break_nim(service)
    jobs = [ended(service, job_id) for job_id in [service.submit(model="acme/both") for _ in range(20)]]
    assert {(job["status"], job["model"]) for job in jobs} == {("completed", "acme/both")}
    assert {trail(job)[-1] for job in jobs} == {LAST}
    before = {step for job in jobs for step in trail(job)[:-1]}
    assert before == {
        ("api", "nim", "acme/both", "failed_try", "provider_overloaded"),
        ("api", "nim", "acme/both", "passed_over", "circuit_open"),
    }
    assert all(len(trail(job)) > 1 for job in jobs)
    [circuit] = circuits(service)
    assert (circuit["provider"], circuit["model"], circuit["waiting"]) == ("nim", "acme/both", 0)


def test_an_account_that_may_not_ask_here_is_no_reason_to_fail(service: Service) -> None:
    job = ended(service, service.submit(model="acme/denied"))
    assert trail(job) == [
        ("api", "nim", "sandbox/status-404", "failed", "model_not_found"),
        ("api.openrouter", "openrouter", "acme/denied:free", "completed", None),
    ]
    kept = ended(service, service.submit(model="acme/denied", mode="api"))
    assert (kept["status"], kept["error"]["code"]) == ("failed", "model_not_found")


def test_a_request_that_is_refused_is_asked_once(service: Service) -> None:
    job = ended(service, service.submit(model="acme/refusing"))
    assert (job["status"], job["error"]["code"]) == ("failed", "bad_request")
    assert len(asked(service, [job["id"]])) == 1


def test_an_open_circuit_is_tried_by_one_call_at_a_time_and_all_jobs_of_the_api_complete(service: Service) -> None:
    """NIM is down until three have tried; 40 jobs of mode=api and ten that have nowhere else to go wait for it."""
    break_nim(service)
    ids = [service.submit(model="acme/nim-only", mode="api") for _ in range(40)]
    ids += [service.submit(model="acme/nim-only") for _ in range(10)]
    until(lambda: circuits(service), within_s=10)
    opened_ms = int(str(service.valkey.client.hget(keys.circuit("nim:acme/nim-only"), "opened_at")))
    until(lambda: len(failed_after(service, ids, opened_ms)) >= 3, within_s=60, every_s=0.1, what="the third try")
    waiting = [service.job(job_id) for job_id in ids]
    assert {job["status"] for job in waiting} <= {"pending", "processing"}
    assert any((job["waiting_on"] or {}).get("reason") == "circuit_open" for job in waiting)
    service.http.delete(f"{service.sandbox_root}/control", timeout=5).raise_for_status()
    wait_for_all(service, ids, within_s=30)
    tries = failed_after(service, ids, opened_ms)
    print(f"tried at {[one['started_at'] - opened_ms for one in tries]} ms; {judge(service, ids)}")
    assert judge(service, ids).by_status == {"completed": 50}
    assert tries[0]["started_at"] - opened_ms >= OPEN_S * 1000
    assert all(later["started_at"] - earlier["ended_at"] >= 2 * OPEN_S * 1000 for earlier, later in pairwise(tries))
    begun = sorted((job_id, one["n"]) for job_id in ids for one in attempts(service, job_id))
    assert sorted((call["job_id"], call["attempt"]) for call in asked(service, ids)) == begun, "asked besides"


def attempts(service: Service, job_id: str) -> list[dict[str, Any]]:
    """The trail as the record has it: its times are milliseconds of Redis' clock."""
    return list(json.loads(str(service.valkey.client.hget(keys.job(job_id), "attempts") or "[]")))


def failed_after(service: Service, ids: list[str], at_ms: int) -> list[dict[str, Any]]:
    """The tries that were begun after this moment and failed, oldest first. Others were under way then."""
    found = [one for job_id in ids for one in attempts(service, job_id) if one["started_at"] > at_ms]
    return sorted((one for one in found if one.get("outcome") == "failed_try"), key=lambda one: one["started_at"])


def test_an_embedding_waits_rather_than_change_its_model(service: Service) -> None:
    break_nim(service)
    body = {"kind": "embedding", "input": ["hi"], "model": "acme/vectors"}
    answer = service.http.post(f"{service.url}/jobs", json=body, timeout=5)
    assert answer.status_code == 202, answer.text
    until(lambda: circuits(service), within_s=10)
    service.http.delete(f"{service.sandbox_root}/control", timeout=5).raise_for_status()
    job = ended(service, answer.json()["id"])
    assert job["status"] == "completed"
    assert {step[1:3] for step in trail(job)} == {("nim", "acme/vectors")}


def goes_to(service: Service) -> str:
    """The queue that answers a new job of mode=auto."""
    return str(trail(ended(service, service.submit("Where to?", cache="off")))[0][0])


def test_jobs_whose_gpu_worker_is_gone_go_to_the_api_and_those_of_the_gpu_stay(tmp_path: Path) -> None:
    """An engine that works on requests without an end; then its worker is killed, for good."""
    engine = Panel(tmp_path)
    with hosted.service(tmp_path, CATALOG, workers=2, **BREAKER) as service:
        gpu = {"TANDEM_VLLM": str(engine.executable), "TANDEM_MODEL": str(engine.model), "TANDEM_DEVICE": "cpu"}
        service.env |= gpu
        worker = service.add_worker("gpu")
        until(lambda: service.post(mode="gpu", expires_in_s=1).status_code == 202, within_s=30)
        # The web process may have seen the fleet just before; until it looks again, jobs go to the api at once.
        until(lambda: goes_to(service) == "gpu", within_s=30, what="a job on the engine")
        engine.tell("works")  # its count of tokens moves: nobody finds it silent, however long this takes
        engine.tell("hangs")
        auto = [service.submit(f"auto {n}") for n in range(12)]  # more than there are slots
        kept = [service.submit(f"private {n}", mode="gpu") for n in range(12)]
        until(lambda: service.job(auto[0])["status"] == "processing", within_s=10)
        worker.retire()
        worker.kill()
        jobs = [ended(service, job_id, within_s=30) for job_id in auto]
        assert {job["status"] for job in jobs} == {"completed"}
        assert {trail(job)[-1][:2] for job in jobs} == {("api", "nim")}
        at_home = [[step for step in trail(job) if step[0] == "gpu"] for job in jobs]
        assert {steps[-1][-2:] for steps in at_home} == {("passed_over", "no_engine")}
        assert {service.job(job_id)["status"] for job_id in kept} == {"pending"}
        assert asked(service, kept) == [], "a prompt left the house"
        assert {call["job_id"] for call in asked(service, auto)} == set(auto)
