"""Commands that are applied although their answer is lost, and therefore sent again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasks.store import connection, keys
from tasks.store.batches import Batches
from tests.store.test_batches import BATCH, House
from tests.support.relay import Relay
from tests.support.valkey import Valkey


@pytest.fixture
def relay(valkey: Valkey) -> Iterator[Relay]:
    with Relay(valkey.port) as running:
        yield running


def test_lines_are_kept_once(valkey: Valkey, relay: Relay) -> None:
    batches = Batches(connection.connect(relay.url), ttl_s=60)
    relay.lose("RPUSH")
    batches.keep_lines(BATCH, 0, [b"1 {}", b"2 {}"])
    assert relay.broken.is_set()
    assert valkey.client.lrange(keys.chunk(BATCH, 0), 0, -1) == ["1 {}", "2 {}"]
    assert valkey.client.ttl(keys.chunk(BATCH, 0)) > 0


def test_a_further_round_begins_once(valkey: Valkey, relay: Relay) -> None:
    house = House(valkey)
    house.accept(1)
    valkey.client.hset(keys.batch(BATCH), mapping={"status": "failed", "failed": 1})
    batches = Batches(connection.connect(relay.url), ttl_s=60)
    batches.retry("batch_none")  # so that its script is known
    relay.lose(BATCH)
    batches.retry(BATCH)
    assert relay.broken.is_set()
    assert valkey.client.hmget(keys.batch(BATCH), "status", "round") == ["validating", "2"]
    assert len(valkey.client.zrange("tandem:due", 0, -1)) == 2, "the steps expand and retry"
