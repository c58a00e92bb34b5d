"""What a client says of a batch as a whole."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate

from tasks.domain.batch import BatchOptions
from tasks.domain.job import LONGEST_EXPIRES_IN_S, LONGEST_KEY, Mode, Priority
from tasks.schemas.fields import Pairs, Real, Text, Whole
from tasks.schemas.submission import LONGEST_CUSTOM_ID, LONGEST_NAME, SubmissionSchema

CONTINUE, STOP = "continue", "stop"
THRESHOLD = {
    "type": "object",
    "required": ["threshold"],
    "additionalProperties": False,
    "properties": {"threshold": {"type": "number", "minimum": 0, "maximum": 1}},
}
#: What each item says itself, or the batch as a whole.
NO_DEFAULTS = ("idempotency_key", "expires_in_s", "custom_id")
EXAMPLE = {
    "items": [
        {"custom_id": "greeting", "prompt": "Say hello in one word."},
        {"custom_id": "farewell", "prompt": "Say goodbye in one word."},
    ],
    "defaults": {"max_tokens": 64},
}


class BatchOptionsSchema(Schema):
    """A batch as a whole: everything beside its items."""

    defaults = fields.Dict(
        metadata={
            "description": "Fields of a job that items leave out.",
            "allOf": [{"$ref": "#/components/schemas/Defaults"}],
        }
    )
    mode = fields.Enum(Mode, by_value=Text, metadata={"description": "The same as `mode` in defaults."})
    priority = fields.String(
        validate=validate.OneOf(["high", "normal", "low"]),
        load_default="normal",
        metadata={"description": "Among batches; single jobs go before them all."},
    )
    on_invalid = fields.String(
        validate=validate.OneOf(["reject", "skip"]),
        load_default="reject",
        metadata={"description": "reject: all items or none. skip: those that are valid."},
    )
    on_item_failure = fields.Raw(
        load_default=CONTINUE,
        metadata={
            "description": 'continue, stop, or {"threshold": 0.1}: the share of items that may fail.',
            "oneOf": [{"enum": [CONTINUE, STOP]}, THRESHOLD],
        },
    )
    max_attempts = Whole(validate=validate.Range(1, 100))
    expires_in_s = Real(
        validate=validate.Range(0, LONGEST_EXPIRES_IN_S, min_inclusive=False), metadata={"exclusiveMinimum": 0}
    )
    on_complete = fields.Dict(
        metadata={
            "description": "A job that is run once at the end. In its texts {{#results}}{{custom_id}}: {{content}}"
            "{{/results}} is repeated for each item; {{total}}, {{completed}} and {{failed}} are counts.",
            "allOf": [{"$ref": "#/components/schemas/LastJob"}],
        }
    )
    metadata = Pairs(most=16, longest_key=LONGEST_NAME, longest_value=512, load_default=dict)
    idempotency_key = Text(validate=validate.Length(1, LONGEST_KEY))

    @post_load
    def build(self, loaded: dict[str, Any], **_: Any) -> BatchOptions:
        """The options as a value."""
        defaults = dict(loaded.pop("defaults", {}))
        if "mode" in loaded:
            mode = loaded.pop("mode").value
            if defaults.setdefault("mode", mode) != mode:
                # Whichever counted, the other may have been meant to keep the prompts in the house.
                raise ValidationError("Differs from mode in defaults.", "mode")
        _check_defaults(defaults)
        _check_last(loaded.get("on_complete"), defaults.get("mode"))
        return BatchOptions(
            defaults=defaults,
            stop_after=_share(loaded.pop("on_item_failure")),
            max_tries=loaded.pop("max_attempts", None),
            priority=Priority[loaded.pop("priority").upper()],
            **loaded,
        )


def _check_defaults(said: dict[str, Any]) -> None:
    """That each of them can be a job's, or every item that does not say it itself would be refused for it."""
    for name in NO_DEFAULTS:
        if name in said:
            raise ValidationError("Is not a default of items.", f"defaults.{name}")
    # Not `load`: whether they make a job together is for the items to say.
    if wrong := _defaults.validate(said):
        raise ValidationError({"defaults": wrong})


def _check_last(said: dict[str, Any] | None, mode: Any) -> None:
    """That it will be a job once it is filled in, as far as can be told now."""
    if said is None:
        return
    if (mode, said.get("mode")) == (Mode.GPU, Mode.API):
        raise ValidationError("Items of mode=gpu must not be sent to a hosted provider.", "on_complete.mode")
    try:
        _job.load(said if mode is None else {"mode": mode, **said})
    except ValidationError as error:
        raise ValidationError({"on_complete": error.messages}) from error


class DefaultsSchema(SubmissionSchema):
    """Fields of a job that the items of a batch leave out."""

    class Meta:
        """The batch has a key and a deadline."""

        exclude = ("idempotency_key", "expires_in_s")


_defaults = DefaultsSchema()


class LastJobSchema(SubmissionSchema):
    """The job over a batch's results."""

    class Meta:
        """The batch has a key."""

        exclude = ("idempotency_key",)


_job = LastJobSchema()


class BatchItemSchema(SubmissionSchema):
    """A job of a batch."""

    class Meta:
        """The batch has a key and a deadline."""

        exclude = ("idempotency_key", "expires_in_s")

    custom_id = Text(required=True, validate=validate.Length(1, LONGEST_CUSTOM_ID))


class BatchSubmissionSchema(BatchOptionsSchema):
    """A batch with its items, for the documentation: they are read as they come, by tasks/batches/reading.py."""

    items = fields.List(fields.Nested(BatchItemSchema), required=True, validate=validate.Length(1))


def _share(said: Any) -> float | None:
    if said == CONTINUE:
        return None
    if said == STOP:
        return 0.0
    share = said.get("threshold") if isinstance(said, dict) and set(said) == {"threshold"} else None
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ValidationError('Must be continue, stop, or {"threshold": 0 to 1}.', "on_item_failure")
    return float(share)
