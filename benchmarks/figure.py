"""A figure as `make bench` prints it, and the order in which two sides are measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Round = TypeVar("Round")

#: The median of three is not moved by one disturbed round.
ROUNDS = 3


class Skipped(Exception):
    """This figure cannot be measured here; the message says what is missing."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured value beside what it is held against; `goal` is the least that `ratio` should be."""

    value: float
    against: float
    goal: float
    n: int
    lower_is_better: bool = False
    notes: Sequence[str] = ()
    #: Further `name=value` words of the line.
    words: str = ""

    @property
    def ratio(self) -> float:
        """How much better than what it is held against: higher is better, whatever is measured."""
        return self.against / self.value if self.lower_is_better else self.value / self.against

    def told(self, name: str, seconds: float) -> str:
        """The line under this name, and what it means. `seconds`: how long measuring took."""
        line = (
            f"bench {name} value={self.value:.4g} against={self.against:.4g} ratio={self.ratio:.3f} "
            f"n={self.n} seconds={seconds:.1f}"
        ) + (f" {self.words}" if self.words else "")
        verdict = "met" if self.ratio >= self.goal else "MISSED"
        return "\n".join([line, f"  goal: ratio >= {self.goal:g}, {verdict}", *(f"  {note}" for note in self.notes)])


def alternate(*sides: Callable[[], Round]) -> list[list[Round]]:
    """The rounds of each side, measured A B A B A B: whatever disturbs the machine disturbs both."""
    rounds: list[list[Round]] = [[] for _ in sides]
    for _ in range(ROUNDS):
        for side, done in zip(sides, rounds, strict=True):
            done.append(side())
    return rounds


def spelled(numbers: Sequence[float]) -> str:
    """All rounds, so that their spread can be seen."""
    return " ".join(f"{number:.4g}" for number in numbers)


def shared_out(cpu_ms: Mapping[str, int], n: int) -> str:
    """CPU time per job and kind of process, the largest first."""
    parts = sorted(cpu_ms.items(), key=lambda part: -part[1])
    return "CPU ms per job: " + ", ".join(f"{name} {spent / n:.2f}" for name, spent in parts if spent / n >= 0.005)
