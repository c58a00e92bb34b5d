"""A model as clients see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from marshmallow import Schema, fields

from tasks.domain.known_model import KnownModel
from tasks.domain.standing import State
from web.schemas.times import TIMES, rfc3339

DAY = {"format": "date", "description": "The day that the provider named, if it did."}


def shown(model: KnownModel) -> dict[str, Any]:
    """The model as JSON values."""
    summary = {
        "object": "model",
        "state": model.state,
        "last_checked": model.last_checked,
        "retired_on": model.retired_on,
    }
    return {"id": model.id, **_plain(summary | asdict(model))}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


class OfferSchema(Schema):
    """The model at a hosted provider."""

    provider = fields.String(required=True)
    id = fields.String(required=True, metadata={"description": "The provider's name for it."})
    state = fields.Enum(State, by_value=fields.String, required=True)
    last_checked = fields.String(required=True, allow_none=True, metadata=TIMES)
    retired_on = fields.String(required=True, allow_none=True, metadata=DAY)
    listed = fields.Boolean(required=True, allow_none=True, metadata={"description": "null: its list is not known."})


class LiveWorkerSchema(Schema):
    """A live gpu worker that serves the model."""

    name = fields.String(required=True)
    state = fields.String(required=True, metadata={"enum": ["loading", "ready", "draining", "broken"]})
    device = fields.String(required=True)
    seen_at = fields.String(required=True, metadata=TIMES)


class ModelSchema(Schema):
    """A model: what is known of it, and what was learned. null: not known."""

    id = fields.String(required=True)
    object = fields.String(required=True, metadata={"const": "model"})
    state = fields.Enum(State, by_value=fields.String, required=True)
    last_checked = fields.String(required=True, allow_none=True, metadata=TIMES)
    retired_on = fields.String(required=True, allow_none=True, metadata=DAY)
    aliases = fields.List(fields.String(), required=True, metadata={"description": "Its other names, all accepted."})
    abilities = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "Of chat, vision, reasoning, code, embedding, tools. Empty: not known."},
    )
    context = fields.Integer(required=True, allow_none=True, metadata={"description": "In tokens."})
    most_tokens = fields.Integer(required=True, allow_none=True, metadata={"description": "Of one answer."})
    dimensions = fields.Integer(required=True, allow_none=True)
    asymmetric = fields.Boolean(required=True, metadata={"description": "Embeds queries and passages differently."})
    image_base64 = fields.Integer(
        required=True, allow_none=True, metadata={"description": "The longest inline image, in base64 characters."}
    )
    completions = fields.Boolean(required=True, metadata={"description": "A base model, without a chat template."})
    reasoning = fields.String(
        required=True, allow_none=True, metadata={"description": "The switch that makes it think, or `always`."}
    )
    sampling = fields.Dict(keys=fields.String(), values=fields.Float(), required=True)
    providers = fields.List(fields.Nested(OfferSchema), required=True)
    workers = fields.List(fields.Nested(LiveWorkerSchema), required=True)

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        """See `shown`."""
        return shown(obj)


class ModelListSchema(Schema):
    """All models."""

    object = fields.String(required=True, metadata={"const": "list"})
    data = fields.List(fields.Nested(ModelSchema), required=True)

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        """The list."""
        models: Sequence[KnownModel] = obj
        return {"object": "list", "data": [shown(model) for model in models]}
