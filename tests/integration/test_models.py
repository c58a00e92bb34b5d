"""What calls teach of models, through real workers and NVIDIA's dialect, and what follows for later jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tasks.providers.sandbox.dialects import ACCOUNT
from tests.support.hosted import catalog, nim
from tests.support.polling import until
from tests.support.service import Service
from tests.support.verdict import calls

#: An operator's catalogue. Its ids at NIM tell the sandbox what to do.
CATALOG = """
[[model]]
id = "acme/fine"
aliases = ["fine"]
nim = "sandbox/tokens-3"
[[model]]
id = "acme/gone"
nim = "sandbox/slow-2000ms+status-410"
[[model]]
id = "acme/elsewhere"
nim = "sandbox/status-404"
[[model]]
id = "acme/busy"
nim = "sandbox/status-529+times-1"
[[model]]
id = "acme/slow"
nim = "sandbox/slow-1000ms"
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two workers with one slot each."""
    data = tmp_path_factory.mktemp("models")
    made = Service(data, workers=2, concurrency=1)
    made.env |= catalog(data, CATALOG) | nim(made)
    with made:
        yield made


def model(service: Service, name: str) -> dict[str, Any]:
    answer = service.http.get(f"{service.url}/models/{name}", timeout=5)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def ids(service: Service) -> list[str]:
    return [one["id"] for one in service.http.get(f"{service.url}/models", timeout=5).json()["data"]]


def ended(service: Service, job_id: str) -> dict[str, Any]:
    job = until(lambda: (found := service.job(job_id))["finished_at"] and found, within_s=15, what="the end")
    return dict(job)


def test_a_model_that_answers_is_callable_under_the_name_it_was_asked_by(service: Service) -> None:
    assert model(service, "acme/fine")["state"] == "unknown"
    job = ended(service, service.submit(model="fine"))
    assert (job["status"], job["model"]) == ("completed", "fine")
    assert job["attempts"][0]["model"] == "sandbox/tokens-3"
    learned = model(service, "fine")
    assert (learned["id"], learned["state"], learned["retired_on"]) == ("acme/fine", "callable", None)
    assert learned["last_checked"] >= job["started_at"]


def test_a_404_is_a_model_for_others_and_no_account_is_told(service: Service) -> None:
    for _ in range(2):  # it stays open to be asked for: an account may come to have it
        job = ended(service, service.submit(model="acme/elsewhere"))
        assert job["error"]["code"] == "model_not_found"
    learned = model(service, "acme/elsewhere")
    assert learned["state"] == "not_entitled"
    assert ACCOUNT not in json.dumps([job, learned])
    assert ACCOUNT not in "".join(path.read_text() for path in service.data.glob("api*.log"))


def test_an_overloaded_model_is_so_until_it_answers(service: Service) -> None:
    service.tell_sandbox(fail={"status": 503})
    job_id = service.submit(model="acme/busy")
    until(lambda: model(service, "acme/busy")["state"] == "overloaded", within_s=10)
    service.tell_sandbox()
    assert ended(service, job_id)["status"] == "completed"
    assert model(service, "acme/busy")["state"] == "callable"


def test_a_retired_model_fails_what_waits_for_it_and_takes_no_more(service: Service) -> None:
    busy = [service.submit(model="acme/slow") for _ in range(2)]
    waiting = [service.submit(model="acme/gone") for _ in range(20)]
    later = service.submit(model="acme/fine")
    jobs = [ended(service, job_id) for job_id in waiting]
    assert {(job["status"], job["error"]["code"]) for job in jobs} == {("failed", "model_retired")}
    assert all("2025-11-30" in job["error"]["message"] for job in jobs)
    # One call found out, perhaps two: there are two slots. Nobody else was sent to ask.
    asked = {call["job_id"] for call in calls(service.sandbox_log) if call["model"].endswith("status-410")}
    assert 1 <= len(asked) <= 2
    assert [job["id"] for job in jobs if job["attempts"]] == [job_id for job_id in waiting if job_id in asked]
    assert [ended(service, job_id)["status"] for job_id in (*busy, later)] == ["completed"] * 3
    refused = service.post(model="acme/gone")
    assert (refused.status_code, list(refused.json()["errors"])) == (422, ["model"])
    learned = model(service, "acme/gone")
    assert (learned["state"], learned["retired_on"]) == ("retired", "2025-11-30")


def test_the_providers_list_is_asked_for_once_by_all_workers(service: Service) -> None:
    until(lambda: "sandbox/echo" in ids(service), within_s=15, what="the provider's list")
    listed = model(service, "sandbox/echo")
    assert (listed["abilities"], listed["providers"][0]["listed"]) == ([], True)
    assert model(service, "qwen/qwq-32b")["providers"][0]["listed"] is False
    job = ended(service, service.submit(model="sandbox/echo", mode="api"))
    assert job["status"] == "completed"
    counts = service.http.get(f"{service.sandbox_root}/control/counts", timeout=5).json()
    # Each of the two workers may have looked once more, at its start, whether it accepts the key.
    assert counts["listings"]["nim"] in (2, 3)
    assert list(counts["listings"]) == ["nim"]
