"""What one sandbox remembers while it runs: calls, settings, queued answers."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.providers.sandbox.behaviour import Behaviour
from tasks.providers.sandbox.calls import Calls
from tasks.providers.sandbox.control import Control
from tasks.providers.sandbox.dialects import DIALECTS


@dataclass(frozen=True, kw_only=True)
class Queued:
    """An answer that NVIDIA's gateway keeps until it is asked for. `ready_at` is monotonic."""

    completion: dict[str, Any]
    ready_at: float
    redirects: bool


@dataclass(kw_only=True)
class Asset:
    """An asset: what it was announced as, and how many bytes came."""

    content_type: str
    description: str
    size_bytes: int | None = None


class State:
    """All that the handlers share. They run in one event loop, so nothing here needs a lock."""

    def __init__(self, *, window_s: float, log: Path | None) -> None:
        self.window_s = window_s
        self.calls = Calls(log)
        self.queued: dict[str, Queued] = {}
        self.assets: dict[str, Asset] = {}
        self.stopping = False
        self.reset()

    def reset(self) -> None:
        """Back to the defaults, with no calls remembered."""
        self.calls.reset()
        self.controls: dict[str, Control] = {}
        self.listings: Counter[str] = Counter()
        self.assets.clear()
        self.failures: Counter[tuple[str, str]] = Counter()
        self.tell({})

    def tell(self, said: dict[str, Any], *, dialect: str | None = None) -> None:
        """Replace the settings of one dialect, or of each. Raises ValueError for what makes no sense."""
        names = [dialect] if dialect else [d.name for d in DIALECTS]
        self.controls |= {name: Control(said, window_s=self.window_s, now=time.monotonic()) for name in names}

    def failing(self, behaviour: Behaviour, *, job_id: str, model: str) -> Behaviour:
        """The behaviour, or its failure-free self once it has failed `times` times for this job."""
        if behaviour.times is None:
            return behaviour
        self.failures[job_id, model] += 1
        return behaviour if self.failures[job_id, model] <= behaviour.times else behaviour.without_failure

    def counts(self) -> dict[str, Any]:
        """All counts, with the most that any window of each dialect held, and how often each was asked for its list."""
        peaks = {n: {"requests": c.requests.peak, "tokens": c.spent.peak} for n, c in self.controls.items()}
        return {**self.calls.counts(), "window_peaks": peaks, "listings": dict(self.listings)}
