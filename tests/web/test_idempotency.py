"""The idempotency key, in the header and in the body."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.support.valkey import Valkey
from tests.web import worker
from tests.web.conftest import MakeClient


def post(client: FlaskClient, key: str | None, **body: Any) -> TestResponse:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post("/jobs", json={"prompt": "hi"} | body, headers=headers)


def test_the_same_key_and_payload_give_the_same_job(client: FlaskClient, valkey: Valkey) -> None:
    first, second = post(client, "k"), post(client, "k")
    assert (second.status_code, second.get_json()) == (202, first.get_json())
    assert second.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert valkey.client.zcard("tandem:due") == 1


def test_header_quoted_header_and_body_are_the_same_key(client: FlaskClient) -> None:
    ids = {
        post(client, "k").get_json()["id"],
        post(client, '"k"').get_json()["id"],
        post(client, None, idempotency_key="k").get_json()["id"],
        post(client, "k", idempotency_key="k").get_json()["id"],
    }
    assert len(ids) == 1


def test_a_payload_that_says_the_same_in_other_words_is_the_same(client: FlaskClient) -> None:
    first = post(client, "k", temperature=1)
    other = {"messages": [{"content": "hi", "role": "user"}], "temperature": 1.0, "mode": "auto", "model": "default"}
    second = client.post("/jobs", json=other, headers={"Idempotency-Key": "k"})
    assert second.get_json()["id"] == first.get_json()["id"]


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "ho"},
        {"mode": "api"},
        {"model": "sandbox/echo"},
        {"max_tokens": 5},
        {"expires_in_s": 60},
        {"metadata": {"a": "b"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_same_key_with_another_payload_is_refused(client: FlaskClient, change: dict[str, Any]) -> None:
    post(client, "k")
    answer = post(client, "k", **change)
    assert answer.status_code == 422
    assert answer.get_json()["type"] == "urn:tandem:problem:idempotency-mismatch"


def test_two_different_keys_are_refused(client: FlaskClient, valkey: Valkey) -> None:
    answer = post(client, "k", idempotency_key="l")
    assert answer.status_code == 400
    assert answer.get_json()["type"] == "urn:tandem:problem:conflicting-keys"
    assert valkey.client.dbsize() == 0


def test_a_replay_with_wait_answers_200_once_the_job_is_over(client: FlaskClient) -> None:
    worker.complete(post(client, "k").get_json()["id"])
    headers = {"Idempotency-Key": "k", "Prefer": "wait=5"}
    answer = client.post("/jobs", json={"prompt": "hi"}, headers=headers)
    assert (answer.status_code, answer.headers["Idempotency-Replayed"]) == (200, "true")


def test_owners_do_not_share_keys(make_client: MakeClient) -> None:
    client = make_client(TANDEM_API_KEYS="ann:one,bob:two")
    answers = [
        client.post("/jobs", json={"prompt": "hi"}, headers={"Idempotency-Key": "k", "Authorization": f"Bearer {key}"})
        for key in ("one", "two")
    ]
    assert len({answer.get_json()["id"] for answer in answers}) == 2


@pytest.mark.parametrize("key", ["", "x" * 256, '""', "caf\u00e9"])
def test_a_key_that_is_none_is_refused(client: FlaskClient, key: str) -> None:
    answer = post(client, key)
    assert (answer.status_code, list(answer.get_json()["errors"])) == (422, ["idempotency_key"])


def test_jobs_and_batches_do_not_share_keys(client: FlaskClient) -> None:
    def batch(key: str) -> str:
        body = {"items": [{"custom_id": "a", "prompt": "hi"}]}
        return str(client.post("/batches", json=body, headers={"Idempotency-Key": key}).get_json()["id"])

    first = {key: (post(client, key).get_json()["id"], batch(key)) for key in ("k", "batch k", "job k")}
    again = {key: (post(client, key).get_json()["id"], batch(key)) for key in ("batch k", "k", "job k")}
    assert first == again
    assert len({made for pair in first.values() for made in pair}) == 6
