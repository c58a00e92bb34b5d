"""What a client may ask of the list of its jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import Schema, fields, post_load, validate

from tasks.domain.job import Status
from tasks.schemas.fields import Text


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Which page of which jobs; None is any."""

    limit: int
    status: Status | None = None
    model: str | None = None
    after: str | None = None


class ListingSchema(Schema):
    """Which jobs, and how many at once."""

    status = fields.Enum(Status, by_value=Text, metadata={"description": "Only jobs in this state."})
    model = Text(validate=validate.Length(1, 200), metadata={"description": "Only this model's."})
    limit = fields.Integer(load_default=20, validate=validate.Range(1, 100))
    after = Text(
        validate=validate.Length(1, 100),
        metadata={"description": "Start behind this job. One that is gone is refused (404)."},
    )

    @post_load
    def build(self, loaded: dict[str, Any], **_: Any) -> Listing:
        """The question as a value."""
        return Listing(**loaded)
