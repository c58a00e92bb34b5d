"""Answers that are too long, or packed: how much of them is read, and what becomes of the connection."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tasks.domain.provider_errors import ConnectionLost, InvalidResponse
from tasks.providers.sandbox_client import SandboxClient
from tests.providers.clients import chat
from tests.providers.wire import GOOD, GOOD_BODY, Line, Wire

MOST = 100_000


def client_of(wire: Wire) -> SandboxClient:
    return SandboxClient(base_url=wire.url, concurrency=1, answer_max_bytes=MOST)


def body(length: int) -> bytes:
    """A good answer of this length."""
    empty = {"model": "m", "choices": [{"finish_reason": "stop", "message": {"content": ""}}]}
    missing = length - len(json.dumps(empty))
    empty["choices"][0]["message"]["content"] = "x" * missing  # type: ignore[index]
    return json.dumps(empty).encode()


def plain(data: bytes) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data)
    yield data


def chunked(data: bytes) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for start in range(0, len(data), 10_000):
        piece = data[start : start + 10_000]
        yield b"%x\r\n%s\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def packed(data: bytes, encoding: str = "gzip", pack: Callable[[bytes], bytes] = gzip.compress) -> Iterator[bytes]:
    sent = pack(data)
    yield b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (encoding.encode(), len(sent))
    yield sent


def deflated(data: bytes) -> Iterator[bytes]:
    return packed(data, "deflate", zlib.compress)


def without_length(data: bytes) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    yield data


FORMS = [plain, chunked, packed, deflated, without_length]


def answering(wire: Wire, first: Iterator[bytes], seen: list[bytes] | None = None) -> None:
    """The first request gets this, every other one a good answer."""
    requests: list[bytes] = [] if seen is None else seen

    def serve(line: Line) -> None:
        while request := line.request():
            requests.append(request)
            pieces = list(first) if len(requests) == 1 else [GOOD]
            for piece in pieces:
                line.send(piece)
            if b"Connection: close" in pieces[0]:
                return

    wire.handler = serve


@pytest.mark.parametrize("form", FORMS)
def test_an_answer_may_be_as_long_as_that(wire: Wire, form: Callable[[bytes], Iterator[bytes]]) -> None:
    answering(wire, form(body(MOST)))
    content = chat(client_of(wire), "any").result.content
    assert content is not None
    assert len(content) > MOST * 0.9


@pytest.mark.parametrize("form", FORMS)
def test_a_longer_one_is_no_answer_and_the_next_call_has_a_connection(
    wire: Wire, form: Callable[[bytes], Iterator[bytes]]
) -> None:
    answering(wire, form(body(MOST + 1)))
    client = client_of(wire)
    with pytest.raises(InvalidResponse, match="longer than 100000 bytes"):
        chat(client, "any")
    assert chat(client, "any").result.content == "fine"


def test_of_a_megabyte_of_zeros_that_is_packed_into_a_kilobyte_no_more_is_unpacked_than_may_come(wire: Wire) -> None:
    bomb = gzip.compress(bytes(200_000_000), 9)
    answering(wire, packed(b"", pack=lambda _: bomb))
    client = client_of(wire)
    with taken() as most, pytest.raises(InvalidResponse):
        chat(client, "any")
    assert most() < 20 * MOST


@contextmanager
def taken() -> Iterator[Callable[[], int]]:
    """How many bytes were taken at a time, at the most."""
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_nothing_packed_is_asked_for(wire: Wire) -> None:
    seen: list[bytes] = []
    answering(wire, plain(GOOD_BODY), seen)
    chat(client_of(wire), "any")
    [request] = seen
    assert b"Accept-Encoding: identity\r\n" in request


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "unheard of"])
def test_what_is_packed_in_another_way_is_no_answer(wire: Wire, encoding: str) -> None:
    answering(wire, packed(GOOD_BODY, encoding))
    with pytest.raises(InvalidResponse, match="compressed"):
        chat(client_of(wire), "any")


def test_what_is_called_packed_and_is_not_is_no_answer(wire: Wire) -> None:
    answering(wire, packed(GOOD_BODY, pack=bytes))
    with pytest.raises(InvalidResponse, match="cannot be unpacked"):
        chat(client_of(wire), "any")


def test_a_packed_answer_that_breaks_off_is_tried_again(wire: Wire) -> None:
    answering(wire, packed(GOOD_BODY, pack=lambda data: gzip.compress(data)[:-20]))
    with pytest.raises(ConnectionLost):
        chat(client_of(wire), "any")
