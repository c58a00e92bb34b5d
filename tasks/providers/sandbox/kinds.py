"""The types of JSON Schema: which a schema lets a value be, and which of them comes to an end soonest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: What need not be there is left out below this depth, and what may end is ended.
GENEROUS_DEPTH = 3
#: By what a schema without a type is known.
HINTS = {
    "object": ("properties", "required", "additionalProperties", "patternProperties", "minProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
#: Those that end a structure, first where it is deep.
PLAINEST = ("null", "boolean", "integer", "number", "string", "array", "object")


def types(schema: Mapping[str, Any], depth: int) -> list[str]:
    """The types of which a value may be, in the order in which they are tried."""
    said = schema.get("type")
    if said is None:
        found = [kind for kind, names in HINTS.items() if any(name in schema for name in names)]
        return found or ["string"]
    kinds = [kind for kind in (said if isinstance(said, list) else [said]) if kind in PLAINEST]
    first = PLAINEST.index if depth >= GENEROUS_DEPTH else lambda kind: kind == "null"
    return sorted(kinds, key=first)


def has_type(value: Any, said: Any) -> bool:
    """Whether `value` is of a type, or of one of several; None is any."""
    if said is None:
        return True
    kinds = {
        "null": value is None, "boolean": isinstance(value, bool), "string": isinstance(value, str),
        "array": isinstance(value, list), "object": isinstance(value, dict),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "integer": isinstance(value, int | float) and not isinstance(value, bool) and value == int(value),
    }  # fmt: skip
    return any(kinds.get(kind, False) for kind in (said if isinstance(said, list) else [said]))


def weight(schema: Any) -> int:
    """How likely a schema is to go on and on."""
    if not isinstance(schema, dict):
        return 0
    if "$ref" in schema:
        return len(PLAINEST)
    kinds = types(schema, GENEROUS_DEPTH)
    return PLAINEST.index(kinds[0]) if kinds and "enum" not in schema and "const" not in schema else 0
