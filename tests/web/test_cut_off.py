"""Bodies whose sender went away in the middle, through a real gunicorn: refused, and nothing stays behind."""

from __future__ import annotations

import socket

import pytest

from tests.support.valkey import Valkey
from tests.web.gunicorn import Gunicorn

LINES = b'{"custom_id": "a", "prompt": "x"}\n{"custom_id": "b", "prompt": "x"}\n'
WHOLE = {
    "application/x-ndjson": LINES,
    "application/json": b'{"items": [{"custom_id": "a", "prompt": "x"}]}',
}


def post(gunicorn: Gunicorn, kind: str, body: bytes, announced: int) -> bytes:
    head = f"POST /batches HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {announced}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gunicorn.port), timeout=10) as there:
        there.sendall(head.encode() + body)
        there.shutdown(socket.SHUT_WR)
        return there.recv(1000).split(b"\r\n")[0]


@pytest.mark.parametrize("kind", WHOLE)
def test_a_body_that_is_shorter_than_announced_is_no_batch(gunicorn: Gunicorn, valkey: Valkey, kind: str) -> None:
    body = WHOLE[kind]
    assert b" 400 " in post(gunicorn, kind, body, 5000)
    assert valkey.client.keys("tandem:*batch*") == []
    assert b" 202 " in post(gunicorn, kind, body, len(body))
