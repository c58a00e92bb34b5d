"""What somebody else sent, made storable where it enters: JSON for every strict reader, text that UTF-8 can say."""

from __future__ import annotations

import json
import math
import re
from typing import Any

#: In place of what is no character: half a surrogate pair, a byte that is no UTF-8, and NUL, which databases refuse.
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
NO_TEXT = re.compile("[\0\ud800-\udfff]")
#: Deeper than any answer nests, and far from where a reader of ours, or of a client's, gives up.
DEEPEST = 64
#: What has to be looked for value by value, if it is in the text; most have none of it. Escapes of halves and of NUL,
#: numbers that JSON lacks, and those that may be larger than any float.
SUSPICIOUS = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)|\x00|NaN|Infinity|[0-9][eE]\+?[0-9]{3}|(?<![0-9])[0-9]{300}")
#: Not strict: a line break inside a string is a slip that harms nobody, and is escaped when it is written again.
DECODER = json.JSONDecoder(strict=False)


class Excessive(ValueError):
    """JSON that is nested too deeply, or has a number of thousands of digits."""


def loads(body: bytes) -> Any:
    """The JSON value in a body, with null for NaN and infinities, and REPLACEMENT for what is no text.

    Raises Excessive, and ValueError for what is no JSON.
    """
    text = body.decode(json.detect_encoding(body), "replace")
    value = _decoded(text)
    return storable(value) if SUSPICIOUS.search(text) else value


def storable(value: Any, *, depth: int = DEEPEST) -> Any:
    """A JSON value with the same replaced anywhere in it. Raises Excessive."""
    if isinstance(value, str):
        return NO_TEXT.sub(REPLACEMENT, value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if not isinstance(value, dict | list):
        return value
    if depth == 0:
        raise Excessive(f"nested deeper than {DEEPEST}")
    if isinstance(value, list):
        return [storable(one, depth=depth - 1) for one in value]
    return {storable(name): storable(one, depth=depth - 1) for name, one in value.items()}


def arguments(text: str) -> str:
    """The arguments of a tool call, a JSON text of the model's. Where strict readers would not take it, the same with
    the same replaced in it; what no reader takes stays as it is."""
    if not SUSPICIOUS.search(text):
        return text
    try:
        said = _decoded(text)
        kept = storable(said)
    except ValueError:
        return text
    # NaN is like nothing, itself included.
    return text if kept == said else json.dumps(kept, ensure_ascii=False)


def _decoded(text: str) -> Any:
    try:
        return DECODER.decode(text)
    except RecursionError as error:
        raise Excessive("nested too deeply") from error
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # an integer of thousands of digits
        raise Excessive("a number in it is too long") from error
