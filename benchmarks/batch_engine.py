"""`batch_engine`: items of a batch per second on a real engine, from the upload to the last answer, against the same
chats sent straight to the same vLLM."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from benchmarks import cpu
from benchmarks.figure import Figure
from benchmarks.house import Service, forget
from benchmarks.straight import CHAT, SLOTS, TOKENS, compared
from tests.support import batch

GOAL = 0.8
#: As many straight chats have the same rate as the items would have, in half the time.
ITEMS, CHATS = 2000, 1000
ROUND_S, LOOK_S = 300, 0.1
#: No item may have another's answer.
ASKED = {"mode": "gpu", "cache": "off"}


def measure(data: Path) -> Figure:
    """The figure. Raises Skipped when no engine is installed."""
    return compared(data, Batch, straight=CHATS, goal=GOAL)


class Batch:
    """The load as one batch."""

    count = ITEMS

    def __init__(self, service: Service) -> None:
        self._service = service
        self.cpu_ms: Counter[str] = Counter()
        self._items(SLOTS)

    def round(self) -> float:
        """Items per second."""
        before = cpu.spent_ms()
        rate = self._items(ITEMS)
        self.cpu_ms += cpu.spent_ms() - before
        return rate

    def _items(self, count: int) -> float:
        forget(self._service)
        began = time.monotonic()
        batch_id = batch.submit(self._service, ({"custom_id": str(n), **CHAT} for n in range(count)), defaults=ASKED)
        batch.completed(self._service, batch_id, within_s=ROUND_S, every_s=LOOK_S)
        seconds = time.monotonic() - began
        found = batch.get(self._service, batch_id)
        assert found["usage"]["completion_tokens"] == count * TOKENS, found
        assert (found["cached"], found["coalesced"]) == (0, 0)
        return count / seconds
