"""The four clients as the tests use them, and short ways to call them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from ipaddress import ip_network

from tasks.domain.request import ChatRequest, Message
from tasks.domain.result import ChatResult, Completion
from tasks.providers.base import Call, Provider
from tasks.providers.nim import NIM
from tasks.providers.openrouter import OpenRouter
from tasks.providers.sandbox_client import SandboxClient
from tasks.providers.vllm import VLLM

#: Where each dialect lives in the sandbox.
BASES = {"sandbox": "/v1", "vllm": "/vllm/v1", "nim": "/nim/v1", "openrouter": "/openrouter/api/v1"}
#: Where the sandbox's results lie, and everything else in tests.
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1"))
HELLO = ChatRequest(messages=(Message(role="user", content="hello there"),))
_numbers = itertools.count()


def sandbox(url: str, base: str = BASES["sandbox"], concurrency: int = 16) -> Provider:
    return SandboxClient(base_url=url + base, concurrency=concurrency)


def vllm(url: str, base: str = BASES["vllm"], concurrency: int = 16) -> Provider:
    return VLLM(base_url=url + base, concurrency=concurrency)


def nim(url: str, base: str = BASES["nim"], concurrency: int = 16) -> Provider:
    return NIM(
        base_url=url + base,
        api_key="nvapi-test",
        nvcf_url=f"{url}/nim",
        concurrency=concurrency,
        networks=LOOPBACK,
    )


def openrouter(url: str, base: str = BASES["openrouter"], concurrency: int = 16) -> Provider:
    return OpenRouter(base_url=url + base, api_key="sk-or-test", concurrency=concurrency)


MAKERS: dict[str, Callable[..., Provider]] = {"sandbox": sandbox, "vllm": vllm, "nim": nim, "openrouter": openrouter}


def a_call(timeout_s: float = 10.0) -> Call:
    """A call with an id of its own."""
    return Call(request_id=f"job_{next(_numbers)}.1", timeout_s=timeout_s)


def chat(
    client: Provider, words: str, call: Call | None = None, request: ChatRequest = HELLO
) -> Completion[ChatResult]:
    """Ask for what the sandbox's grammar says; the free variant, for OpenRouter's sake."""
    return client.complete(f"sandbox/{words}:free", request, call or a_call())


def cut_when(ready: Callable[[], object], call: Call) -> None:
    """Cut the call from another thread as soon as `ready` returns."""

    def cut() -> None:
        ready()
        call.cut("cancelled")

    threading.Thread(target=cut, daemon=True).start()
