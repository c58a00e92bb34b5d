"""Two JSON Schemas in one: what satisfies it satisfies both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tasks.providers.sandbox.budget import Budget

#: Bounds of which the higher, or the lower, counts.
HIGHER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
LOWER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
#: What holds another schema.
NESTED = ("items", "additionalProperties", "contains")


def merged(one: Mapping[str, Any], other: Mapping[str, Any], budget: Budget) -> Mapping[str, Any]:
    """What both ask for. Raises TooLarge."""
    budget.spend(len(one) + len(other))
    both = {**one, **other}
    for name in one.keys() & other.keys():
        both[name] = _both(name, one[name], other[name], budget)
    return both


def _both(name: str, a: Any, b: Any, budget: Budget) -> Any:
    if a == b:
        return a
    if name in HIGHER:
        return max(a, b)
    if name in LOWER:
        return min(a, b)
    if name == "required":
        return list(dict.fromkeys([*a, *b]))
    if name == "properties":
        return {**a, **b, **{key: {"allOf": [a[key], b[key]]} for key in a.keys() & b.keys()}}
    if name == "enum":
        there = {json.dumps(value, sort_keys=True) for value in b}
        return [value for value in a if json.dumps(value, sort_keys=True) in there]
    if name == "type":
        return _types(a, b)
    if name in NESTED:
        return False if a is False or b is False else {"allOf": [a, b]}
    if name in ("anyOf", "oneOf"):
        budget.spend(len(a) * len(b))
        return [{"allOf": [x, y]} for x in a for y in b]
    return b


def _types(one: Any, other: Any) -> list[str]:
    a, b = (said if isinstance(said, list) else [said] for said in (one, other))
    wide = {kind for said in (a, b) if "number" in said for kind in ("integer",)}
    return list(dict.fromkeys([*(kind for kind in a if kind in b), *(kind for kind in (*a, *b) if kind in wide)]))
