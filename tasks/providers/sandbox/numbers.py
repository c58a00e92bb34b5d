"""A number within the bounds of a JSON Schema. `nth` tells numbers apart that must not be the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from tasks.providers.sandbox.budget import Unsatisfiable

ZERO = Fraction(0)


def integer(schema: Mapping[str, Any], nth: int) -> int:
    """A whole one. Raises Unsatisfiable."""
    # The smallest whole number that is a multiple of the step.
    step = _exact(schema.get("multipleOf", 1)).numerator
    return int(number({**schema, "multipleOf": step}, nth))


def number(schema: Mapping[str, Any], nth: int) -> int | float:
    """Zero where that may be, else the next to it. Raises Unsatisfiable."""
    lowest, is_open_below = _bound(schema, "minimum", "exclusiveMinimum", max)
    highest, is_open_above = _bound(schema, "maximum", "exclusiveMaximum", min)

    def fits(found: Fraction) -> bool:
        above = lowest is None or found > lowest or (found == lowest and not is_open_below)
        return above and (highest is None or found < highest or (found == highest and not is_open_above))

    step = _step(schema, lowest, highest, nth)
    start = max(lowest, ZERO) if lowest is not None else ZERO
    if highest is not None and start > highest:
        start = lowest if lowest is not None else highest
    if "multipleOf" in schema:
        start = (
            Fraction(math.ceil(start / step) if lowest is not None and start == lowest else math.floor(start / step))
            * step
        )
    # Upwards from where it starts, and downwards where nothing is above.
    tried = [start + n * step for n in (nth, nth + 1)] + [start - n * step for n in (nth, nth + 1)] + [start]
    found = next(filter(fits, tried), None)
    if found is None:
        raise Unsatisfiable("no number is within the bounds")
    return int(found) if found.denominator == 1 else float(found)


def _step(schema: Mapping[str, Any], lowest: Fraction | None, highest: Fraction | None, nth: int) -> Fraction:
    if "multipleOf" in schema:
        return _exact(schema["multipleOf"])
    room = None if lowest is None or highest is None else highest - lowest
    return Fraction(1) if room is None or room > nth + 2 or room <= 0 else room / (nth + 3)


def _bound(
    schema: Mapping[str, Any], closed: str, opened: str, stricter: Callable[[Fraction, Fraction], Fraction]
) -> tuple[Fraction | None, bool]:
    """A bound, and whether it is no value itself. `exclusiveMinimum: true` is how an older draft says so."""
    one, other = schema.get(closed), schema.get(opened)
    if other is None or isinstance(other, bool):
        return (None if one is None else _exact(one)), bool(other)
    strict = _exact(other)
    found = strict if one is None else stricter(_exact(one), strict)
    return found, found == strict


def _exact(said: Any) -> Fraction:
    """0.1 is a tenth here."""
    return Fraction(str(said))
