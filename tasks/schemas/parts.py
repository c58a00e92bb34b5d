"""The parts of a message whose content is a list: texts and images, in the order in which they are meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from tasks.domain.request import Image, Part
from tasks.domain.request import Text as TextPart
from tasks.schemas.fields import NO_NUL, Text

MOST = 256
URL = r"^([dD][aA][tT][aA]:|[hH][tT][tT][pP][sS]?://)[^\u0000]*$"
DETAILS = ("auto", "low", "high")


class TextPartSchema(Schema):
    """A passage of text."""

    type = fields.String(required=True, validate=validate.Equal("text"))
    text = Text(required=True, validate=validate.Length(1))


class ImageUrlSchema(Schema):
    """Where an image is: a data: URL (JPEG, PNG, WEBP), or an http(s) URL that the service fetches."""

    url = Text(
        required=True,
        validate=validate.Regexp(URL, error="Must be a data: or http(s) URL."),
        metadata={"pattern": URL},
    )
    detail = fields.String(validate=validate.OneOf(DETAILS))


class ImagePartSchema(Schema):
    """An image."""

    type = fields.String(required=True, validate=validate.Equal("image_url"))
    image_url = fields.Nested(ImageUrlSchema, required=True)


JUDGES: Mapping[str, Schema] = {"text": TextPartSchema(), "image_url": ImagePartSchema()}


class Content(fields.Field[str | tuple[Part, ...] | None]):
    """A text, or a list of parts."""

    def __init__(self, **kwargs: Any) -> None:
        self._text = Text()
        parts = {"oneOf": [{"$ref": "#/components/schemas/TextPart"}, {"$ref": "#/components/schemas/ImagePart"}]}
        listed = {"type": "array", "minItems": 1, "maxItems": MOST, "items": parts}
        text = {"type": "string", "pattern": NO_NUL}
        super().__init__(metadata={"oneOf": [text, listed, {"type": "null"}]}, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if not isinstance(value, list):
            return self._text.deserialize(value)
        if not 1 <= len(value) <= MOST:
            raise ValidationError(f"Between 1 and {MOST} parts.")
        return tuple(self._part(place, part) for place, part in enumerate(value))

    @staticmethod
    def _part(place: int, said: Any) -> Part:
        kind = said.get("type") if isinstance(said, dict) else None
        try:
            if not isinstance(kind, str) or kind not in JUDGES:
                raise ValidationError({"type": [f"Must be one of: {', '.join(JUDGES)}."]})
            loaded = JUDGES[kind].load(said)
        except ValidationError as error:
            raise ValidationError({place: error.messages}) from error
        return TextPart(text=loaded["text"]) if kind == "text" else Image(**loaded["image_url"])
