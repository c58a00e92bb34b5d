"""A provider that refuses our key, or its account: none of its jobs is asked for until it is good again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class KeyHold:
    """A provider is held. `reason` is what was refused: authentication_failed, payment_required or access_denied.

    `until` is when one call asks again; `waiting` is how many jobs wait.
    """

    provider: str
    reason: str
    since: datetime | None
    until: datetime | None
    waiting: int
