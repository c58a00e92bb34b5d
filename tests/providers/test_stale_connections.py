"""Connections that servers close: when they lay idle, in the middle of an answer, and by announcement."""

from __future__ import annotations

import threading
import time

import pytest

from tasks.domain.errors import CallCut
from tasks.domain.provider_errors import ConnectionLost
from tasks.domain.request import ChatRequest, Message
from tasks.providers.base import Provider
from tasks.providers.sandbox_client import SandboxClient
from tasks.providers.transport import STALE_WITHIN_S
from tests.providers.clients import a_call, chat, cut_when
from tests.providers.wire import GOOD, GOOD_BODY, Line, Wire
from tests.support.polling import until


def client_of(wire: Wire) -> Provider:
    return SandboxClient(base_url=wire.url)


def test_a_connection_closed_while_idle_fails_no_job(wire: Wire) -> None:
    """The worst moment: the server closes when the next request is already on its way."""

    def serve(line: Line) -> None:
        line.request()
        line.send(GOOD)
        line.request()

    wire.handler, client = serve, client_of(wire)
    for accepted in (1, 2, 3):
        assert chat(client, "any").result.content == "fine"
        assert wire.accepted == accepted


def test_a_fresh_connection_that_breaks_is_not_tried_again(wire: Wire) -> None:
    def serve(line: Line) -> None:
        line.request()

    wire.handler = serve
    with pytest.raises(ConnectionLost):
        chat(client_of(wire), "any")
    assert wire.accepted == 1


def test_the_second_try_is_the_last(wire: Wire) -> None:
    def serve(line: Line) -> None:
        line.request()
        if line.number == 0:
            line.send(GOOD)
            line.request()

    wire.handler, client = serve, client_of(wire)
    chat(client, "any")
    with pytest.raises(ConnectionLost):
        chat(client, "any")
    assert wire.accepted == 2


@pytest.mark.parametrize(
    ("sent", "after_s"),
    [(b"", STALE_WITHIN_S + 0.1), (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", 0.0)],
    ids=["after a while", "within the answer"],
)
def test_a_server_that_may_have_begun_is_not_asked_twice(wire: Wire, sent: bytes, after_s: float) -> None:
    def serve(line: Line) -> None:
        line.request()
        line.send(GOOD)
        line.request()
        line.send(sent)
        time.sleep(after_s)

    wire.handler, client = serve, client_of(wire)
    chat(client, "any")
    with pytest.raises(ConnectionLost):
        chat(client, "any")
    assert wire.accepted == 1


def test_an_announced_close_is_honoured(wire: Wire) -> None:
    def serve(line: Line) -> None:
        line.request()
        line.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + GOOD_BODY)

    wire.handler, client = serve, client_of(wire)
    for accepted in (1, 2):
        assert chat(client, "any").result.content == "fine"
        assert wire.accepted == accepted


def test_a_cut_answer_without_a_length_does_not_pass_for_whole(wire: Wire) -> None:
    begun = threading.Event()

    def serve(line: Line) -> None:
        line.request()
        line.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + GOOD_BODY)
        time.sleep(0.1)  # for the client to be past the head, where http.client lets go of the socket
        begun.set()
        line.request()

    wire.handler = serve
    call = a_call()
    cut_when(begun.wait, call)
    started = time.monotonic()
    with pytest.raises(CallCut):
        chat(client_of(wire), "any", call)
    assert time.monotonic() - started < 1


def test_a_drip_of_bytes_is_cut_like_silence(wire: Wire) -> None:
    """Each byte restarts the read timeout; only the cut ends such a call."""

    def serve(line: Line) -> None:
        line.request()
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n")
        while True:
            line.send(b" ")
            time.sleep(0.01)

    wire.handler = serve
    call = a_call(timeout_s=0.2)
    cut_when(lambda: until(call.overdue, within_s=5), call)
    started = time.monotonic()
    with pytest.raises(CallCut):
        chat(client_of(wire), "any", call)
    assert time.monotonic() - started < 1


def test_a_large_body_on_a_slow_line_has_the_calls_time_not_the_connect_timeout(wire: Wire) -> None:
    def serve(line: Line) -> None:
        while True:
            time.sleep(0.3)
            line.request()
            line.send(GOOD)

    wire.handler = serve
    client = SandboxClient(base_url=wire.url, connect_timeout_s=0.1)
    large = ChatRequest(messages=(Message(role="user", content="x" * 20_000_000),))
    for _ in ("fresh", "reused"):
        assert chat(client, "any", request=large).result.content == "fine"
    assert wire.accepted == 1
