"""Text that not every store and every model can take: NUL and lone surrogates, wherever in a JSON value they are."""

from __future__ import annotations

import re
from typing import Any

from tasks.domain.errors import InvalidRequest
from tasks.schemas.fields import is_clean

WHY = "Must not contain NUL characters or lone surrogates."
#: The only ways in which JSON can say such a character: raw, NUL is not allowed in it, and a surrogate is no UTF-8.
ESCAPED = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
#: Of a name that a client made up.
LONGEST_SHOWN = 100


def refuse(value: Any, text: str, *, field: str = "") -> None:
    """Raise InvalidRequest, which names the part, if there is such text in `value`, which was read from `text`."""
    if ESCAPED.search(text) and (path := _find(value)) is not None:
        place = ".".join(filter(None, (field, *path)))
        raise InvalidRequest(WHY, field=place or None)


def shown(name: str) -> str:
    """A client's own name as it can be told of."""
    return name[:LONGEST_SHOWN].replace("\0", r"\u0000").encode("utf-8", "backslashreplace").decode()


def _find(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, str):
        return None if is_clean(value) else ()
    if isinstance(value, dict):
        if (name := next((name for name in value if not is_clean(name)), None)) is not None:
            return (shown(name),)
        pairs = [(shown(name), one) for name, one in value.items()]
    elif isinstance(value, list):
        pairs = [(str(place), one) for place, one in enumerate(value)]
    else:
        return None
    for name, one in pairs:
        if (rest := _find(one)) is not None:
            return (name, *rest)
    return None
