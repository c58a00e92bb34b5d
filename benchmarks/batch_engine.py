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
#: As many straight chats have the same rate as the items would have, in half the time.
ITEMS, CHATS = 2000, 1000
ROUND_S, LOOK_S = 300, 0.1
#: No item may have another's answer.
ASKED = {"mode": "gpu", "cache": "off"}


def measure(data: Path) -> Figure:
    """The figure. Raises Skipped when no engine is installed."""
    began = time.monotonic()
    with served(data, slots=SLOTS) as service:
        through = Through(service)
        straight = Straight(data, CHAT, count=CHATS, slots=SLOTS, tokens=TOKENS)
        rounds = alternate(through.round, straight.round)
    value, against = (median(side) for side in rounds)
    items, chats = (count * len(rounds[0]) for count in (ITEMS, CHATS))
    return Figure(
        name="batch_engine",
        value=value,
        against=against,
        ratio=value / against,
        goal=GOAL,
        n=items + chats,
        seconds=time.monotonic() - began,
        notes=(
            f"items/s of {TOKENS} tokens, {SLOTS} in flight, as one batch of {ITEMS}: {spelled(rounds[0])}; "
            f"straight: {spelled(rounds[1])}",
            f"as a batch, {shared_out(through.cpu_ms, items)}",
            f"straight, {shared_out(straight.cpu_ms, chats)}",
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
