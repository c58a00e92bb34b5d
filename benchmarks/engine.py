"""`engine`: chats per second through the service, against the same load sent straight to the same vLLM."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

from benchmarks import cpu, load
from benchmarks.figure import Figure
from benchmarks.house import Service, are_over, fields, finished_at, forget, job_ids
from benchmarks.real import Consumer
from benchmarks.straight import CHAT, SLOTS, TOKENS, compared
from tests.support.polling import until

GOAL = 0.75
CHATS, ROUND_S = 400, 120


def measure(data: Path) -> Figure:
    """The figure. Raises Skipped when no engine is installed."""
    return compared(data, Jobs, straight=CHATS, goal=GOAL)


class Jobs:
    """The load as jobs: the queue is filled while nobody consumes."""

    count = CHATS

    def __init__(self, service: Service) -> None:
        self._service = service
        self._consumer = Consumer(service)
        self.cpu_ms: Counter[str] = Counter()
        self._chats(SLOTS)

    def round(self) -> float:
        """Chats per second, from the moment the worker may consume."""
        return self._chats(CHATS)

    def _chats(self, count: int) -> float:
        forget(self._service)
        self._consumer.hold()
        body = CHAT | {"mode": "gpu"}
        load.run(f"{self._service.url}/jobs", body, connections=8, count=count)
        before, began_at = cpu.spent_ms(), time.time()
        self._consumer.let_go()
        until(lambda: are_over(self._service, count), within_s=ROUND_S, every_s=0.1, what="all chats being over")
        self.cpu_ms += cpu.spent_ms() - before
        ids = job_ids(self._service)
        tokens = {json.loads(usage)["completion_tokens"] for (usage,) in fields(self._service, ids, "usage")}
        assert tokens == {TOKENS}, f"answers have {tokens} tokens"
        return count / (finished_at(self._service, ids)[-1] - began_at)
