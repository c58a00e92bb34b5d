"""What waits in our own engine waits by priority; nobody else is told of such a thing."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest

from tasks.domain.embedding import EmbeddingRequest
from tasks.domain.provider_errors import ProviderError
from tasks.providers.base import Call
from tests.providers.clients import HELLO, MAKERS
from tests.providers.wire import GOOD, Line, Wire


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("priority", [0, 9])
def test_only_the_engine_is_told_the_priority_of_a_call(kind: str, priority: int) -> None:
    with Wire() as wire:
        bodies: list[dict[str, Any]] = []

        def answer(line: Line) -> None:
            while request := line.request():
                bodies.append(json.loads(request.partition(b"\r\n\r\n")[2]))
                line.send(GOOD)

        wire.handler = answer
        client = MAKERS[kind](f"http://127.0.0.1:{wire.port}", "/v1")
        call = Call(request_id="job_1.1", timeout_s=10, priority=priority)
        client.complete("some/model:free", HELLO, call)
        with suppress(ProviderError):  # the answer is a chat's
            client.embed("some/model:free", EmbeddingRequest(input=("text",)), call)
    told = [body.get("priority") for body in bodies]
    assert told == ([9, 9] if kind == "vllm" and priority else [None, None])
