"""Simulated answers: never in a real one's place, and marked wherever they are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import batch
from tests.support.hosted import nim
from tests.support.polling import until
from tests.support.service import Service
from tests.support.verdict import calls

pytestmark = pytest.mark.timeout(180)

VECTORS, DIMENSIONS = "nvidia/nv-embedqa-e5-v5", 1024
KEYLESS = {"NVIDIA_API_KEY": "", "NVIDIA_BASE_URL": ""}


def lines(number: int, **body: Any) -> list[dict[str, Any]]:
    return [{"custom_id": str(n), "prompt": f"question {n}", **body} for n in range(number)]


def ended(service: Service, job_id: str) -> dict[str, Any]:
    return dict(until(lambda: (found := service.job(job_id))["finished_at"] and found, within_s=30, what="the end"))


def asked_for(service: Service) -> set[str]:
    """The jobs that somebody was asked for."""
    return {call["job_id"] for call in calls(service.sandbox_log)}


def test_what_was_accepted_for_a_provider_waits_for_it_when_its_key_is_gone(tmp_path: Path) -> None:
    """Jobs and batches, in line and unread, of mode=api and auto; new ones are simulated: nobody else is there."""
    made = Service(tmp_path, workers=0, concurrency=8)
    made.env |= nim(made)
    with made as service:
        kept = [service.submit("kept", mode=mode, cache="off") for mode in ("api", "auto")]
        batch_id = batch.submit(service, lines(3))
        service.web.end()
        service.env |= KEYLESS
        service.run_web()
        service.add_worker()
        until(service.is_ready, within_s=30, what="a house without a key")
        new = [ended(service, service.submit("new", mode=mode)) for mode in ("api", "auto")]
        after = batch.ended(service, batch.submit(service, lines(3)))
        assert {(job["status"], job["simulated"]) for job in new} == {("completed", True)}
        assert (after["status"], after["simulated"]) == ("completed", True)
        # They were looked at: the batch's step, which comes before those of later batches.
        assert [(service.job(one)["status"], service.job(one)["attempts"]) for one in kept] == [("pending", [])] * 2
        assert (batch.get(service, batch_id)["counts"]["pending"], batch.status(service, batch_id)) == (3, "validating")
        assert not asked_for(service) & set(kept)

        service.workers.pop().end()
        service.add_worker(**nim(service))
        done = [ended(service, one) for one in kept]
        assert {job["attempts"][-1]["provider"] for job in done} == {"nim"}
        assert not any(job["simulated"] for job in done)
        late = batch.ended(service, batch_id)
        assert (late["status"], late["simulated"], late["queues"]) == ("completed", False, {"api": 3})


def test_a_second_host_without_a_key_answers_nobody(tmp_path: Path) -> None:
    """Its worker is refused; and were it there, it would have a queue of its own, into which no web sends anything."""
    made = Service(tmp_path, workers=1, concurrency=8)
    made.env |= nim(made)
    with made as service:
        service.add_worker(**KEYLESS)
        second = service.workers.pop()
        until(lambda: second.exits, within_s=30, what="its end")
        assert second.exits[0] == 1
        [*_, line] = second.log.read_text().splitlines()
        assert line.startswith("TANDEM_SANDBOX is not valid: without a key this worker would only simulate")
        second.end()
        ids = [service.submit(f"question {n}", cache="off") for n in range(24)]
        assert {ended(service, one)["attempts"][-1]["provider"] for one in ids} == {"nim"}
        assert not any(service.job(one)["simulated"] for one in ids)
        assert service.http.get(f"{service.url}/readyz", timeout=5).json()["providers"] == {"gpu": [], "api": ["nim"]}


def test_a_simulated_answer_says_so_in_job_batch_lines_and_usage(service: Service) -> None:
    chat = ended(service, service.submit("hello", seed=7))
    again = ended(service, service.submit("hello", seed=7))
    texts = {"kind": "embedding", "model": VECTORS, "input": ["a", "b"], "input_type": "passage"}
    vectors = ended(service, service.http.post(f"{service.url}/jobs", json=texts, timeout=10).json()["id"])
    failed = ended(service, service.submit("hello", model="sandbox/status-400"))
    assert [one["simulated"] for one in (chat, again, vectors, failed)] == [True] * 4
    assert again["cached"]
    assert vectors["result"]["dimensions"] == DIMENSIONS
    found = batch.ended(service, batch.submit(service, lines(2, model="sandbox/tokens-4")))
    assert found["simulated"] is True
    assert [line["simulated"] for line in batch.read(service, found["id"], "results")] == [True, True]
    used = service.http.get(f"{service.url}/usage", timeout=10).json()["data"]
    assert {line["simulated"] for line in used if line["provider"] == "sandbox"} == {True}


def test_a_batch_that_was_only_given_simulated_answers_says_so_too(service: Service) -> None:
    ended(service, service.submit("what is shared", seed=11))
    same = [{"custom_id": str(n), "prompt": "what is shared", "seed": 11} for n in range(2)]
    found = batch.ended(service, batch.submit(service, same))
    assert (found["cached"], found["simulated"]) == (2, True)


def test_nothing_is_simulated_before_it_is_answered(service: Service) -> None:
    waiting = service.submit("hello", model="sandbox/slow-60000ms")
    first = service.post("hello", model="sandbox/echo").json()
    assert first["simulated"] is False
    service.http.delete(f"{service.url}/jobs/{waiting}", timeout=10).raise_for_status()
