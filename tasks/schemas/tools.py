"""Tools that a model may call, and the form that its answer must have: judged here, and passed on as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from tasks.schemas.fields import Text, is_clean

#: OpenAI's rule for the names of functions and of schemas.
NAME = "^[a-zA-Z0-9_-]{1,64}$"
MOST_TOOLS, LONGEST_SCHEMA = 128, 65_536
CHOICES = ("none", "auto", "required")
FORMATS = ("text", "json_object", "json_schema")


class Name(Text):
    """The name of a function or a schema."""

    def __init__(self, **kwargs: Any) -> None:
        is_name = validate.Regexp(NAME.removesuffix("$") + r"\Z", error="Must be 1 to 64 of a-z, A-Z, 0-9, _ and -.")
        super().__init__(validate=is_name, metadata={"pattern": NAME}, **kwargs)


def _can_be_sent(value: Mapping[str, Any]) -> None:
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > LONGEST_SCHEMA:
        raise ValidationError(f"Must not be longer than {LONGEST_SCHEMA} characters.")
    if not is_clean(text):
        raise ValidationError("Must not contain lone surrogates.")


class FunctionSchema(Schema):
    """A function that a model may call; `parameters` is a JSON Schema."""

    name = Name(required=True)
    description = Text(validate=validate.Length(0, 4096))
    parameters = fields.Dict(keys=fields.String(), validate=_can_be_sent)
    strict = fields.Boolean(truthy={True}, falsy={False}, allow_none=True)


class ToolSchema(Schema):
    """A tool. Functions are the only kind."""

    type = fields.String(required=True, validate=validate.Equal("function"))
    function = fields.Nested(FunctionSchema, required=True)


class NamedFunctionSchema(Schema):
    """A function by its name."""

    name = Name(required=True)


class NamedToolSchema(Schema):
    """The one tool that must be called."""

    type = fields.String(required=True, validate=validate.Equal("function"))
    function = fields.Nested(NamedFunctionSchema, required=True)


class CalledFunctionSchema(Schema):
    """What was called; `arguments` is JSON in a string, as the model wrote it."""

    name = Name(required=True)
    arguments = Text(required=True)


class ToolCallSchema(Schema):
    """A call that an assistant made."""

    id = Text(required=True, validate=validate.Length(1, 256))
    type = fields.String(required=True, validate=validate.Equal("function"))
    function = fields.Nested(CalledFunctionSchema, required=True)


class AnswerSchemaSchema(Schema):
    """A JSON Schema that the answer must follow."""

    name = Name(required=True)
    description = Text(validate=validate.Length(0, 4096))
    schema = fields.Dict(keys=fields.String(), required=True, validate=_can_be_sent)
    strict = fields.Boolean(truthy={True}, falsy={False}, allow_none=True)


class ResponseFormatSchema(Schema):
    """Free text, any JSON object, or JSON by a schema."""

    type = fields.String(required=True, validate=validate.OneOf(FORMATS))
    json_schema = fields.Nested(AnswerSchemaSchema)

    @validates_schema(skip_on_field_errors=True)
    def agrees(self, data: Mapping[str, Any], **_: Any) -> None:
        """A schema is given exactly where it is meant to be followed."""
        if (data["type"] == "json_schema") != ("json_schema" in data):
            raise ValidationError("Give it with type json_schema, and only then.", "json_schema")


#: What `agrees` checks, for the documentation.
SHAPE = {
    "oneOf": [
        {"properties": {"type": {"enum": ["json_schema"]}}, "required": ["json_schema"]},
        {"properties": {"type": {"enum": ["text", "json_object"]}, "json_schema": False}},
    ]
}


class ToolChoice(fields.Field[str | Mapping[str, Any]]):
    """none, auto, required, or the one function to call."""

    def __init__(self, **kwargs: Any) -> None:
        named = {"$ref": "#/components/schemas/NamedTool"}
        super().__init__(metadata={"oneOf": [{"type": "string", "enum": list(CHOICES)}, named]}, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if isinstance(value, dict):
            return NamedToolSchema().load(value)
        if value not in CHOICES:
            raise ValidationError(f"Must be one of: {', '.join(CHOICES)}, or a function.")
        return value
