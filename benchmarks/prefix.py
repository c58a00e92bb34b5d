"""`prefix`: what an engine's prefix cache is worth to a batch whose items share long system prompts, mixed.

With grouping: all items as one batch. Without: the same lines in the same order as many small batches, each of which
has every system prompt once, so that there is nothing to group in it. The shards of all are in the queue before the
worker may take the first, and go the same way.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figure import Figure, alternate, spelled
from benchmarks.house import Service, forget
from benchmarks.real import Consumer, prefix_cache, served
from tests.support import batch
from tests.support.polling import until

#: Better than without.
GOAL = 1.0
PROMPTS, ITEMS, SLOTS, TOKENS = 25, 500, 8, 4
#: About 1,150 of the tiny model's tokens; all prompts together take more than twice the cache.
RULE, RULES = "Rule {n} of clerk {clerk}: be brief and kind, and say what you do not know. ", 24
#: 12,800 tokens: room for the calls in flight and a few more.
CACHE = "--max-model-len 2048 --block-size 32 --num-gpu-blocks-override 400"
ASKED = {"mode": "gpu", "cache": "off", "max_tokens": TOKENS}
ROUND_S, LOOK_S = 300, 0.05


@dataclass(frozen=True, kw_only=True)
class Round:
    """Items per second, and the share of prompts' tokens that the engine found in its cache."""

    rate: float
    hits: float


def measure(data: Path) -> Figure:
    """The figure. Raises Skipped when no engine is installed."""
    with served(data, slots=SLOTS, args=CACHE) as service:
        load = Load(service, data)
        grouped, mixed = alternate(lambda: load.round(ITEMS), lambda: load.round(PROMPTS))
    value, against = (median(one.rate for one in side) for side in (grouped, mixed))
    hits, hits_without = (median(one.hits for one in side) for side in (grouped, mixed))
    return Figure(
        value=value,
        against=against,
        goal=GOAL,
        n=ITEMS,
        words=f"hits={hits:.3f} hits_without={hits_without:.3f}",
        notes=(
            f"items/s with {PROMPTS} system prompts mixed, grouped: {spelled([one.rate for one in grouped])}; "
            f"not grouped: {spelled([one.rate for one in mixed])}",
            f"share of prompt tokens found in the engine's cache: {spelled([one.hits for one in grouped])}; "
            f"{spelled([one.hits for one in mixed])}",
        ),
    )


class Load:
    """The same items, in batches of any size. No round has another's prompts: those may still be in the cache."""

    def __init__(self, service: Service, data: Path) -> None:
        self._service, self._data = service, data
        self._consumer = Consumer(service)
        self._rounds = 0

    def round(self, size: int) -> Round:
        """Run all items in batches of `size`."""
        forget(self._service)
        self._consumer.hold()
        lines = self._lines()
        ids = [batch.submit(self._service, lines[at : at + size], defaults=ASKED) for at in range(0, ITEMS, size)]
        until(lambda: self._all("in_progress", ids), within_s=ROUND_S, every_s=LOOK_S)
        asked, found = prefix_cache(self._data)
        began = time.monotonic()
        self._consumer.let_go()
        until(lambda: self._all("completed", ids), within_s=ROUND_S, every_s=LOOK_S)
        rate = ITEMS / (time.monotonic() - began)
        asked_now, found_now = prefix_cache(self._data)
        return Round(rate=rate, hits=(found_now - found) / (asked_now - asked))

    def _all(self, status: str, ids: list[str]) -> bool:
        return all(batch.status(self._service, one) == status for one in ids)

    def _lines(self) -> list[dict[str, Any]]:
        self._rounds += 1
        clerks = [f"{self._rounds}.{number}" for number in range(PROMPTS)]
        rules = [" ".join(RULE.format(n=n, clerk=clerk) for n in range(RULES)) for clerk in clerks]
        # Each run of PROMPTS lines has each of them once, in an order of its own.
        chance = random.Random(0)
        mixed = [clerk for _ in range(ITEMS // PROMPTS) for clerk in chance.sample(range(PROMPTS), PROMPTS)]
        return [
            {
                "custom_id": str(n),
                "messages": [
                    {"role": "system", "content": rules[clerk]},
                    {"role": "user", "content": f"Question {n}?"},
                ],
            }
            for n, clerk in enumerate(mixed)
        ]
