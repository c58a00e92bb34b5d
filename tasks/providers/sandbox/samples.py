"""A value that satisfies a JSON Schema, the same for the same schema: what structured answers are made of."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tasks.providers.sandbox import numbers
from tasks.providers.sandbox.budget import Budget, TooLarge, Unsatisfiable
from tasks.providers.sandbox.kinds import GENEROUS_DEPTH, has_type, types, weight
from tasks.providers.sandbox.merging import merged
from tasks.providers.sandbox.patterns import text_of

#: Deeper than this nothing is made.
MOST_DEPTH = 48
WORD = "simulated"
FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "PT1S",
    "email": "simulated@example.com",
    "idn-email": "simulated@example.com",
    "hostname": "example.com",
    "idn-hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/simulated",
    "uri-reference": "/simulated",
    "iri": "https://example.com/simulated",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "json-pointer": "/simulated",
    "regex": "simulated",
}
#: Words that no sample is made for: whether one satisfies them is not looked at.
NOT_SIMULATED = ("not", "dependentRequired", "dependentSchemas", "dependencies")


def sample(schema: Any) -> Any:
    """A value that satisfies `schema`, of bounded size. Raises Unsatisfiable and TooLarge.

    Judged are types, enums and constants, bounds, lengths, formats, patterns, properties and items, references within
    the schema, and allOf, anyOf and oneOf. With `not`, `if` or what depends on another property nothing is made.
    """
    try:
        return _Sampler(schema).value(schema, 0, 0)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        # Whatever stands where a schema's word should have another kind of value.
        raise Unsatisfiable("the schema is none that can be read") from error


class _Sampler:
    """Makes values of one document's schemas. `nth` tells values apart that must not be the same."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._budget = Budget()
        self._makers: dict[str, Callable[[Mapping[str, Any], int, int], Any]] = {
            "object": self._object, "array": self._array, "string": self._string,
            "number": lambda schema, _depth, nth: numbers.number(schema, nth),
            "integer": lambda schema, _depth, nth: numbers.integer(schema, nth),
            "boolean": lambda _schema, _depth, nth: nth % 2 == 0,
            "null": lambda _schema, _depth, _nth: None,
        }  # fmt: skip

    def value(self, schema: Any, depth: int, nth: int) -> Any:
        self._budget.spend()
        if depth > MOST_DEPTH:
            raise TooLarge("the schema is deeper than is simulated")
        why: Unsatisfiable | None = None
        for plain in self._alternatives(schema, depth):
            try:
                return self._plain(plain, depth, nth)
            except Unsatisfiable as error:
                why = why or error
        raise why or Unsatisfiable("nothing satisfies the schema")

    def _plain(self, schema: Mapping[str, Any], depth: int, nth: int) -> Any:
        if "const" in schema:
            if not has_type(schema["const"], schema.get("type")):
                raise Unsatisfiable("a const of another type")
            return schema["const"]
        if "enum" in schema:
            self._budget.spend(len(schema["enum"]))
            fitting = [one for one in schema["enum"] if has_type(one, schema.get("type"))]
            if not fitting:
                raise Unsatisfiable("an enum without a value of its type")
            return fitting[nth % len(fitting)]
        why: Unsatisfiable | None = None
        for kind in types(schema, depth):
            try:
                return self._makers[kind](schema, depth, nth)
            except Unsatisfiable as error:
                why = why or error
        raise why or Unsatisfiable("no type of the schema can be made")

    def _alternatives(self, schema: Any, depth: int) -> Iterator[Mapping[str, Any]]:
        """The schemas without references and choices, of which any one is to be satisfied.

        Raises Unsatisfiable after the last, for the first choice that cannot be one of them.
        """
        self._budget.spend()
        flat = self._flat(schema, 0)
        for word in ("anyOf", "oneOf"):
            if isinstance(choices := flat.get(word), list):
                why: Unsatisfiable | None = None if choices else Unsatisfiable("a choice without alternatives")
                rest = {name: value for name, value in flat.items() if name != word}
                for choice in sorted(choices, key=weight) if depth >= GENEROUS_DEPTH else choices:
                    try:
                        yield from self._alternatives(merged(rest, self._flat(choice, 0), self._budget), depth)
                    except Unsatisfiable as error:
                        why = why or error
                if why:
                    raise why
                return
        yield flat

    def _flat(self, schema: Any, hops: int) -> Mapping[str, Any]:
        """The schema with what it refers to, and all of `allOf`, in one."""
        self._budget.spend()
        if schema is True or schema is None:
            return {}
        if not isinstance(schema, dict):
            raise Unsatisfiable("a schema that nothing satisfies")
        self._budget.spend(len(schema))
        if (word := _not_simulated(schema)) is not None:
            raise Unsatisfiable(f"a schema with {word!r} is not simulated")
        if hops > MOST_DEPTH:
            raise Unsatisfiable("a reference that leads to itself")
        flat: Mapping[str, Any] = {name: value for name, value in schema.items() if name not in ("$ref", "allOf")}
        if (ref := schema.get("$ref")) is not None:
            flat = merged(self._flat(self._found(ref), hops + 1), flat, self._budget)
        for part in schema.get("allOf") or ():
            flat = merged(flat, self._flat(part, hops + 1), self._budget)
        return flat

    def _found(self, ref: Any) -> Any:
        here = self._root
        if not isinstance(ref, str) or not ref.startswith("#"):
            raise Unsatisfiable("a reference to another document")
        for name in ref.removeprefix("#").split("/")[1:]:
            key = name.replace("~1", "/").replace("~0", "~")
            try:
                here = here[int(key)] if isinstance(here, list) else here[key]
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise Unsatisfiable(f"there is no {ref}") from error
        return here

    def _object(self, schema: Mapping[str, Any], depth: int, nth: int) -> dict[str, Any]:
        named: Mapping[str, Any] = schema.get("properties") or {}
        required = dict.fromkeys(schema.get("required") or ())
        most = schema.get("maxProperties", math.inf)
        made: dict[str, Any] = {}
        for name in [*required, *(name for name in named if name not in required)]:
            if name not in required and (depth >= GENEROUS_DEPTH or len(made) >= most):
                continue
            try:
                made[name] = self.value(self._property(name, schema), depth + 1, nth)
            except Unsatisfiable:
                if name in required:
                    raise
        for number in range(max(0, int(schema.get("minProperties", 0)) - len(made))):
            made[f"{WORD}_{number}"] = self.value(self._property(f"{WORD}_{number}", schema), depth + 1, nth)
        if len(made) > most:
            raise Unsatisfiable("more properties are required than there may be")
        # In the order of the schema, as models write them.
        return {name: made[name] for name in [*(n for n in named if n in made), *(n for n in made if n not in named)]}

    def _property(self, name: str, schema: Mapping[str, Any]) -> Any:
        named = schema.get("properties") or {}
        return named[name] if name in named else schema.get("additionalProperties", True)

    def _array(self, schema: Mapping[str, Any], depth: int, nth: int) -> list[Any]:
        first: list[Any] = list(schema.get("prefixItems") or ())
        items = schema.get("items", True)
        if isinstance(items, list):  # as older drafts have it
            first, items = items, schema.get("additionalItems", True)
        least, most = int(schema.get("minItems", 0)), schema.get("maxItems", math.inf)
        number = max(least, min(most, max(1, len(first)) if depth < GENEROUS_DEPTH and items is not False else least))
        self._budget.spend(int(number))
        wanted = [*first, *(items for _ in range(int(number) - len(first)))][: int(number)]
        if "contains" in schema:
            wanted = [*wanted[:-1], {"allOf": [wanted[-1] if len(wanted) >= least > 0 else items, schema["contains"]]}]
        made = self._items(wanted, depth, nth, least)
        if schema.get("uniqueItems") and len({json.dumps(one, sort_keys=True) for one in made}) < len(made):
            raise Unsatisfiable("there are not enough different items")
        return made

    def _items(self, wanted: list[Any], depth: int, nth: int, least: int) -> list[Any]:
        made: list[Any] = []
        for place, one in enumerate(wanted):
            try:
                made.append(self.value(one, depth + 1, nth + place))
            except Unsatisfiable:
                if place < least:
                    raise
                break
        return made

    def _string(self, schema: Mapping[str, Any], depth: int, nth: int) -> str:
        least, most = int(schema.get("minLength", 0)), schema.get("maxLength", math.inf)
        self._budget.spend(least)
        if "pattern" in schema:
            text = text_of(schema["pattern"], self._budget)
        elif schema.get("format") in FORMATS:
            return FORMATS[schema["format"]]
        else:
            text = f"{WORD} {nth + 1}" if nth else WORD
            text = (text + " " * max(0, least - len(text)))[: int(min(most, len(text) + least))]
        if not least <= len(text) <= most:
            raise Unsatisfiable("a pattern and a length that do not go together")
        return text


def _not_simulated(schema: Mapping[str, Any]) -> str | None:
    """A word of the schema that no sample is made for."""
    if "if" in schema and ("then" in schema or "else" in schema):
        return "if"
    return next((word for word in NOT_SIMULATED if word in schema), None)
