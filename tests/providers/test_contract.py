"""What every client asks and makes of an answer, against a sandbox that speaks its provider's dialect."""

from __future__ import annotations

import socket

import pytest

from tasks.domain import provider_errors as errors
from tasks.domain.provider_errors import ProviderError
from tasks.domain.request import ChatRequest, Message
from tasks.providers.base import Provider
from tasks.providers.sandbox.thread import SandboxThread
from tests.providers.clients import BASES, MAKERS, a_call, chat

#: The words of each dialect for a prompt that does not fit, which the client passes on.
TOO_LONG = {
    "sandbox": "However, you requested 1026.",
    "vllm": "However, your request has 1026 input tokens.",
    "nim": "However, your messages resulted in 1026 tokens.",
    "openrouter": "However, your messages resulted in 1026 tokens.",
}


def test_an_answer_comes_with_its_usage(client: Provider) -> None:
    done = chat(client, "echo")
    assert done.result.content is not None
    assert done.result.content.startswith("[simulated] ")
    assert done.result.content.endswith("hello there")
    assert done.result.finish_reason == "stop"
    assert done.usage is not None
    assert (done.usage.prompt_tokens, done.usage.completion_tokens, done.usage.total_tokens) == (2, 4, 6)
    assert (done.usage.cached_tokens, done.usage.reasoning_tokens) == (0, 0)
    assert done.model == "sandbox/echo:free"


def test_max_tokens_reaches_the_model(client: Provider) -> None:
    short = ChatRequest(messages=(Message(role="user", content="one two three"),), max_tokens=2)
    done = chat(client, "echo", request=short)
    assert done.result.finish_reason == "length"
    assert done.usage is not None
    assert done.usage.completion_tokens == 2


@pytest.mark.parametrize("words", ["thoughts", "think-tags"])
def test_thoughts_are_kept_apart(client: Provider, words: str) -> None:
    done = chat(client, words)
    assert done.result.reasoning == "simulated thoughts about the question"
    assert done.result.content is not None
    assert done.result.content.startswith("[simulated] ")


def test_a_tool_call_is_an_answer(client: Provider) -> None:
    done = chat(client, "tools")
    assert done.result.content is None
    assert done.result.finish_reason == "tool_calls"
    assert done.result.tool_calls[0]["function"]["name"] == "simulated"


def test_a_job_and_its_attempt_are_told_upstream(client: Provider, sandbox: SandboxThread) -> None:
    call = a_call()
    chat(client, "echo", call)
    entry = sandbox.state.calls.entries[-1]
    assert (f"{entry.job_id}.{entry.attempt}", entry.dialect) == (call.request_id, client.name)


def test_its_models_are_listed(client: Provider) -> None:
    listed = client.models(a_call())
    assert "nvidia/nemotron-nano-12b-v2-vl:free" in listed
    # Of OpenRouter's only the free ones, which are all that may be called.
    assert ("nvidia/nemotron-3-nano-30b-a3b" in listed) == (client.name != "openrouter")


def test_nobody_listening_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    for name, make in MAKERS.items():
        expected = errors.EngineAway if name == "vllm" else errors.Unreachable
        with pytest.raises(expected):
            chat(make(url), "echo")


def speaks(client: Provider) -> None:
    """Raises, or fails, when the client finds another dialect than its own."""
    chat(client, "echo")
    with pytest.raises(errors.ContextTooLong) as raised:
        chat(client, "too-long")
    assert raised.value.message.endswith(TOO_LONG[client.name])
    if client.name == "nim":
        chat(client, "nvcf-202")


def test_each_client_speaks_its_dialect(client: Provider) -> None:
    speaks(client)


@pytest.mark.parametrize(("name", "dialect"), [(n, d) for n in MAKERS for d in BASES if n != d])
def test_the_contract_fails_when_dialects_are_swapped(name: str, dialect: str, sandbox: SandboxThread) -> None:
    with pytest.raises((ProviderError, AssertionError)):
        speaks(MAKERS[name](sandbox.url, base=BASES[dialect]))
