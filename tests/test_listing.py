"""Asking a provider for its list: a list that cannot be had, or makes no sense, does no harm."""

from __future__ import annotations

import pytest

from tasks import listing
from tasks.providers.sandbox.thread import SandboxThread
from tasks.serving import Serving
from tasks.store import keys, learned
from tests.providers.wire import Line, Wire
from tests.support.valkey import Valkey, free_port


def at(url: str, provider: str = "sandbox", queue: str = "api") -> Serving:
    return Serving(queue=queue, provider=provider, target="", base_url=url)


def test_a_list_is_kept_and_not_asked_for_again(valkey: Valkey) -> None:
    with SandboxThread() as sandbox:
        for _ in range(3):
            listing.refresh([at(f"{sandbox.url}/v1")])
        assert sandbox.state.counts()["listings"] == {"sandbox": 1}
    assert "sandbox/echo" in learned.default().lately_listed("sandbox")
    assert 3500 < int(str(valkey.client.ttl(keys.listing("sandbox")))) <= 3600


def test_a_provider_that_is_away_is_asked_again_soon(valkey: Valkey) -> None:
    listing.refresh([at(f"http://127.0.0.1:{free_port()}/v1")])
    assert learned.default().listing("sandbox") is None
    assert 0 < int(str(valkey.client.ttl(keys.listing("sandbox")))) <= 60


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"data": {}}', b"<html>", b'{"data": [' + b"[" * 5000])
def test_a_list_that_makes_no_sense_is_none(valkey: Valkey, body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)

    def answer(line: Line) -> None:
        line.request()
        line.send(head + body)

    with Wire() as wire:
        wire.handler = answer
        listing.refresh([at(wire.url)])
    assert learned.default().listing("sandbox") is None


def test_an_engine_of_ours_is_not_asked(valkey: Valkey) -> None:
    listing.refresh([at(f"http://127.0.0.1:{free_port()}/v1", "vllm", "gpu")])
    assert valkey.client.dbsize() == 0
