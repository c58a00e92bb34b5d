"""What only OpenRouter does: free variants, its headers, its way to tell when a limit ends."""

from __future__ import annotations

import json

import pytest
import requests

from tasks.domain.provider_errors import AccessDenied, AuthenticationFailed, PaymentRequired, RateLimited
from tasks.providers.openrouter import OpenRouter, until_reset_s
from tasks.providers.sandbox.thread import SandboxThread
from tasks.providers.transport import Answer
from tests.providers.clients import BASES, HELLO, a_call, chat, openrouter
from tests.providers.wire import GOOD, Line, Wire


@pytest.mark.parametrize("model", ["sandbox/echo", "sandbox/echo:free:online", "sandbox/free", ":free "])
def test_a_paid_model_is_refused_before_a_byte_is_sent(sandbox: SandboxThread, model: str) -> None:
    with pytest.raises(PaymentRequired):
        openrouter(sandbox.url).complete(model, HELLO, a_call())
    assert sandbox.state.counts()["calls"] == 0


def test_a_paid_model_is_allowed_on_request(sandbox: SandboxThread) -> None:
    base_url = sandbox.url + BASES["openrouter"]
    client = OpenRouter(base_url=base_url, api_key="sk-or-test", allow_paid=True)
    assert client.complete("sandbox/echo", HELLO, a_call()).result.content


def test_openrouter_is_told_who_calls(wire: Wire) -> None:
    seen: list[bytes] = []

    def serve(line: Line) -> None:
        seen.append(line.request())
        line.send(GOOD)

    wire.handler = serve
    client = OpenRouter(base_url=wire.url, api_key="sk-or-test")
    chat(client, "any")
    assert b"HTTP-Referer: https://github.com/tandem-jobs/tandem\r\n" in seen[0]
    assert b"X-OpenRouter-Title: Tandem\r\n" in seen[0]
    assert b"Authorization: Bearer sk-or-test\r\n" in seen[0]


def test_its_own_rate_limit_tells_its_end(sandbox: SandboxThread) -> None:
    requests.put(f"{sandbox.url}/control/openrouter", json={"rpm": 1}, timeout=5).raise_for_status()
    client = openrouter(sandbox.url)
    chat(client, "echo")
    with pytest.raises(RateLimited) as raised:
        chat(client, "echo")
    assert raised.value.retry_after_s is not None
    assert 55 < raised.value.retry_after_s <= 60.1


@pytest.mark.parametrize(("reset", "wait_s"), [("", None), ("soon", None), ("1", 0.0), ("9" * 15, 86_400.0)])
def test_a_reset_in_milliseconds(reset: str, wait_s: float | None) -> None:
    assert until_reset_s(reset) == wait_s


def test_the_key_tells_what_is_left_and_not_its_label(sandbox: SandboxThread) -> None:
    client = OpenRouter(base_url=sandbox.url + BASES["openrouter"], api_key="sk-or-test")
    assert client.key(a_call()) == {
        "limit": 5.0, "limit_remaining": 4.5, "usage": 0.5, "is_free_tier": True, "requests": 20, "interval": "60s",
    }  # fmt: skip


def test_a_key_that_is_not_accepted_is_an_error(sandbox: SandboxThread) -> None:
    client = OpenRouter(base_url=sandbox.url + BASES["openrouter"], api_key="wrong")
    for ask in (client.key, client.check_key):
        with pytest.raises(AuthenticationFailed) as caught:
            ask(a_call())
        assert caught.value.of_key


@pytest.mark.parametrize(("metadata", "of_model"), [({"provider_name": "Nvidia"}, True), ({}, False), (None, False)])
def test_a_refusal_from_behind_openrouter_concerns_the_model_only(metadata: object, of_model: bool) -> None:
    body = json.dumps({"error": {"code": 429, "message": "Provider returned error", "metadata": metadata}}).encode()
    client = OpenRouter(base_url="http://127.0.0.1:1", api_key="sk-or-test")
    error = client.refusal(Answer(status=429, headers={}, body=body), "m")
    assert isinstance(error, RateLimited)
    assert error.of_model == of_model


@pytest.mark.parametrize(("metadata", "of_key"), [({"provider_name": "Nvidia"}, False), ({}, True), (None, True)])
def test_what_a_provider_behind_openrouter_refuses_is_not_our_keys_affair(metadata: object, of_key: bool) -> None:
    body = json.dumps({"error": {"code": 403, "message": "Provider returned error", "metadata": metadata}}).encode()
    client = OpenRouter(base_url="http://127.0.0.1:1", api_key="sk-or-test")
    error = client.refusal(Answer(status=403, headers={}, body=body), "m")
    assert isinstance(error, AccessDenied)
    assert error.of_key == of_key


def test_a_paid_model_that_is_not_allowed_is_not_our_keys_affair(sandbox: SandboxThread) -> None:
    with pytest.raises(PaymentRequired) as caught:
        openrouter(sandbox.url).complete("acme/paid", HELLO, a_call())
    assert not caught.value.of_key
