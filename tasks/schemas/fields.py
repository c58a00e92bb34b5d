"""Fields stricter than marshmallow's own: no numbers in strings, no bools as numbers, no text that JSON chokes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, validate

#: For the documentation; `is_clean` judges.
NO_NUL = r"^[^\u0000]*$"


def is_clean(value: object) -> bool:
    """Whether `value` is text that every store and every model can take: no NUL, no lone surrogates."""
    if type(value) is not str:
        return False
    return "\0" not in value if value.isascii() else _encodes(value)


def _encodes(value: str) -> bool:
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


class Text(fields.String):
    """A string without NUL and lone surrogates."""

    default_error_messages = {"unclean": "Must not contain NUL characters or lone surrogates."}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(metadata={"pattern": NO_NUL} | kwargs.pop("metadata", {}), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if not is_clean(text):
            raise self.make_error("unclean")
        return text


class Whole(fields.Integer):
    """An integer, not a string that looks like one. 5.0 is 5, as in JSON Schema."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        if type(value) is not int and not (type(value) is float and value.is_integer()):
            raise self.make_error("invalid")
        return int(super()._deserialize(int(value), attr, data, **kwargs))


class Real(fields.Float):
    """A finite number, not a string that looks like one."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> float:
        if type(value) not in (int, float):
            raise self.make_error("invalid")
        return float(super()._deserialize(value, attr, data, **kwargs))


class Pairs(fields.Dict):
    """A small object of strings."""

    def __init__(self, *, most: int, longest_key: int, longest_value: int, **kwargs: Any) -> None:
        self._name = Text(validate=validate.Length(1, longest_key))
        self._text = Text(validate=validate.Length(0, longest_value))
        self._most = most
        limits: dict[str, Any] = {"maxProperties": most}
        super().__init__(keys=self._name, values=self._text, metadata=limits | kwargs.pop("metadata", {}), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if not isinstance(value, dict):
            raise self.make_error("invalid")
        if len(value) > self._most:
            raise ValidationError(f"At most {self._most} pairs.")
        return {self._checked(self._name, name, name): self._checked(self._text, name, value[name]) for name in value}

    @staticmethod
    def _checked(field: Text, name: str, value: Any) -> str:
        try:
            return str(field.deserialize(value))
        except ValidationError as error:
            raise ValidationError({name[:100]: error.messages}) from error


class OneOrMore(fields.Field[tuple[str, ...]]):
    """A string or a short list of strings; always a tuple afterwards."""

    def __init__(self, *, least: int = 0, most: int, longest: int, **kwargs: Any) -> None:
        self._text = Text(validate=validate.Length(1, longest))
        self._least, self._most = least, most
        text = {"type": "string", "minLength": 1, "maxLength": longest, "pattern": NO_NUL}
        shape = {"oneOf": [text, {"type": "array", "items": text, "minItems": least, "maxItems": most}]}
        super().__init__(metadata=shape | kwargs.pop("metadata", {}), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if not isinstance(value, list):
            return (self._text.deserialize(value),)
        if not self._least <= len(value) <= self._most:
            raise ValidationError(f"Between {self._least} and {self._most} strings.")
        return tuple(self._at(place, one) for place, one in enumerate(value))

    def _at(self, place: int, value: Any) -> str:
        try:
            return str(self._text.deserialize(value))
        except ValidationError as error:
            raise ValidationError({place: error.messages}) from error
