"""What a client sends to submit a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from marshmallow import Schema, fields, post_load, validate

from tasks.domain.embedding import InputType, Truncate
from tasks.domain.job import LONGEST_EXPIRES_IN_S, LONGEST_KEY, Cache, Kind, Mode, Request, Submission
from tasks.domain.request import fingerprint
from tasks.schemas import requests
from tasks.schemas.fields import OneOrMore, Pairs, Real, Text, Whole
from tasks.schemas.messages import Messages
from tasks.schemas.tools import MOST_TOOLS, ResponseFormatSchema, ToolChoice, ToolSchema

INT64 = 2**63 - 1
#: Of a list of texts to embed, and of each of them.
MOST_TEXTS, LONGEST_TEXT = 2048, 1_000_000
#: Of a name in `metadata`.
LONGEST_NAME = 64


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A job as its body describes it. `expires_in_s` None means the installation's default."""

    kind: Kind
    mode: Mode
    model: str
    request: Request
    expires_in_s: float | None
    metadata: dict[str, str]
    idempotency_key: str | None
    cache: Cache | None = None

    def submission(self, *, owner: str, key: str | None, default_expires_in_s: float) -> Submission:
        """The job as `owner` submits it under `key`."""
        return Submission(
            owner=owner,
            kind=self.kind,
            mode=self.mode,
            model=self.model,
            request=self.request,
            expires_in_s=self.expires_in_s or default_expires_in_s,
            metadata=self.metadata,
            idempotency_key=key,
            fingerprint=self._fingerprint() if key else "",
            cache=self.cache,
        )

    def _fingerprint(self) -> str:
        rest: dict[str, Any] = {
            "kind": self.kind,
            "mode": self.mode,
            "model": self.model,
            "expires_in_s": self.expires_in_s,
        }
        rest |= {"cache": self.cache} if self.cache else {}
        return fingerprint({"request": self.request.to_json(), "metadata": self.metadata, **rest})


EXAMPLE = {"prompt": "Say hello in one word.", "max_tokens": 64}


class SamplingSchema(Schema):
    """What every question may say of how it is to be answered."""

    model = Text(load_default="default", validate=validate.Length(1, 200))
    messages = Messages()
    max_tokens = Whole(validate=validate.Range(1, 2**31 - 1))
    temperature = Real(validate=validate.Range(0, 2))
    top_p = Real(validate=validate.Range(0, 1, min_inclusive=False), metadata={"exclusiveMinimum": 0})
    use_reasoning = fields.Boolean(
        truthy={True},
        falsy={False},
        metadata={"description": "Whether the model thinks first. Unset: as the model does by itself."},
    )
    cache = fields.Enum(
        Cache,
        by_value=Text,
        metadata={
            "description": "use: an earlier answer to the same, or one under way, will do; refresh: ask anew, and keep "
            "that answer for others; off: neither. Unset: use for temperature 0, a seed and embeddings, else off."
        },
    )
    idempotency_key = Text(
        validate=validate.Length(1, LONGEST_KEY),
        metadata={"description": "The same as the header Idempotency-Key."},
    )


class SubmissionSchema(SamplingSchema):
    """A job to be done.

    A chat is given as `messages` or, for a single question, as `prompt`; an embedding (kind embedding) as `input`.
    """

    kind = fields.Enum(Kind, by_value=Text, metadata={"description": "Unset: embedding with `input`, else chat."})
    mode = fields.Enum(
        Mode,
        by_value=Text,
        load_default=Mode.AUTO,
        metadata={"description": "gpu never leaves the house; api goes to the hosted provider; auto decides."},
    )
    prompt = Text(validate=validate.Length(1), metadata={"description": "Short for one user message."})
    stop = OneOrMore(most=4, longest=256)
    seed = Whole(validate=validate.Range(-INT64 - 1, INT64))
    response_format = fields.Nested(ResponseFormatSchema)
    tools = fields.List(fields.Nested(ToolSchema), validate=validate.Length(1, MOST_TOOLS))
    tool_choice = ToolChoice()
    retry_exhausted = fields.Boolean(
        truthy={True},
        falsy={False},
        metadata={"description": "Ask once more, with more tokens, when they ran out while the model thought."},
    )
    input = OneOrMore(
        least=1, most=MOST_TEXTS, longest=LONGEST_TEXT, metadata={"description": "Texts to embed, in order."}
    )
    input_type = fields.String(
        validate=validate.OneOf(get_args(InputType)),
        metadata={"description": "Which side of a search the texts are on. Asymmetric models must be told."},
    )
    truncate = fields.String(
        validate=validate.OneOf(get_args(Truncate)),
        metadata={
            "description": "Where a text that is too long is cut. NONE, which is the default, makes it an error."
        },
    )
    dimensions = Whole(validate=validate.Range(1, 65_536))
    expires_in_s = Real(
        validate=validate.Range(0, LONGEST_EXPIRES_IN_S, min_inclusive=False),
        metadata={"exclusiveMinimum": 0, "description": "Seconds from acceptance after which the job is given up."},
    )
    metadata = Pairs(most=16, longest_key=LONGEST_NAME, longest_value=512, load_default=dict)

    @post_load
    def build(self, loaded: dict[str, Any], **_: Any) -> Asked:
        """The body as a value."""
        kind = loaded.pop("kind", Kind.EMBEDDING if "input" in loaded else Kind.CHAT)
        head = {name: loaded.pop(name) for name in ("mode", "model", "metadata")}
        keys = {name: loaded.pop(name, None) for name in ("expires_in_s", "idempotency_key", "cache")}
        return Asked(request=requests.read(kind, head["model"], loaded), kind=kind, **head, **keys)
