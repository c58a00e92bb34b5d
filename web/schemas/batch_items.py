"""The items of a batch, as a client asks for them and sees them; and pages of batches and items."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from tasks.domain.batch import BatchStatus
from tasks.domain.job import Job, Status
from tasks.schemas.fields import Text
from web.schemas.batch import BatchSchema, shown
from web.schemas.job import JobSchema
from web.schemas.job_shown import shown as job_shown
from web.schemas.page import PageSchema

#: An item: by its id, or by its line.
BEHIND = "^(job_[0-9a-f]{32}-)?[0-9]{1,9}$"


class BatchesSchema(Schema):
    """Which batches, and how many at once."""

    status = fields.Enum(BatchStatus, by_value=Text, load_default=None)
    limit = fields.Integer(load_default=20, validate=validate.Range(1, 100))
    after = Text(load_default=None, validate=validate.Length(1, 100), metadata={"description": "Start behind it."})


class BatchListSchema(PageSchema):
    """A page of batches, newest first."""

    data = fields.List(fields.Nested(BatchSchema), required=True)

    def shown(self, one: Any) -> dict[str, Any]:
        """See `batch.shown`."""
        return shown(one)


class ItemsSchema(Schema):
    """Which items, and how many at once."""

    status = fields.Enum(Status, by_value=Text, load_default=None)
    limit = fields.Integer(load_default=20, validate=validate.Range(1, 100))
    after = Text(
        load_default="0",
        validate=validate.Regexp(BEHIND),
        metadata={"description": "Start behind this item: its id, or its line.", "pattern": BEHIND},
    )


class ItemSchema(JobSchema):
    """A job that is an item of a batch."""

    custom_id = fields.String(required=True)
    line = fields.Integer(required=True)


class ItemListSchema(PageSchema):
    """A page of items, in the order of their lines."""

    data = fields.List(fields.Nested(ItemSchema), required=True)

    def shown(self, one: Any) -> dict[str, Any]:
        """See `item_shown`."""
        return item_shown(*one)


def item_shown(custom_id: str, job: Job) -> dict[str, Any]:
    """An item as a client sees it."""
    return {"custom_id": custom_id, "line": int(job.id.rpartition("-")[2]), **job_shown(job)}
