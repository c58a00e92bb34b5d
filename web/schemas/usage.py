"""What an owner has used."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from tasks.usage import LONGEST_DAYS, Day

COUNTS = ("requests", "prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens",
          "cached_requests", "saved_tokens")  # fmt: skip


class DaysSchema(Schema):
    """How far back."""

    days = fields.Integer(
        load_default=30, validate=validate.Range(1, LONGEST_DAYS), metadata={"description": "With today, in UTC."}
    )


class UsageDaySchema(Schema):
    """One day's use of one model at one provider: jobs that took tokens, and the tokens.

    `cached_requests` were given another job's answer, which saved so many tokens."""

    day = fields.Date(required=True)
    provider = fields.String(required=True)
    model = fields.String(required=True)
    simulated = fields.Boolean(required=True, metadata={"description": "Whether the sandbox stood in for the model."})
    requests = fields.Integer(required=True)
    prompt_tokens = fields.Integer(required=True)
    completion_tokens = fields.Integer(required=True)
    total_tokens = fields.Integer(required=True)
    cached_tokens = fields.Integer(required=True)
    reasoning_tokens = fields.Integer(required=True)
    cached_requests = fields.Integer(required=True)
    saved_tokens = fields.Integer(required=True)

    def dump(self, obj: Day, *, many: bool | None = None) -> Any:
        """The day as JSON values."""
        head = {"day": obj.day.isoformat(), "provider": obj.provider, "model": obj.model}
        return {**head, "simulated": obj.is_simulated} | {name: obj.counts.get(name, 0) for name in COUNTS}


class UsageListSchema(Schema):
    """Days with use, newest first."""

    object = fields.String(required=True, metadata={"const": "list"})
    data = fields.List(fields.Nested(UsageDaySchema), required=True)

    def dump(self, obj: list[Day], *, many: bool | None = None) -> Any:
        """The list as JSON values."""
        day = UsageDaySchema()
        return {"object": "list", "data": [day.dump(one) for one in obj]}
