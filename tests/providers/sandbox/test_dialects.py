"""Each dialect as it is on the wire, and none of them passes for another."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tasks.providers.sandbox.thread import SandboxThread
from tests.providers.clients import BASES
from tests.support.polling import until

KEYS = {"sandbox": "", "vllm": "", "nim": "nvapi-test", "openrouter": "sk-or-test"}
MESSAGES = [{"role": "user", "content": "hello there"}]


def ask(url: str, model: str, key: str = "", **more: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {key}", "X-Request-Id": "job_1.1"}
    body = {"model": model, "messages": MESSAGES, **more}
    return requests.post(f"{url}/chat/completions", json=body, headers=headers, timeout=5)


def refused(url: str, key: str, status: int) -> Any:
    answer = ask(url, f"sandbox/status-{status}", key)
    assert answer.status_code == status
    return answer.json()


def is_sandbox(url: str) -> None:
    said = refused(url, "", 404)["error"]
    assert (said["code"], said["type"]) == ("Not Found", "simulated_error")


def is_vllm(url: str) -> None:
    said = refused(url, "", 404)["error"]
    assert (said["code"], said["type"], said["param"]) == (404, "NotFoundError", None)
    assert ask(url, "sandbox/echo").json()["id"] == "chatcmpl-job_1.1"


def is_nim(url: str) -> None:
    assert ask(url, "sandbox/echo", "sk-or-test").json() == {
        "status": 401,
        "title": "Unauthorized",
        "detail": "Bearer token is missing or malformed",
    }
    assert refused(url, "nvapi-test", 429) == {"status": 429, "title": "Too Many Requests"}
    assert "Not found for account" in refused(url, "nvapi-test", 404)["detail"]
    assert ask(url, "sandbox/status-502", "nvapi-test").headers["Content-Type"].startswith("text/html")
    assert "NVCF-REQID" in ask(url, "sandbox/nvcf-202", "nvapi-test").headers


def is_openrouter(url: str) -> None:
    unknown = ask(url, "sandbox/echo", "nvapi-test")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (401, 401)
    assert unknown.json()["user_id"]
    assert refused(url, "sk-or-test", 402)["error"]["message"].startswith("Insufficient credits")
    assert ask(url, "sandbox/error-in-200-502", "sk-or-test").json()["error"]["code"] == 502


CHECKS: dict[str, Callable[[str], None]] = {
    "sandbox": is_sandbox,
    "vllm": is_vllm,
    "nim": is_nim,
    "openrouter": is_openrouter,
}


@pytest.mark.parametrize("name", BASES)
def test_a_dialect_is_itself_and_no_other(sandbox: SandboxThread, name: str) -> None:
    url = sandbox.url + BASES[name]
    CHECKS[name](url)
    for other in CHECKS.keys() - {name}:
        with pytest.raises((AssertionError, KeyError, TypeError)):
            CHECKS[other](url)


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("body", [b"{", b"[]", b'{"model": "m"}', b'{"model": 1, "messages": []}'])
def test_a_malformed_request_is_refused(sandbox: SandboxThread, name: str, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {KEYS[name]}"}
    answer = requests.post(f"{sandbox.url}{BASES[name]}/chat/completions", data=body, headers=headers, timeout=5)
    assert answer.status_code == (422 if name == "nim" else 400)


@pytest.mark.parametrize("name", BASES)
def test_the_models_are_listed(sandbox: SandboxThread, name: str) -> None:
    headers = {"Authorization": f"Bearer {KEYS[name]}"}
    listed = requests.get(f"{sandbox.url}{BASES[name]}/models", headers=headers, timeout=5).json()["data"]
    assert "sandbox/echo" in [model["id"] for model in listed]


def test_the_rest_of_the_paths(sandbox: SandboxThread) -> None:
    assert requests.get(f"{sandbox.url}/vllm/health", timeout=5).status_code == 200
    key = f"{sandbox.url}/openrouter/api/v1/key"
    assert requests.get(key, timeout=5).status_code == 401
    told = requests.get(key, headers={"Authorization": "Bearer sk-or-x"}, timeout=5).json()
    assert told["data"]["is_free_tier"] is True


def streamed(answer: requests.Response) -> Iterator[Any]:
    for line in answer.iter_lines():
        if line and line != b"data: [DONE]":
            yield json.loads(line.removeprefix(b"data: "))


@pytest.mark.parametrize("name", BASES)
def test_a_stream_ends_with_its_reason_its_usage_and_done(sandbox: SandboxThread, name: str) -> None:
    answer = ask(sandbox.url + BASES[name], "sandbox/echo", KEYS[name], stream=True)
    assert answer.text.endswith("data: [DONE]\n\n")
    chunks = list(streamed(answer))
    words = [choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"]]
    assert "".join(words).startswith("[simulated] echo ")
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["total_tokens"] == 6


def test_a_stream_can_carry_an_error(sandbox: SandboxThread) -> None:
    answer = ask(sandbox.url + BASES["openrouter"], "sandbox/error-in-200", "sk-or-test", stream=True)
    last = list(streamed(answer))[-1]
    assert (last["error"]["code"], last["choices"][0]["finish_reason"]) == (502, "error")


def test_a_stream_can_break(sandbox: SandboxThread) -> None:
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        ask(sandbox.url + BASES["vllm"], "sandbox/cut", stream=True)
    until(lambda: sandbox.state.counts()["by_outcome"] == {"dropped": 1}, within_s=5)
