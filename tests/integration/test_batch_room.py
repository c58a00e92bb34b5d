"""Batches in a Redis that has no room for more: what was accepted is read, run and ended; no more is accepted."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support import batch
from tests.support.polling import until
from tests.support.service import Service

pytestmark = pytest.mark.timeout(240)


def items(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"custom_id": f"c{n}", "prompt": f"q {n}", **fields} for n in range(count)]


def fill(service: Service, *, share: float) -> None:
    """Let Redis be full to this share of some 25 MB."""
    service.valkey.client.setrange("filled", 20_000_000, "x")
    service.valkey.client.config_set("maxmemory", int(used(service) / share))


def used(service: Service) -> int:
    return int(service.valkey.client.info("memory")["used_memory"])


@pytest.mark.parametrize("how", ["completed", "cancelled", "expired"])
def test_a_batch_that_was_accepted_ends_however_little_room_is_left_for_others(tmp_path: Path, how: str) -> None:
    with Service(tmp_path, workers=1) as service:
        service.workers[0].kill(signal.SIGSTOP)
        options = {"expires_in_s": 1} if how == "expired" else {}
        batch_id = batch.submit(service, items(300, model="sandbox/tokens-1"), **options)
        fill(service, share=0.88)
        if how == "cancelled":
            batch.act(service, batch_id, "cancel")
        ends_at = datetime.fromisoformat(batch.get(service, batch_id)["expires_at"])
        until(lambda: how != "expired" or datetime.now(UTC) > ends_at, within_s=10)
        service.workers[0].kill(signal.SIGCONT)
        found = batch.ended(service, batch_id, within_s=30)
        assert (found["status"], found["counts"][how]) == (how, 300)
        assert batch.upload(service, batch.ndjson(items(1))).status_code == 503


def test_a_batch_is_accepted_with_the_room_that_its_items_will_take(tmp_path: Path) -> None:
    with Service(tmp_path, workers=1) as service:
        service.workers[0].kill(signal.SIGSTOP)
        fill(service, share=0.70)
        accepted = []
        while (answer := batch.upload(service, batch.ndjson(items(200)))).status_code == 202:
            accepted.append(answer.json()["id"])
        assert answer.status_code == 503
        assert len(accepted) > 1
        most = int(str(service.valkey.client.config_get("maxmemory")["maxmemory"]))
        assert used(service) < 0.80 * most, "only what lies there already was counted"
        service.workers[0].kill(signal.SIGCONT)
        until(lambda: all(batch.status(service, one) == "completed" for one in accepted), within_s=100, every_s=0.2)
        print(f"items={200 * len(accepted)} used={used(service) / most:.2f}")
        assert used(service) < most
        assert service.valkey.client.get("tandem:unread") == "0"
