"""Strict JSON: what other parsers let pass half-understood is refused here."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from tasks.domain.errors import InvalidRequest


class NotJson(ValueError):
    """These bytes are no JSON value. The message is fit for a client."""


def loads(raw: bytes) -> Any:
    """One JSON value. Raises NotJson, and InvalidRequest for a key given twice or a number that JSON lacks."""
    try:
        return DECODER.decode(raw.decode())
    except UnicodeDecodeError as error:
        raise NotJson("not UTF-8") from error
    except json.JSONDecodeError as error:
        raise NotJson(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise NotJson("nested too deeply") from error
    except ValueError as error:  # an integer of thousands of digits
        raise NotJson("not readable: a number in it is too long") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise InvalidRequest(f"the key {twice[:100]!r} is given twice in one object", field=twice[:100])
    return found


def _constant(name: str) -> NoReturn:
    raise InvalidRequest(f"{name} is not a JSON number")


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
