"""The door for `GET /usage`: what an owner has used, by day, provider and model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from tasks.domain.job import SIMULATOR
from tasks.store import usage

#: So far back counts are kept.
LONGEST_DAYS = 90
EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Day:
    """One day's use of one model. `counts` has requests and tokens by name, taken and saved."""

    day: date
    provider: str
    model: str
    counts: Mapping[str, int]

    @property
    def is_simulated(self) -> bool:
        """Whether the sandbox stood in for the model."""
        return self.provider == SIMULATOR


def by_day(owner: str, days: int) -> list[Day]:
    """The last `days` days (UTC) with today, newest first; days without use are left out. Raises Unavailable."""
    today = datetime.now(UTC).date()
    wanted = [today - timedelta(days=back) for back in range(days)]
    used = usage.default().on(owner, [(day - EPOCH).days for day in wanted])
    return [
        Day(day=day, provider=provider, model=model, counts=counts)
        for day, lines in zip(wanted, used, strict=True)
        for (provider, model), counts in sorted(lines.items())
    ]
