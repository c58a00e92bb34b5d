"""`governor`: how much of an exact limit four workers use that compete for it, and how often they exceed it.

`governor_learned`: the same where nobody told the limit: how much of it is used once it was found.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.house import house
from tests.support.hosted import nim
from tests.support.polling import until
from tests.support.verdict import calls

#: A minute, scaled: the same setting of limiter and sandbox.
WINDOW_S = 6.0
WORKERS, SLOTS = 4, 16
GOAL, GOAL_LEARNED, MOST_REFUSED = 0.97, 0.85, 0.02
RPM, TPM, MINUTES = 10, 1000, 5
#: NVIDIA's limit by hearsay; the default that learning starts from is 30.
UNDISCLOSED_RPM, MINUTES_TO_LEARN = 40, 24
CALL_MS = 50


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the sandbox saw: the times of calls it let through, in windows since the first, and those it refused."""

    through: list[float]
    refused: list[float]

    def used(self, since: float, until_: float) -> int:
        """Calls let through between two moments, in windows."""
        return sum(since <= at < until_ for at in self.through)


def measure(data: Path) -> Figure:
    """The figure for a limit that is known."""
    env = {"TANDEM_SANDBOX_RPM": str(RPM), "TANDEM_SANDBOX_TPM": str(TPM)}
    seen = _run(data, env, rpm=RPM, tpm=TPM, windows=MINUTES)
    used, permitted = seen.used(0, MINUTES), RPM * MINUTES
    return Figure(
        value=used,
        against=permitted,
        goal=GOAL,
        n=len(seen.through),
        words=f"violations={len(seen.refused)}",
        notes=(f"requests in {MINUTES} minutes of {WINDOW_S:g} s by {WORKERS} workers; {len(seen.refused)} refused",),
    )


def measure_learned(data: Path) -> Figure:
    """The figure for a limit that only refusals tell of."""
    seen = _run(data, {}, rpm=UNDISCLOSED_RPM, tpm=None, windows=MINUTES_TO_LEARN)
    settled = MINUTES_TO_LEARN // 2
    used, permitted = seen.used(settled, MINUTES_TO_LEARN), UNDISCLOSED_RPM * (MINUTES_TO_LEARN - settled)
    share = len(seen.refused) / (len(seen.through) + len(seen.refused))
    by_window = " ".join(str(seen.used(n, n + 1)) for n in range(MINUTES_TO_LEARN))
    return Figure(
        value=used,
        against=permitted,
        goal=GOAL_LEARNED,
        n=len(seen.through),
        words=f"violations={len(seen.refused)}",
        notes=(
            f"requests in the last {MINUTES_TO_LEARN - settled} of {MINUTES_TO_LEARN} minutes of {WINDOW_S:g} s",
            f"{share:.1%} of all calls were refused, {'met' if share <= MOST_REFUSED else 'MISSED'}: at most "
            f"{MOST_REFUSED:.0%}; in minutes {' '.join(f'{at:.1f}' for at in seen.refused)}",
            f"by minute: {by_window}",
        ),
    )


def _run(data: Path, env: Mapping[str, str], *, rpm: int, tpm: int | None, windows: int) -> Seen:
    env = {"TANDEM_LIMIT_WINDOW_S": str(WINDOW_S), **env}
    service = house(data, concurrency=SLOTS, env=env)
    if tpm is None:
        # The sandbox stands for NIM, whose 429 says nothing and whose limit is a guess.
        service.env |= nim(service)
    with service:
        for _ in range(WORKERS):
            service.add_worker()
        until(service.is_ready, within_s=60, what="the workers being ready")
        service.tell_sandbox(rpm=rpm, tpm=tpm, window_s=WINDOW_S, latency_ms=CALL_MS)
        for number in range(rpm * (windows + 2)):
            service.submit(f"job {number}", max_tokens=40)
        first_s = until(lambda: calls(service.sandbox_log), within_s=30)[0]["started_at"]
        over_at = first_s + windows * WINDOW_S
        until(lambda: time.time() > over_at, within_s=windows * WINDOW_S + 5, every_s=0.2)
        ended = [entry for entry in calls(service.sandbox_log) if entry["event"] == "ended"]
    at = {entry["seq"]: (entry["started_at"] - first_s) / WINDOW_S for entry in ended}
    refused = {entry["seq"] for entry in ended if entry["status"] == 429}
    through = [moment for seq, moment in at.items() if seq not in refused]
    return Seen(through=through, refused=[moment for seq, moment in at.items() if seq in refused])
