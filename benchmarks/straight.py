"""What `engine` and `batch_engine` are held against: the same chats sent straight to the same vLLM."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Protocol

from benchmarks import cpu, load
from benchmarks.figure import ROUNDS, Figure, alternate, shared_out, spelled
from benchmarks.house import Service
from benchmarks.real import engine_url, served
from tasks.serving import CPU_MODEL

SLOTS, TOKENS = 32, 64
QUESTION = "What is the capital of France?"
CHAT = {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": TOKENS}


class Side(Protocol):
    """One way to the engine. `cpu_ms`: what all its rounds took, by kind of process; `count`: chats in a round."""

    cpu_ms: Counter[str]
    count: int

    def round(self) -> float:
        """Chats per second."""
        ...


def compared(data: Path, through: Callable[[Service], Side], *, straight: int, goal: float) -> Figure:
    """The rate through the service against the rate of `straight` chats a round. Raises Skipped without an engine."""
    with served(data, slots=SLOTS) as service:
        sides = (through(service), Straight(data, straight))
        rounds = alternate(*(side.round for side in sides))
    value, against = (median(rates) for rates in rounds)
    counts = [side.count * ROUNDS for side in sides]
    return Figure(
        value=value,
        against=against,
        goal=goal,
        n=sum(counts),
        notes=(
            f"chats/s of {TOKENS} tokens, {SLOTS} in flight, through: {spelled(rounds[0])}; "
            f"straight: {spelled(rounds[1])}",
            *(
                f"{name}, {shared_out(side.cpu_ms, count)}"
                for name, side, count in zip(("through", "straight"), sides, counts, strict=True)
            ),
        ),
    )


class Straight:
    """The chat, `count` times, to the engine's own port."""

    def __init__(self, data: Path, count: int) -> None:
        self._url = f"{engine_url(data)}/v1/chat/completions"
        self.count = count
        self.cpu_ms: Counter[str] = Counter()

    def round(self) -> float:
        """Chats per second."""
        before = cpu.spent_ms()
        seen = load.run(self._url, CHAT | {"model": CPU_MODEL}, connections=SLOTS, count=self.count)
        self.cpu_ms += cpu.spent_ms() - before
        self.cpu_ms["client"] += seen.cpu_ms
        assert seen.answer["usage"]["completion_tokens"] == TOKENS
        return seen.rate
