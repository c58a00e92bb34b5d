"""Providers that cut characters in two, write numbers that JSON lacks, or never come to an end: who feels it, and what
is told of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
import requests

from tests.support import openai_client
from tests.support.openai_client import begin, ended, request
from tests.support.polling import until
from tests.support.service import Service
from tests.support.upstream import CHAT, Upstream

GONE = "\ufffd"
ANN, BOB = ({"Authorization": f"Bearer key-of-{name}-to-this-house"} for name in ("ann", "bob"))
CALL = r'{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"a\": NaN}"}, "b": NaN}'
WORDS = {
    "HALF": (200, CHAT % (r'"content": "cut \ud83d"', "length")),
    "HALFTHOUGHT": (200, CHAT % (r'"content": "ok", "reasoning_content": "hm \udcaf"', "stop")),
    "HALFERROR": (400, r'{"error": {"message": "bad \ud83d", "code": 400}}'),
    "LINES": (200, CHAT % (r'"content": "one\u2028two\u2029three\u0085four"', "stop")),
    "NAN": (200, CHAT % (f'"content": null, "tool_calls": [{CALL}], "x": NaN', "tool_calls")),
    "REFUSAL": (200, CHAT % ('"content": null, "refusal": "I cannot help with that."', "stop")),
    "FILTER": (200, CHAT % ('"content": "The first half"', "content_filter")),
    "EOS": (200, CHAT % ('"content": "done"', "eos")),
    "HUGE": (200, CHAT % (f'"content": "{"x" * 1_000_000}"', "stop")),
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(WORDS).running() as running:
        yield running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Service]:
    env = {
        "NVIDIA_API_KEY": "nvapi-test",
        "NVIDIA_BASE_URL": upstream.url,
        "TANDEM_NIM_RPM": "0",
        "TANDEM_API_KEYS": "ann:key-of-ann-to-this-house,bob:key-of-bob-to-this-house",
        "TANDEM_MAX_TRIES": "3",
        "TANDEM_ANSWER_MAX_BYTES": "500000",
    }
    with Service(tmp_path_factory.mktemp("odd"), workers=1, env=env) as running:
        running.http.headers.update(ANN)
        yield running


def strict(text: str) -> Any:
    """As a reader reads that knows JSON and nothing else, and keeps its texts in UTF-8."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")

    value = json.loads(text, parse_constant=refuse)
    json.dumps(value, ensure_ascii=False).encode()
    return value


def over(service: Service, job_id: str, owner: dict[str, str] = ANN) -> dict[str, Any]:
    def found() -> dict[str, Any]:
        answer = requests.get(f"{service.url}/jobs/{job_id}", headers=owner, timeout=10)
        job: dict[str, Any] = strict(answer.text)
        return job if job["finished_at"] else {}

    return until(found, within_s=30, every_s=0.1, what="the job being over")


@pytest.mark.parametrize(
    ("prompt", "status", "told"),
    [
        ("HALF 1", "completed", {"content": f"cut {GONE}"}),
        ("HALFTHOUGHT 1", "completed", {"reasoning": f"hm {GONE}"}),
        ("HALFERROR 1", "failed", {"code": "bad_request", "message": f"nim refused the request: bad {GONE}"}),
        ("HUGE 1", "failed", {"code": "invalid_response"}),
        ("REFUSAL 1", "completed", {"content": None, "refusal": "I cannot help with that.", "finish_reason": "stop"}),
        ("FILTER 1", "completed", {"content": "The first half", "finish_reason": "content_filter"}),
        ("EOS 1", "completed", {"content": "done", "finish_reason": "stop"}),
    ],
)
def test_one_call_is_made_and_what_can_be_kept_is_told(
    service: Service, upstream: Upstream, prompt: str, status: str, told: dict[str, Any]
) -> None:
    job = over(service, service.submit(prompt))
    assert job["status"] == status
    assert told.items() <= (job["result"] or job["error"]).items()
    assert upstream.asked[prompt] == 1
    assert len(job["attempts"]) == 1


def test_numbers_that_json_lacks_reach_no_client(service: Service) -> None:
    job = over(service, service.submit("NAN 1"))
    [call] = job["result"]["tool_calls"]
    assert (strict(call["function"]["arguments"]), call["b"]) == ({"a": None}, None)


def test_a_record_that_has_them_since_an_earlier_version_is_told_without(service: Service) -> None:
    job = over(service, service.submit("an old one"))
    said = '{"content": null, "reasoning": null, "tool_calls": [{"a": NaN, "b": -Infinity}], "finish_reason": "stop"}'
    service.valkey.client.hset(f"tandem:job:{job['id']}", "result", said)
    assert over(service, job["id"])["result"]["tool_calls"] == [{"a": None, "b": None}]


def test_a_batch_with_some_of_them_harms_nobody_and_is_read_line_by_line(service: Service, upstream: Upstream) -> None:
    odd = ["HALF", "HALFTHOUGHT", "LINES", "NAN", "REFUSAL", "FILTER"]
    prompts = [f"{odd[n // 5 % 6] if n % 5 == 0 else 'harmless'} in a batch {n}" for n in range(60)]
    others = [f"of another owner {n}" for n in range(20)]
    with openai_client.connected(service.url, ANN["Authorization"].removeprefix("Bearer ")) as client:
        lines = [request(str(n), messages=[{"role": "user", "content": prompt}]) for n, prompt in enumerate(prompts)]
        batch = begin(client, lines)
        ids = [
            requests.post(f"{service.url}/jobs", json={"prompt": prompt}, headers=BOB, timeout=20).json()["id"]
            for prompt in others
        ]
        done = ended(client, batch.id)
        assert (done.request_counts.completed, done.error_file_id) == (60, None)  # type: ignore[union-attr]
        assert {over(service, one, BOB)["status"] for one in ids} == {"completed"}
        assert {upstream.asked[prompt] for prompt in (*prompts, *others)} == {1}, "paid for twice"
        results = service.http.get(f"{service.url}/batches/{batch.id}/results", timeout=20).content
        for raw in (client.files.content(str(done.output_file_id)).content, results):
            found = [strict(line) for line in raw.decode().splitlines()]
            assert sorted(int(line["custom_id"]) for line in found) == list(range(60))
        refused = [strict(line) for line in client.files.content(str(done.output_file_id)).text.splitlines()]
        said = {line["custom_id"]: line["response"]["body"]["choices"][0] for line in refused}
        assert said["20"]["message"]["refusal"] == "I cannot help with that."
        assert (said["25"]["finish_reason"], said["25"]["message"]["refusal"]) == ("content_filter", None)
