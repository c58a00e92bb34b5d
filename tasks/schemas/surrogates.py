"""Lone surrogates: halves of characters, which JSON can say and UTF-8 cannot, so nothing can keep or send them.

NUL is another matter: a text has none (fields.Text), but what is kept and sent as JSON, such as a tool's schema, may.
"""

from __future__ import annotations

import re
from typing import Any

from tasks.domain.errors import InvalidRequest

WHY = "Must not contain lone surrogates."
#: The only way in which JSON in UTF-8 can say one.
ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")
#: Of a name that a client made up.
LONGEST_SHOWN = 100


def refuse(value: Any, text: str, *, field: str = "") -> None:
    """Raise InvalidRequest, which names the part, if there is one anywhere in `value`, which was read from `text`."""
    if ESCAPED.search(text) and (path := _find(value)) is not None:
        place = ".".join(filter(None, (field, *path)))
        raise InvalidRequest(WHY, field=place or None)


def shown(name: str) -> str:
    """A client's own name as it can be told of."""
    return name[:LONGEST_SHOWN].encode("utf-8", "backslashreplace").decode()


def _find(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, str):
        return () if _has_one(value) else None
    if isinstance(value, dict):
        if (name := next(filter(_has_one, value), None)) is not None:
            return (shown(name),)
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = [(str(place), one) for place, one in enumerate(value)]
    else:
        return None
    for name, one in pairs:
        if (rest := _find(one)) is not None:
            return (shown(name), *rest)
    return None


def _has_one(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
