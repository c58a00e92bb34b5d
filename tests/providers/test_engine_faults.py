"""What a failed request to our own engine means: the engine is asked whether it lives before it is taken for dead."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pytest

from tasks.domain.embedding import EmbeddingRequest
from tasks.domain.provider_errors import EngineError, EngineLost, ProviderError, ProviderOverloaded
from tasks.providers import vllm
from tasks.providers.vllm import VLLM
from tests.providers.clients import HELLO, a_call
from tests.providers.wire import GOOD, Line, Wire

CHAT, EMBED, HEALTH, TOKEN = "POST /v1/chat/completions", "POST /v1/embeddings", "GET /health", "POST /v1/completions"
#: As vLLM says it.
TROUBLE = {"error": {"message": "list index out of range", "type": "InternalServerError", "param": None, "code": 500}}
Reply = bytes | Callable[[Line], None]


def answer(status: int, body: object = None) -> bytes:
    data = json.dumps(body or {}).encode()
    head = f"HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def choice(**fields: object) -> bytes:
    return answer(200, {"model": "m", "choices": [{"message": {"content": "half"}, **fields}]})


def silence(line: Line) -> None:
    """Read on until the client has had enough."""
    line.sock.recv(1)


def hang_up(_line: Line) -> None:
    """Nothing, and the connection ends."""


LIVES = {HEALTH: answer(200), TOKEN: answer(200)}


class Asked:
    """An engine that answers each request as it is told, and remembers what it was asked."""

    def __init__(self, wire: Wire, replies: Mapping[str, Reply]) -> None:
        self.asked: list[str] = []
        self._replies = replies
        wire.handler = self._serve
        self.client = VLLM(base_url=wire.url)

    def _serve(self, line: Line) -> None:
        while request := line.request():
            what = " ".join(request.decode().split(" ", 2)[:2])
            self.asked.append(what)
            reply = self._replies[what]
            if not isinstance(reply, bytes):
                reply(line)
                return
            line.send(reply)

    def error(self) -> ProviderError:
        """What comes of a chat."""
        with pytest.raises(ProviderError) as raised:
            self.client.complete("m", HELLO, a_call())
        return raised.value


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (answer(500, TROUBLE), "the engine failed at this request: list index out of range"),
        (answer(500), "the engine failed at this request (HTTP 500)"),
        (answer(200, TROUBLE), "the engine failed at this request: list index out of range"),
        (answer(504, "timeout"), "the engine failed at this request: timeout"),
        (choice(finish_reason="abort"), "the engine failed at this request: the provider broke the answer off"),
        (answer(200, {"choices": []}), "the engine failed at this request: the provider sent no choice"),
        (hang_up, "the engine failed at this request: the connection broke before the answer was whole"),
    ],
)
def test_an_engine_that_lives_has_failed_at_this_request(wire: Wire, reply: Reply, says: str) -> None:
    engine = Asked(wire, {CHAT: reply, **LIVES})
    error = engine.error()
    assert (type(error), error.message) == (EngineError, says)
    assert isinstance(error, EngineError)
    assert error.charged
    assert engine.asked == [CHAT, HEALTH, TOKEN]


@pytest.mark.parametrize("reply", [answer(500, TROUBLE), choice(finish_reason="abort"), hang_up])
@pytest.mark.parametrize(
    "dead",
    [
        {HEALTH: answer(503)},
        {HEALTH: hang_up},
        {HEALTH: answer(200), TOKEN: answer(500)},  # one that drains: it says that it is well, and takes nothing more
        {HEALTH: answer(200), TOKEN: hang_up},
    ],
)
def test_an_engine_that_is_dead_or_drains_is_lost(wire: Wire, reply: Reply, dead: Mapping[str, Reply]) -> None:
    assert type(Asked(wire, {CHAT: reply, **dead}).error()) is EngineLost


@pytest.mark.parametrize("busy", [{TOKEN: silence}, {TOKEN: answer(503)}, {HEALTH: silence}])
def test_an_engine_too_busy_to_say_so_lives(
    wire: Wire, busy: Mapping[str, Reply], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm, "LOOK_S", 0.2)
    assert type(Asked(wire, {CHAT: answer(500, TROUBLE), **LIVES, **busy}).error()) is EngineError


def test_a_full_queue_is_no_question(wire: Wire) -> None:
    engine = Asked(wire, {CHAT: answer(503)})
    assert type(engine.error()) is ProviderOverloaded
    assert engine.asked == [CHAT]


def test_an_engine_that_makes_vectors_is_asked_for_one(wire: Wire) -> None:
    replies = [answer(200, {"data": []}), answer(500, TROUBLE)]

    def embed(line: Line) -> None:
        line.send(replies.pop())

    engine = Asked(wire, {EMBED: embed, HEALTH: answer(200)})
    with pytest.raises(EngineError, match="list index out of range"):
        engine.client.embed("m", EmbeddingRequest(input=("a",)), a_call())
    assert engine.asked == [EMBED, HEALTH, EMBED]


def test_an_answer_asks_for_nothing_more(wire: Wire) -> None:
    engine = Asked(wire, {CHAT: GOOD})
    engine.client.complete("m", HELLO, a_call())
    assert engine.asked == [CHAT]
