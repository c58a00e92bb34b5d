"""A request's id: in its answer's header, in a problem document, and in the log."""

from __future__ import annotations

import secrets

HEADER = "X-Request-ID"


def made() -> str:
    """A new one."""
    return f"req_{secrets.token_hex(12)}"
