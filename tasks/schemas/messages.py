"""The turns of a conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from tasks.domain.request import Image, Message, Role
from tasks.schemas.errors import FIELDS_SHOWN
from tasks.schemas.fields import Text, is_clean
from tasks.schemas.parts import Content
from tasks.schemas.tools import ToolCallSchema

ROLES: tuple[Role, ...] = get_args(Role)
PLAIN = tuple(role for role in ROLES if role != "tool")
MOST, MOST_CALLS = 10_000, 128


class MessageSchema(Schema):
    """One turn. An assistant's may call tools, and then need no content; a tool's names the call that it answers."""

    role = Text(required=True, validate=validate.OneOf(ROLES))
    content = Content(load_default=None, allow_none=True)
    tool_calls = fields.List(fields.Nested(ToolCallSchema), validate=validate.Length(1, MOST_CALLS))
    tool_call_id = Text(validate=validate.Length(1, 256))

    @validates_schema(skip_on_field_errors=True)
    def agrees(self, data: Mapping[str, Any], **_: Any) -> None:
        """What belongs to one role stands in no other's turn; who calls nothing says something."""
        role, calls = data["role"], "tool_calls" in data
        if calls and role != "assistant":
            raise ValidationError("Only an assistant calls tools.", "tool_calls")
        if (role == "tool") != ("tool_call_id" in data):
            raise ValidationError("Names the call that a tool's turn answers; no other turn has it.", "tool_call_id")
        if data["content"] is None and not calls:
            raise ValidationError("Missing data for required field.", "content")
        if (
            role != "user"
            and isinstance(data["content"], tuple)
            and any(isinstance(part, Image) for part in data["content"])
        ):
            raise ValidationError("Only a user's turn has images.", "content")


TEXT = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#/components/schemas/TextPart"}}]}
#: What `agrees` checks, for the documentation.
SHAPE = {
    "oneOf": [
        {
            "properties": {
                "role": {"enum": ["user"]},
                "content": {"type": ["string", "array"]},
                "tool_calls": False,
                "tool_call_id": False,
            },
            "required": ["content"],
        },
        {
            "properties": {"role": {"enum": ["system"]}, "content": TEXT, "tool_calls": False, "tool_call_id": False},
            "required": ["content"],
        },
        {
            "properties": {"role": {"enum": ["assistant"]}, "tool_call_id": False},
            "anyOf": [
                {"required": ["tool_calls"], "properties": {"content": {"oneOf": [*TEXT["oneOf"], {"type": "null"}]}}},
                {"required": ["content"], "properties": {"content": TEXT}},
            ],
        },
        {
            "properties": {"role": {"enum": ["tool"]}, "content": TEXT, "tool_calls": False},
            "required": ["content", "tool_call_id"],
        },
    ]
}


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
    if type(turn) is dict and len(turn) == 2 and turn.get("role") in PLAIN and is_clean(turn.get("content")):
        return Message(role=turn["role"], content=turn["content"])
    loaded = JUDGE.load(turn)
    return Message(**loaded | {"tool_calls": tuple(loaded.get("tool_calls", ()))})
