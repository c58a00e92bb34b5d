"""Strict JSON: what other parsers let pass half-understood is refused here."""

from __future__ import annotations

import codecs
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any, NoReturn

from tasks.domain.errors import InvalidRequest
from tasks.schemas import surrogates

#: Objects and lists in one another. Nothing that is asked for needs more, and what goes through all of them, here or at
#: a provider, does it by recursion.
DEEPEST = 64
#: How editors and exports mark UTF-8 and UTF-16. No JSON begins so.
BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


TOO_DEEP = f"it holds objects and lists more than {DEEPEST} deep in one another"


class NotJson(ValueError):
    """These bytes are no JSON value. The message is fit for a client."""


def loads(raw: bytes) -> Any:
    """One JSON value. Raises NotJson, and InvalidRequest for a key given twice, a number that JSON lacks or values in
    one another more than DEEPEST deep."""
    if raw.startswith(BOMS):
        raise NotJson("not JSON: it begins with a byte order mark; send UTF-8 without one")
    try:
        value = DECODER.decode(raw.decode())
    except UnicodeDecodeError as error:
        raise NotJson("not UTF-8") from error
    except json.JSONDecodeError as error:
        # Of a batch each line is read by itself: "line 1" would be another one than the client's.
        line = f"line {error.lineno}, " if b"\n" in raw else ""
        raise NotJson(f"not JSON: {error.msg} at {line}column {error.colno}") from error
    except RecursionError as error:
        raise InvalidRequest(TOO_DEEP) from error
    except ValueError as error:  # an integer of thousands of digits
        raise NotJson("not readable: a number in it is too long") from error
    if raw.count(b"[") + raw.count(b"{") > DEEPEST:
        _check_depth(value)
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [one for held in level for one in _within(held) if isinstance(one, dict | list)]
        if not level:
            return
    raise InvalidRequest(TOO_DEEP)


def _within(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise InvalidRequest(f"the key {twice[:100]!r} is given twice in one object", field=surrogates.shown(twice))
    return found


def _constant(name: str) -> NoReturn:
    raise InvalidRequest(f"{name} is not a JSON number")


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
