"""The turns of a conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from marshmallow import Schema, ValidationError, fields, validate

from tasks.domain.request import Message, Role
from web.errors import FIELDS_SHOWN
from web.schemas.fields import Text, is_clean

ROLES: tuple[Role, ...] = get_args(Role)
MOST = 10_000


class MessageSchema(Schema):
    """One turn."""

    role = Text(required=True, validate=validate.OneOf(ROLES))
    content = Text(required=True)


JUDGE = MessageSchema()


class Messages(fields.List[tuple[Message, ...]]):
    """One turn or more, as domain values."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(fields.Nested(MessageSchema), validate=validate.Length(1, MOST), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if not isinstance(value, list):
            raise self.make_error("invalid")
        if len(value) > MOST:
            raise ValidationError(f"At most {MOST} messages.")
        turns: list[Message] = []
        wrong: dict[int, Any] = {}
        for place, turn in enumerate(value):
            try:
                turns.append(_message(turn))
            except ValidationError as error:
                wrong[place] = error.messages
                if len(wrong) >= FIELDS_SHOWN:
                    break
        if wrong:
            raise ValidationError(wrong)
        return tuple(turns)


def _message(turn: Any) -> Message:
    # Most turns are right: seen at a glance they cost a twentieth of the schema, which judges all others.
    if type(turn) is dict and len(turn) == 2 and turn.get("role") in ROLES and is_clean(turn.get("content")):
        return Message(role=turn["role"], content=turn["content"])
    return Message(**JUDGE.load(turn))
