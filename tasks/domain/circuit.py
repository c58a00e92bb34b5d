"""A provider's model that failed so often in a row that it is not asked for now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class CircuitState(StrEnum):
    """Nobody asks, or one call at a time tries."""

    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, kw_only=True)
class Circuit:
    """A circuit that is not closed. `until` is when somebody may try; `opens` is how often in a row it has opened.

    `waiting` is how many jobs wait for it.
    """

    provider: str
    model: str
    state: CircuitState
    opened_at: datetime | None
    until: datetime | None
    opens: int
    waiting: int
