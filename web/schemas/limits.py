"""The limits of hosted providers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from marshmallow import Schema, fields

from tasks.domain.circuit import CircuitState
from web.schemas.times import TIMES, rfc3339


class Moment(fields.Field[datetime]):
    """A time as the API writes it, or null."""

    def __init__(self, **kwargs: Any) -> None:
        # "Moment" would be documented as anything at all.
        said = {**TIMES, "type": ["string", "null"]}
        super().__init__(metadata=said | kwargs.pop("metadata", {}), required=True, **kwargs)

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return rfc3339(value)


class NumbersSchema(Schema):
    """By what is counted; null where there is no limit."""

    requests = fields.Integer(required=True, allow_none=True)
    tokens = fields.Integer(required=True, allow_none=True)
    requests_per_day = fields.Integer(required=True, allow_none=True)
    concurrent = fields.Integer(required=True, allow_none=True)


class LearnedSchema(Schema):
    """What refusals have shown."""

    requests = fields.Integer(required=True)
    at = Moment()


class KeyRefusedSchema(Schema):
    """A provider refuses our key, or its account: its jobs wait, and one call asks again now and then."""

    reason = fields.String(
        required=True, metadata={"enum": ["authentication_failed", "payment_required", "access_denied"]}
    )
    since = Moment()
    until = Moment(metadata={"description": "When one call asks again"})
    waiting = fields.Integer(required=True, metadata={"description": "Jobs that wait for it"})


class LimitSchema(Schema):
    """A provider's key, or one model there."""

    provider = fields.String(required=True)
    model = fields.String(required=True, allow_none=True, metadata={"description": "null: all models of the key"})
    window_s = fields.Float(required=True, metadata={"description": "In which requests and tokens are counted"})
    configured = fields.Nested(NumbersSchema, required=True)
    guessed = fields.Boolean(
        required=True, metadata={"description": "Nobody published the limit: more is tried once it is used up"}
    )
    learned = fields.Nested(LearnedSchema, required=True, allow_none=True)
    used = fields.Nested(NumbersSchema, required=True)
    left = fields.Nested(NumbersSchema, required=True)
    held_until = Moment(metadata={"description": "The provider asked everybody to wait until then"})
    waiting = fields.Integer(required=True, metadata={"description": "Jobs that wait for this limit"})
    asked = fields.Integer(required=True, metadata={"description": "Calls since the beginning"})
    refused = fields.Integer(required=True, metadata={"description": "Of them refused with 429"})
    key_refused = fields.Nested(
        KeyRefusedSchema, required=True, allow_none=True, metadata={"description": "null while the key is good"}
    )
    reported = fields.Dict(
        required=True, allow_none=True, metadata={"description": "What the provider says of its key, if it does"}
    )


class CircuitSchema(Schema):
    """A provider's model that failed so often in a row that nobody asks, or one call at a time."""

    provider = fields.String(required=True)
    model = fields.String(required=True, metadata={"description": "The provider's id"})
    state = fields.Enum(
        CircuitState,
        by_value=fields.String,
        required=True,
        metadata={"description": "half_open: one call at a time tries"},
    )
    opened_at = Moment()
    until = Moment(metadata={"description": "Nobody asks before that"})
    opens = fields.Integer(required=True, metadata={"description": "In a row: each is longer than the one before"})
    waiting = fields.Integer(required=True, metadata={"description": "Jobs that wait for it"})


class LimitsSchema(Schema):
    """The limits of all providers."""

    object = fields.Constant("list")
    data = fields.List(fields.Nested(LimitSchema), required=True)
    circuits = fields.List(
        fields.Nested(CircuitSchema), required=True, metadata={"description": "Those that are not closed"}
    )
