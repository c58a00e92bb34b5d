"""Times as the API writes them."""

from __future__ import annotations

from datetime import UTC, datetime

TIMES = {"format": "date-time", "description": "RFC 3339, UTC, milliseconds."}


def rfc3339(when: datetime | None) -> str | None:
    """A time as the API writes it: 2026-02-02T10:30:00.000Z."""
    return None if when is None else when.astimezone(UTC).isoformat(timespec="milliseconds")[:23] + "Z"
