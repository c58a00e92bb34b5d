"""The idempotency key, in the header and in the body."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tasks.catalog import SANDBOX
from tasks.serving import NIM_MODEL
from tasks.store import keys
from tasks.store.fleet import Fleet, Worker
from tests.support.polling import until
from tests.support.valkey import Valkey
from tests.web import worker
from tests.web.conftest import MakeClient
from tests.web.test_v1_batches import LINE
from tests.web.test_v1_files import upload


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


def full(valkey: Valkey, client: FlaskClient) -> None:
    """Let Redis be so full that nothing new is accepted."""
    valkey.client.config_set("maxmemory", int(valkey.client.info("memory")["used_memory"]))
    until(lambda: post(client, None).status_code == 503, within_s=5)


def without_workers(valkey: Valkey, client: FlaskClient) -> None:
    Fleet(valkey.client, lease_s=60).goodbye("gpu0")
    until(lambda: post(client, None, mode="gpu").status_code == 503, within_s=5)


def retired(valkey: Valkey, client: FlaskClient) -> None:
    valkey.client.set(keys.retired(SANDBOX, NIM_MODEL), "out of service")
    assert post(client, None, mode="api").get_json()["type"] == "urn:tandem:problem:model-retired"


@pytest.fixture
def roomy(valkey: Valkey) -> Iterator[Valkey]:
    """Whose memory a test may limit."""
    yield valkey
    valkey.client.config_set("maxmemory", 0)


@pytest.mark.parametrize(("since", "mode"), [(full, "gpu"), (without_workers, "gpu"), (retired, "api")])
def test_a_key_gives_its_job_whatever_has_happened_since(
    client: FlaskClient, roomy: Valkey, since: Callable[[Valkey, FlaskClient], None], mode: str
) -> None:
    if mode == "gpu":
        Fleet(roomy.client, lease_s=60).hello(Worker(name="gpu0", queues="gpu", state="ready", model="our/model"), [])
    first = post(client, "k", mode=mode)
    assert first.status_code == 202
    since(roomy, client)
    again = post(client, "k", mode=mode)
    assert (again.status_code, again.headers.get("Idempotency-Replayed")) == (202, "true"), again.text
    assert again.get_json()["id"] == first.get_json()["id"]
    assert post(client, "k", mode=mode, prompt="ho").status_code == 422


def test_a_key_whose_job_was_erased_is_free(client: FlaskClient) -> None:
    first = post(client, "k").get_json()["id"]
    client.delete(f"/jobs/{first}")
    again = post(client, "k", prompt="ho")
    assert (again.status_code, again.get_json()["id"] == first) == (202, False)


ITEMS = [{"custom_id": str(n), "prompt": "hi"} for n in range(250)]
LINES = b"".join(json.dumps(item).encode() + b"\n" for item in ITEMS)


def as_json(client: FlaskClient, key: str | None, items: list[dict[str, str]] = ITEMS) -> TestResponse:
    return client.post("/batches", json={"items": items, **({"idempotency_key": key} if key else {})})


def as_lines(client: FlaskClient, key: str | None) -> TestResponse:
    query = {"idempotency_key": key} if key else {}
    return client.post("/batches", query_string=query, data=LINES, content_type="application/x-ndjson")


def as_form(client: FlaskClient, key: str | None) -> TestResponse:
    fields = {"idempotency_key": key} if key else {}
    return client.post("/batches", data={"file": (io.BytesIO(LINES), "a.jsonl"), **fields})


@pytest.mark.parametrize("send", [as_json, as_lines, as_form])
def test_a_key_gives_its_batch_although_redis_is_full_since(
    client: FlaskClient, roomy: Valkey, send: Callable[[FlaskClient, str | None], TestResponse]
) -> None:
    first = send(client, "k")
    assert first.status_code == 202, first.text
    full(roomy, client)
    before = set(roomy.client.keys("tandem:batch:*"))
    again = send(client, "k")
    assert (again.status_code, again.headers.get("Idempotency-Replayed")) == (202, "true"), again.text
    assert again.get_json()["id"] == first.get_json()["id"]
    assert [send(client, key).status_code for key in ("l", None)] == [503, 503]
    assert set(roomy.client.keys("tandem:batch:*")) == before, "lines were left behind"


def test_a_key_with_other_items_is_refused_although_redis_is_full(client: FlaskClient, roomy: Valkey) -> None:
    as_json(client, "k")
    full(roomy, client)
    assert as_json(client, "k", ITEMS[1:]).get_json()["type"] == "urn:tandem:problem:idempotency-mismatch"


def test_a_key_gives_its_batch_although_its_file_is_gone(client: FlaskClient) -> None:
    file_id = upload(client, LINE).get_json()["id"]

    def create(file: str) -> TestResponse:
        body = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        return client.post("/v1/batches", json=body, headers={"Idempotency-Key": "k"})

    first = create(file_id)
    client.delete(f"/v1/files/{file_id}").get_json()
    again = create(file_id)
    assert (again.status_code, again.headers.get("Idempotency-Replayed")) == (200, "true")
    assert again.get_json()["id"] == first.get_json()["id"]
    assert create("file-0123456789abcdef0123456789abcdef").status_code == 404
