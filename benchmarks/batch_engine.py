"""`batch_engine`: items of a batch per second on a real engine, from the upload to the last answer, against the same
chats sent straight to the same vLLM."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from statistics import median

from benchmarks import cpu
from benchmarks.engine import CHAT, SLOTS, TOKENS
from benchmarks.figure import Figure, alternate, shared_out, spelled
from benchmarks.house import Service, forget
from benchmarks.real import Straight, served
from tests.support import batch

GOAL = 0.8
ITEMS = 2000
ROUND_S, LOOK_S = 300, 0.1
#: No item may have another's answer.
ASKED = {"mode": "gpu", "cache": "off"}


def measure(data: Path) -> Figure:
    """The figure. Raises Skipped when no engine is installed."""
    began = time.monotonic()
    with served(data, slots=SLOTS) as service:
        through = Through(service)
        straight = Straight(data, CHAT, count=ITEMS, slots=SLOTS, tokens=TOKENS)
        rounds = alternate(through.round, straight.round)
    value, against = (median(side) for side in rounds)
    n = ITEMS * len(rounds[0])
    return Figure(
        name="batch_engine",
        value=value,
        against=against,
        ratio=value / against,
        goal=GOAL,
        n=2 * n,
        seconds=time.monotonic() - began,
        notes=(
            f"items/s of {TOKENS} tokens, {SLOTS} in flight, as one batch of {ITEMS}: {spelled(rounds[0])}; "
            f"straight: {spelled(rounds[1])}",
            f"as a batch, {shared_out(through.cpu_ms, n)}",
            f"straight, {shared_out(straight.cpu_ms, n)}",
        ),
    )


class Through:
    """The load as one batch."""

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
