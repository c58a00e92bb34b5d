"""A text that a regular expression matches: what a schema's `pattern` asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from re import _constants as codes
from re import _parser as parser
from typing import Any

from tasks.providers.sandbox.budget import Budget, Unsatisfiable

#: A character of each class.
CATEGORIES = {
    codes.CATEGORY_DIGIT: "0",
    codes.CATEGORY_WORD: "a",
    codes.CATEGORY_SPACE: " ",
    codes.CATEGORY_NOT_DIGIT: "a",
    codes.CATEGORY_NOT_WORD: " ",
    codes.CATEGORY_NOT_SPACE: "a",
}
#: Tried, in this order, where all but some characters will do.
PLAIN = "a0 A_-.~"


def text_of(pattern: str, budget: Budget) -> str:
    """The plainest text that the pattern matches, within `budget`, which no library keeps to. Read by Python's own
    parser, whose tree is not documented but has kept its form for two decades. Raises Unsatisfiable for a pattern that
    is broken, or that looks ahead, behind, or back at what was matched before."""
    try:
        tree = parser.parse(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise Unsatisfiable(f"the pattern {pattern!r} cannot be read") from error
    return _of_all(tree, budget)


def _of_all(tree: Iterable[Any], budget: Budget) -> str:
    return "".join(_of(code, value, budget) for code, value in tree)


def _of(code: Any, value: Any, budget: Budget) -> str:
    budget.spend()
    if code is codes.LITERAL:
        return chr(value)
    if code is codes.NOT_LITERAL:
        return next(one for one in PLAIN if one != chr(value))
    if code is codes.ANY:
        return "a"
    if code is codes.AT:
        return ""
    if code is codes.IN:
        return _one_of(value)
    if code is codes.BRANCH:
        return _of_all(value[1][0], budget)
    if code is codes.SUBPATTERN:
        return _of_all(value[-1], budget)
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
        least, _, repeated = value
        budget.spend(least)
        return "".join(_of_all(repeated, budget) for _ in range(least))
    raise Unsatisfiable("a pattern that looks ahead or behind is not simulated")


def _one_of(members: list[tuple[Any, Any]]) -> str:
    if members[0][0] is codes.NEGATE:
        found = (one for one in PLAIN if not any(_is_in(one, member) for member in members[1:]))
        if (plain := next(found, None)) is None:
            raise Unsatisfiable("a pattern that leaves no plain character is not simulated")
        return plain
    code, value = members[0]
    if code is codes.CATEGORY:
        return CATEGORIES[value]
    return chr(value[0] if code is codes.RANGE else value)


def _is_in(one: str, member: tuple[Any, Any]) -> bool:
    code, value = member
    if code is codes.LITERAL:
        return bool(ord(one) == value)
    if code is codes.RANGE:
        return bool(value[0] <= ord(one) <= value[1])
    return {
        codes.CATEGORY_DIGIT: one.isdigit(),
        codes.CATEGORY_WORD: one.isalnum() or one == "_",
        codes.CATEGORY_SPACE: one.isspace(),
        codes.CATEGORY_NOT_DIGIT: not one.isdigit(),
        codes.CATEGORY_NOT_WORD: not (one.isalnum() or one == "_"),
        codes.CATEGORY_NOT_SPACE: not one.isspace(),
    }.get(value, True)
