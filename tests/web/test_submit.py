"""Submitting a job and what comes back."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.support.polling import until
from tests.support.valkey import Valkey
from tests.web import worker

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_a_submitted_job_is_accepted_and_told_where_to_ask(client: FlaskClient) -> None:
    answer = client.post("/jobs", json={"prompt": "hi", "metadata": {"who": "me"}})
    assert answer.status_code == 202
    job = answer.get_json()
    assert re.fullmatch(r"job_[A-Za-z0-9_-]{22,}", job["id"])
    assert answer.headers["Location"] == f"/jobs/{job['id']}"
    assert job["links"] == {"self": f"/jobs/{job['id']}", "cancel": f"/jobs/{job['id']}/cancel"}
    assert TIME.fullmatch(job["created_at"]) and TIME.fullmatch(job["expires_at"])
    expected = {"kind": "chat", "status": "pending", "mode": "auto", "model": "default", "metadata": {"who": "me"}}
    assert expected.items() <= job.items()
    assert job["waiting_on"] == {"reason": "queue", "until": None}
    empty = ("started_at", "finished_at", "result", "usage", "error")
    assert [job[name] for name in empty] == [None] * len(empty)
    assert (job["attempts"], job["cached"]) == ([], False)


def test_get_answers_with_the_same_job(client: FlaskClient) -> None:
    answer = client.post("/jobs", json={"prompt": "hi"})
    asked = client.get(answer.headers["Location"])
    assert asked.get_json() == answer.get_json()
    assert int(asked.headers["Retry-After"]) >= 1


def test_prompt_is_short_for_one_user_message(client: FlaskClient, valkey: Valkey) -> None:
    job_id = client.post("/jobs", json={"prompt": "héllo ✓", "stop": "x", "seed": -1}).get_json()["id"]
    request = json.loads(valkey.client.hget(f"tandem:job:{job_id}", "request") or "")
    assert request == {"messages": [{"role": "user", "content": "héllo ✓"}], "stop": ["x"], "seed": -1}


def test_a_finished_job_shows_result_usage_and_attempts(client: FlaskClient) -> None:
    job_id = client.post("/jobs", json={"prompt": "hi"}).get_json()["id"]
    worker.complete(job_id)
    answer = client.get(f"/jobs/{job_id}")
    job = answer.get_json()
    assert (job["status"], job["result"], job["usage"]) == ("completed", worker.RESULT, worker.USAGE)
    assert job["waiting_on"] is None
    assert "Retry-After" not in answer.headers
    (attempt,) = job["attempts"]
    assert TIME.fullmatch(attempt.pop("started_at")) and TIME.fullmatch(attempt.pop("ended_at"))
    assert attempt.pop("usage") == worker.USAGE
    known = {
        "n": 1,
        "queue": "api.sandbox",
        "provider": "sandbox",
        "worker": "w1",
        "outcome": "completed",
        "reason": None,
    }
    assert known.items() <= attempt.items() and attempt["model"]


@pytest.mark.parametrize(
    ("model", "context", "what", "field"),
    [
        ("nvidia/nemotron-4-340b-instruct", 4096, {"kind": "chat"}, "messages"),
        ("nvidia/nv-embedqa-e5-v5", 512, {"kind": "embedding", "input_type": "query"}, "input"),
    ],
)
def test_only_what_certainly_fits_no_context_is_refused(
    client: FlaskClient, model: str, context: int, what: dict[str, str], field: str
) -> None:
    """No tokenizer has tokens of more than 32 characters on average. Whether anything shorter fits, the model says."""
    text = "prompt" if field == "messages" else "input"
    most = "x" * 32 * context
    assert client.post("/jobs", json={"model": model, text: most, **what}).status_code == 202
    answer = client.post("/jobs", json={"model": model, text: most + "x", **what})
    assert (answer.status_code, list(answer.get_json()["errors"])) == (422, [field])
    assert f"context of {context} tokens" in answer.get_json()["detail"]


def test_a_named_expiry_counts_from_acceptance(client: FlaskClient, valkey: Valkey) -> None:
    job_id = client.post("/jobs", json={"prompt": "hi", "expires_in_s": 90.5}).get_json()["id"]
    created, expires = valkey.client.hmget(f"tandem:job:{job_id}", ["created_at", "expires_at"])
    assert int(expires or 0) - int(created or 0) == 90_500


def test_waiting_answers_as_soon_as_the_job_has_ended(client: FlaskClient, valkey: Valkey) -> None:
    finisher = threading.Thread(target=_complete_the_next, args=(valkey,))
    finisher.start()
    answer = client.post("/jobs", json={"prompt": "hi"}, headers={"Prefer": "wait=20"})
    finisher.join()
    assert (answer.status_code, answer.get_json()["status"]) == (200, "completed")
    assert answer.headers["Preference-Applied"] == "wait=20"


def test_waiting_in_vain_answers_202(client: FlaskClient) -> None:
    answer = client.post("/jobs", json={"prompt": "hi"}, headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.get_json()["status"]) == (202, "pending")
    assert "Preference-Applied" not in answer.headers


def test_get_waits_too(client: FlaskClient, valkey: Valkey) -> None:
    job_id = client.post("/jobs", json={"prompt": "hi"}).get_json()["id"]
    finisher = threading.Thread(target=worker.complete, args=(job_id,))
    finisher.start()
    answer = client.get(f"/jobs/{job_id}", headers={"Prefer": 'respond-async, Wait="20"'})
    finisher.join()
    assert answer.get_json()["status"] == "completed"
    assert answer.headers["Preference-Applied"] == "wait=20"


def test_a_preference_that_makes_no_sense_is_ignored(client: FlaskClient) -> None:
    for preference in (
        "wait",
        "wait=",
        "wait=-1",
        "wait=x",
        "wait=1.5",
        "wait=0",
        "waits=9",
        "\u00e9",
        "wait=99999999999",
    ):
        answer = client.post("/jobs", json={"prompt": "hi"}, headers={"Prefer": preference})
        assert answer.status_code == 202, preference


def _complete_the_next(valkey: Valkey) -> None:
    (job_id,) = until(lambda: valkey.client.zrange("tandem:owner:public:jobs", 0, -1), within_s=10)
    worker.complete(str(job_id))


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"response_format": {"type": "json_object"}},
    ],
)
def test_what_a_base_model_cannot_be_told_is_refused(client: FlaskClient, more: dict[str, Any]) -> None:
    body = {"model": "bigcode/starcoder2-15b", "prompt": "def f("}
    answer = client.post("/jobs", json=body | more)
    assert (answer.status_code, list(answer.get_json()["errors"])) == (422, list(more))
    assert client.post("/jobs", json=body | {"response_format": {"type": "text"}}).status_code == 202
