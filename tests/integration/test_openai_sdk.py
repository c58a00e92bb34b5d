"""OpenAI's own SDK against this service: files and batches, through real workers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest
from openai import OpenAI

from tests.support import openai_client
from tests.support.openai_client import EMBEDDINGS, begin, chats, ended, read, request, upload
from tests.support.polling import until
from tests.support.service import Service

DAY_S = 24 * 3600


@pytest.fixture
def client(service: Service) -> Iterator[OpenAI]:
    with openai_client.connected(service.url) as client:
        yield client


def held(service: Service) -> list[Path]:
    """What lies on the disk of files."""
    return [one for one in (service.data / "files").rglob("*") if one.is_file() and one.name != ".swept"]


def test_upload_batch_poll_download_twice_at_once(client: OpenAI) -> None:
    def one(nth: int) -> None:
        lines = [request(f"{nth}-{n}", model="sandbox/tokens-3") for n in range(150)]
        batch = begin(client, lines, metadata={"nth": str(nth)})
        assert (batch.object, batch.status, batch.endpoint) == ("batch", "validating", openai_client.CHAT)
        assert batch.expires_at == batch.created_at + DAY_S
        done = ended(client, batch.id)
        assert (done.status, done.metadata, done.error_file_id) == ("completed", {"nth": str(nth)}, None)
        assert done.request_counts is not None
        assert done.request_counts.to_dict() == {"total": 150, "completed": 150, "failed": 0}
        assert done.usage is not None
        assert done.usage.output_tokens == 450
        assert done.created_at <= (done.in_progress_at or 0) <= (done.finalizing_at or 0) <= (done.completed_at or 0)
        found = read(client, done.output_file_id)
        assert sorted(line["custom_id"] for line in found) == sorted(f"{nth}-{n}" for n in range(150))
        for line in found:
            assert (line["error"], line["response"]["status_code"]) == (None, 200)
            body = openai.types.chat.ChatCompletion.model_validate(line["response"]["body"])
            assert (body.object, body.model, body.choices[0].finish_reason) == (
                "chat.completion",
                "sandbox/tokens-3",
                "stop",
            )
            assert body.choices[0].message.content
            assert body.system_fingerprint == "simulated"
            assert body.usage is not None
            assert body.usage.completion_tokens == 3
        assert len({line["id"] for line in found}) == 150

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, range(2)))


def test_embeddings_of_a_batch(client: OpenAI) -> None:
    lines = [
        request(f"e-{n}", EMBEDDINGS, model="sandbox/echo", input=[f"text {n}", "other"], encoding_format="float")
        for n in range(20)
    ]
    done = ended(client, begin(client, lines, EMBEDDINGS).id)
    assert done.status == "completed", done.errors
    for line in read(client, done.output_file_id):
        body = openai.types.CreateEmbeddingResponse.model_validate(line["response"]["body"])
        assert line["response"]["body"]["system_fingerprint"] == "simulated"
        assert [one.index for one in body.data] == [0, 1]
        assert len(body.data[0].embedding) > 1


def test_cancelling_keeps_partial_output(client: OpenAI) -> None:
    batch = begin(client, chats(2000, model="sandbox/slow-100ms"))

    def completed() -> int:
        counts = client.batches.retrieve(batch.id).request_counts
        assert counts is not None
        return counts.completed

    until(lambda: completed() >= 50, within_s=30)
    asked = client.batches.cancel(batch.id)
    assert asked.status in ("cancelling", "cancelled")
    assert asked.cancelling_at is not None
    done = ended(client, batch.id, within_s=15)
    assert (done.status, done.completed_at, done.failed_at) == ("cancelled", None, None)
    assert (done.cancelled_at or 0) >= asked.cancelling_at
    results, errors = read(client, done.output_file_id), read(client, done.error_file_id)
    assert done.request_counts is not None
    assert len(results) == done.request_counts.completed >= 50
    assert len(results) + len(errors) == 2000
    assert {(line["response"], line["error"]["code"]) for line in errors} == {(None, "batch_cancelled")}
    assert len({line["custom_id"] for line in (*results, *errors)}) == 2000


def test_what_the_window_leaves_expires_with_partial_output(client: OpenAI) -> None:
    done = ended(client, begin(client, chats(2000, model="sandbox/slow-500ms"), window="8s").id, within_s=60)
    assert (done.status, done.expires_at) == ("expired", done.created_at + 8)
    assert (done.expired_at or 0) >= done.created_at + 8
    results, errors = read(client, done.output_file_id), read(client, done.error_file_id)
    assert len(results) > 0
    assert len(results) + len(errors) == 2000
    assert {line["error"]["code"] for line in errors} == {"batch_expired"}


def test_a_file_with_invalid_lines_fails_with_errors_by_line(client: OpenAI) -> None:
    good = json.dumps(request("a")).encode()
    lines = [
        good,
        b"not json",
        b"",
        json.dumps(request("b", EMBEDDINGS, model="m", input="x")).encode(),
        json.dumps({**request("c"), "method": "GET"}).encode(),
        json.dumps({"method": "POST", "url": openai_client.CHAT, "body": {}}).encode(),
        good,
    ]
    done = ended(client, begin(client, b"\n".join(lines)).id)
    assert (done.status, done.output_file_id, done.error_file_id) == ("failed", None, None)
    assert done.failed_at is not None
    assert done.errors is not None
    told = {(one.line, one.code, one.param) for one in done.errors.data or ()}
    assert told == {
        (2, "invalid_json_line", None),
        (4, "invalid_url", "url"),
        (5, "invalid_method", "method"),
        (6, "missing_required_parameter", "custom_id"),
        (7, "duplicate_custom_id", "custom_id"),
    }


def test_requests_that_fail_are_in_the_error_file_and_harm_no_other(client: OpenAI) -> None:
    lines = [
        *chats(20, model="sandbox/tokens-1"),
        request("refused", model="sandbox/status-400"),
        request("two", n=2),
        request("hot", temperature=9),
        request("unknown", model="no-such-model"),
    ]
    done = ended(client, begin(client, lines).id)
    assert done.status == "completed"
    assert done.request_counts is not None
    assert done.request_counts.to_dict() == {"total": 24, "completed": 20, "failed": 4}
    assert len(read(client, done.output_file_id)) == 20
    told = {line["custom_id"]: line["response"] for line in read(client, done.error_file_id)}
    said = {name: (one["status_code"], one["body"]["error"]["param"]) for name, one in told.items()}
    assert said == {"refused": (400, None), "two": (400, "n"), "hot": (400, "temperature"), "unknown": (404, "model")}
    assert told["two"]["body"]["error"]["type"] == "invalid_request_error"


def test_files_come_back_page_by_page_and_go_when_deleted(client: OpenAI, service: Service) -> None:
    for file in list(client.files.list()):
        client.files.delete(file.id)
    assert [one for one in held(service) if not one.name.startswith(".gone-")] == []
    batch = begin(client, chats(3))
    done = ended(client, batch.id)
    made = [batch.input_file_id, *[upload(client, chats(1), f"größe {n}.jsonl").id for n in range(4)]]
    first = client.files.list(limit=2, order="asc")
    assert (first.has_more, [one.id for one in first.data]) == (True, [made[0], done.output_file_id])
    assert [one.id for one in client.files.list(limit=2, purpose="batch")] == made[::-1]
    [output] = list(client.files.list(purpose="batch_output"))
    assert (output.id, output.filename) == (done.output_file_id, f"{batch.id}_output.jsonl")
    assert output.bytes == len(client.files.content(output.id).read())
    assert client.files.retrieve(made[-1]).filename == "größe 3.jsonl"
    for file_id in (*made, output.id):
        assert client.files.delete(file_id).deleted
        for act in (client.files.retrieve, client.files.content, client.files.delete):
            with pytest.raises(openai.NotFoundError) as refused:
                act(file_id)
            assert refused.value.code == "file_not_found"
    assert list(client.files.list()) == []
    assert [one for one in held(service) if not one.name.startswith(".gone-")] == []
    assert client.batches.retrieve(batch.id).output_file_id == output.id


def test_batches_come_back_page_by_page(client: OpenAI, service: Service) -> None:
    made = [begin(client, chats(1)).id for _ in range(5)]
    service.http.post(f"{service.url}/batches", json={"items": [{"custom_id": "a", "prompt": "b"}]}, timeout=10)
    page = client.batches.list(limit=2)
    assert (page.has_more, [one.id for one in page.data]) == (True, made[:-3:-1])
    walked = []
    for one in client.batches.list(limit=2):
        walked.append(one.id)
        if len(walked) == 5:
            break
    assert walked == made[::-1]


def test_a_deleted_input_file_does_not_stop_its_batch(client: OpenAI) -> None:
    batch = begin(client, chats(50, model="sandbox/slow-100ms"))
    client.files.delete(batch.input_file_id)
    assert ended(client, batch.id).status == "completed"


def test_an_erased_batch_takes_its_files_along(client: OpenAI, service: Service) -> None:
    done = ended(client, begin(client, chats(3)).id)
    assert len(read(client, done.output_file_id)) == 3
    assert service.http.delete(f"{service.url}/batches/{done.id}", timeout=10).status_code == 204
    for file_id in (done.output_file_id, done.error_file_id):
        if file_id is not None:
            with pytest.raises(openai.NotFoundError):
                client.files.content(file_id)
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve(done.id)


def test_an_erased_batch_takes_the_files_of_all_its_rounds_along(client: OpenAI, service: Service) -> None:
    lines = [*chats(3), request("bad", model="sandbox/times-1+status-400")]
    first = ended(client, begin(client, lines).id)
    assert len(read(client, first.output_file_id)) == 3
    assert service.http.post(f"{service.url}/batches/{first.id}/retry", timeout=10).status_code == 202
    second = ended(client, first.id)
    assert len(read(client, second.output_file_id)) == 4
    assert service.http.delete(f"{service.url}/batches/{first.id}", timeout=10).status_code == 204
    for file_id in (first.output_file_id, second.output_file_id):
        assert file_id is not None
        with pytest.raises(openai.NotFoundError):
            client.files.content(file_id)


def test_the_batch_is_the_same_under_batches(client: OpenAI, service: Service) -> None:
    done = ended(client, begin(client, chats(3)).id)
    found = service.http.get(f"{service.url}/batches/{done.id}", timeout=10).json()
    assert (found["status"], found["counts"]["completed"]) == ("completed", 3)


def test_the_same_key_makes_one_batch(client: OpenAI) -> None:
    file_id = upload(client, chats(2)).id
    key = {"Idempotency-Key": f"v1-{time.time_ns()}"}
    made = {
        client.batches.create(
            input_file_id=file_id, endpoint=openai_client.CHAT, completion_window="24h", extra_headers=key
        ).id
        for _ in range(3)
    }
    assert len(made) == 1
