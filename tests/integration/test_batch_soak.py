"""Batch after batch: what a worker keeps of each is nothing."""

from __future__ import annotations

from pathlib import Path

from tests.support import batch
from tests.support.service import Service

#: Slots of the one worker, and batches until each of them has had a shard and with it the connections it needs.
SLOTS, WARM, FURTHER, ITEMS = 4, 6, 12, 5


def test_batches_leave_neither_channels_nor_connections_behind(tmp_path: Path) -> None:
    with Service(tmp_path, workers=1, concurrency=SLOTS) as service:
        run(service, WARM)
        before = kept(service)
        run(service, FURTHER)
        after = kept(service)
        print(f"channels, connections: {before} → {after}")
        assert after[0] == before[0]
        # A slot that was idle so far may have made its own.
        assert after[1] <= before[1] + SLOTS


def run(service: Service, batches: int) -> None:
    """So many batches, one after the other."""
    for _ in range(batches):
        lines = ({"custom_id": str(n), "prompt": f"question {n}", "cache": "off"} for n in range(ITEMS))
        done = batch.ended(service, batch.submit(service, lines))
        assert done["counts"]["completed"] == ITEMS


def kept(service: Service) -> tuple[int, int]:
    """Channels that somebody listens on, and connections."""
    client = service.valkey.client
    return len(client.pubsub_channels()), len(client.client_list())
