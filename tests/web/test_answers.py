"""What clients see of answers that jobs share. The worker's part is played by the test."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.support.polling import until
from tests.support.valkey import Valkey
from tests.web import worker
from tests.web.conftest import MakeClient

BODY = {"prompt": "hi", "temperature": 0, "model": "sandbox/echo"}


def post(client: FlaskClient, *, headers: dict[str, str] | None = None, **body: Any) -> TestResponse:
    return client.post("/jobs", json=BODY | body, headers=headers or {})


def answered(client: FlaskClient, **body: Any) -> dict[str, Any]:
    job_id = post(client, **body).get_json()["id"]
    worker.complete(job_id)
    return dict(client.get(f"/jobs/{job_id}").get_json())


def test_a_cached_answer_comes_with_the_first_response(client: FlaskClient, valkey: Valkey) -> None:
    first = answered(client)
    answer = post(client, metadata={"who": "me"})
    job = answer.get_json()
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/jobs/{job['id']}")
    assert "Retry-After" not in answer.headers
    assert (job["status"], job["cached"], job["result"]) == ("completed", True, worker.RESULT)
    assert job["metadata"] == {"who": "me"}
    assert (job["attempts"], job["started_at"], job["coalesced_with"]) == ([], None, None)
    assert job["usage"] == dict.fromkeys(worker.USAGE, 0)
    seconds = job["saved"].pop("seconds")
    assert seconds >= 0
    assert job["saved"] == {"queue": "api.sandbox", "provider": "sandbox", "model": "sandbox/echo"} | worker.USAGE
    assert (first["cached"], first["saved"]) == (False, None)
    assert valkey.client.llen("api.sandbox") == 1
    assert post(client, headers={"Prefer": "wait=5"}).status_code == 200


def test_a_cached_job_is_like_any_other_afterwards(client: FlaskClient) -> None:
    answered(client)
    job = post(client, idempotency_key="k").get_json()
    assert post(client, idempotency_key="k").get_json() == job
    assert client.post(f"/jobs/{job['id']}/cancel").get_json() == job
    assert client.get("/jobs?status=completed").get_json()["data"][0] == job
    assert client.delete(f"/jobs/{job['id']}").status_code == 204
    assert post(client).get_json()["cached"], "the answer is the first job's, and that is there"


def test_an_answer_is_kept_for_as_long_as_is_set(make_client: MakeClient) -> None:
    client = make_client(TANDEM_CACHE_TTL_S="1")
    answered(client)
    assert post(client).get_json()["cached"]
    until(lambda: post(client, cache="use").get_json()["status"] == "pending", within_s=5, every_s=0.1)


def test_who_waits_for_anothers_answer_says_so(client: FlaskClient, valkey: Valkey) -> None:
    first, second = (post(client).get_json() for _ in range(2))
    assert second["waiting_on"] == {"reason": "coalesced", "until": None}
    assert (second["status"], second["coalesced_with"]) == ("pending", first["id"])
    assert valkey.client.llen("api.sandbox") == 1
    worker.complete(first["id"])
    job = client.get(f"/jobs/{second['id']}").get_json()
    assert (job["status"], job["cached"], job["coalesced_with"]) == ("completed", False, first["id"])
    assert job["saved"]["total_tokens"] == worker.USAGE["total_tokens"]


def test_by_default_and_when_off_nothing_is_shared(client: FlaskClient) -> None:
    answered(client)
    assert post(client, cache="off").get_json()["status"] == "pending"
    assert post(client, temperature=0.5).get_json()["status"] == "pending"


def test_owners_do_not_see_each_others_answers_unless_told(make_client: MakeClient) -> None:
    ann, bob = ({"Authorization": f"Bearer {key}"} for key in ("one", "two"))
    for shared in ("0", "1"):
        client = make_client(TANDEM_API_KEYS="ann:one,bob:two", TANDEM_CACHE_SHARED=shared)
        body = {"prompt": f"shared {shared}"}
        first = post(client, headers=ann, **body).get_json()["id"]
        follower = post(client, headers=bob, **body).get_json()
        assert follower["coalesced_with"] is None
        worker.complete(first)
        found = client.get(f"/jobs/{follower['id']}", headers=bob).get_json()
        assert (found["status"], found["coalesced_with"]) == ("completed" if shared == "1" else "pending", None)
        assert post(client, headers=bob, **body).get_json()["cached"] == (shared == "1")


@pytest.mark.parametrize("path", ["/jobs", "/chat"])
@pytest.mark.parametrize("word", ["yes", "", True, None])
def test_another_word_is_refused(client: FlaskClient, path: str, word: Any) -> None:
    body = {"prompt" if path == "/jobs" else "message": "hi", "cache": word}
    answer = client.post(path, json=body)
    assert (answer.status_code, list(answer.get_json()["errors"])) == (422, ["cache"])


def test_a_key_used_before_with_another_word_is_refused(client: FlaskClient) -> None:
    post(client, idempotency_key="k")
    assert post(client, idempotency_key="k", cache="refresh").status_code == 422


def test_what_is_refused_without_a_cache_is_refused_with_one(client: FlaskClient, valkey: Valkey) -> None:
    answered(client)
    assert post(client, mode="gpu", model="default").status_code == 503
    assert post(client, model="no/such", cache="use").status_code == 404
    assert post(client, max_tokens=0, cache="use").status_code == 422
