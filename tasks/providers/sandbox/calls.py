"""The log of every call, in memory and, as JSON lines, in a file. It holds ids, times and numbers, never prompts."""

from __future__ import annotations

import json
import os
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

#: So many of the latest calls stay in memory: the sandbox may serve a long time when no provider is configured.
KEPT = 100_000


@dataclass(kw_only=True)
class Entry:
    """One call. `…_at` are seconds since the Unix epoch, `…_s` since the sandbox started.

    `outcome` is in_flight, answered (200), queued (202), refused (another status), dropped (by us) or aborted (by
    the client). `image_base64` is the length of the longest inline image.
    """

    seq: int
    dialect: str
    path: str
    model: str
    request_id: str
    job_id: str
    attempt: int | None
    started_at: float
    started_s: float
    stream: bool = False
    outcome: str = "in_flight"
    status: int | None = None
    limited: bool = False
    ended_at: float | None = None
    ended_s: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    images: int = 0
    image_base64: int = 0


class Calls:
    """The calls since the start or the last reset: counts of all, entries of the latest.

    `file` gets one line when a call arrives and one when it ends.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.entries: deque[Entry]
        self.in_flight = self.peak_in_flight = self._arrived = self._polls = 0
        self.reset()
        self._born = time.monotonic()
        # One write per line straight to the descriptor: what was said before a kill -9 is in the file.
        self._fd = None if file is None else os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def arrived(self, *, dialect: str, path: str, request_id: str, poll: bool = False) -> Entry:
        """A call has come in; its model is filled in when known."""
        job_id, attempt = split(request_id)
        self._arrived += 1
        entry = Entry(
            seq=self._arrived,
            dialect=dialect,
            path=path,
            model="",
            request_id=request_id,
            job_id=job_id,
            attempt=attempt,
            started_at=time.time(),
            started_s=time.monotonic() - self._born,
        )
        self.entries.append(entry)
        self._dialects[dialect] += 1
        self._polls += poll
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        return entry

    def announce(self, entry: Entry) -> None:
        """Write the arrival to the file."""
        self._write("arrived", entry)

    def ended(self, entry: Entry, outcome: str, status: int | None) -> None:
        """A call is over."""
        entry.outcome, entry.status = outcome, status
        entry.ended_at, entry.ended_s = time.time(), time.monotonic() - self._born
        self.in_flight -= 1
        self._count(entry)
        self._write("ended", entry)

    def _count(self, entry: Entry) -> None:
        self._outcomes[entry.outcome] += 1
        self._violations += entry.limited
        self._prompt_tokens += entry.prompt_tokens
        self._completion_tokens += entry.completion_tokens
        if entry.status:
            self._statuses[str(entry.status)] += 1

    def _write(self, event: str, entry: Entry) -> None:
        if self._fd is not None:
            os.write(self._fd, (json.dumps({"event": event, **vars(entry)}) + "\n").encode())

    def since(self, seq: int) -> list[dict[str, Any]]:
        """The calls with a higher number than `seq`, oldest first, as far as they are kept."""
        return [asdict(entry) for entry in self.entries if entry.seq > seq]

    def counts(self) -> dict[str, Any]:
        """The calls by outcome, status and dialect. `calls` are model calls; polls for queued ones are apart."""
        return {
            "calls": self._arrived - self._polls,
            "polls": self._polls,
            "answered": self._outcomes["answered"],
            "aborted": self._outcomes["aborted"],
            "violations": self._violations,
            "in_flight": self.in_flight,
            "peak_in_flight": self.peak_in_flight,
            "by_outcome": dict(self._outcomes),
            "by_status": dict(self._statuses),
            "by_dialect": dict(self._dialects),
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._completion_tokens,
        }

    def reset(self) -> None:
        """Forget all calls. The file keeps its lines; calls in flight stay in flight."""
        self.entries = deque(maxlen=KEPT)
        self.peak_in_flight = self.in_flight
        self._arrived = self._polls = self._violations = self._prompt_tokens = self._completion_tokens = 0
        self._outcomes: Counter[str] = Counter()
        self._statuses: Counter[str] = Counter()
        self._dialects: Counter[str] = Counter()


def split(request_id: str) -> tuple[str, int | None]:
    """`<job id>.<attempt>` → both; an id without an attempt is all job id."""
    job_id, dot, attempt = request_id.rpartition(".")
    return (job_id, int(attempt)) if dot and attempt.isdecimal() else (request_id, None)
