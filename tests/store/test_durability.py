"""What Redis must have before a job is accepted: room, and every write on disk where that is promised."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.domain.errors import Unavailable
from tasks.store.capacity import Capacity
from tasks.store.durability import Durability
from tests.support.valkey import Valkey


def test_capacity_refuses_before_redis_is_full(tmp_path: Path) -> None:
    server = Valkey(tmp_path, "--maxmemory", "64mb", append_only=False).start()
    try:
        room = Capacity(server.client, share=0.3)
        room.reserve(1000)
        server.client.set("x", "y" * 20 * 1024 * 1024)
        with pytest.raises(Unavailable):
            room.reserve(2 * 1024 * 1024)
    finally:
        server.stop()


def test_durability_has_every_write_answered_from_disk(tmp_path: Path) -> None:
    server = Valkey(tmp_path, "--appendfsync", "everysec").start()
    try:
        Durability(server.client).ensure()
        assert server.client.config_get("appendfsync") == {"appendfsync": "always"}
    finally:
        server.stop()


@pytest.mark.parametrize("fault", ["appendonly off", "settings forbidden"])
def test_durability_is_refused_where_it_cannot_be_had(tmp_path: Path, fault: str) -> None:
    server = Valkey(tmp_path, append_only=fault != "appendonly off").start()
    try:
        if fault == "settings forbidden":
            server.client.acl_setuser("default", enabled=True, nopass=True, commands=["-config"])
        with pytest.raises(Unavailable, match="on disk"):
            Durability(server.client).ensure()
    finally:
        server.stop()
