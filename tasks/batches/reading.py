"""Reads one item of a batch: from a line of JSON to a submission, or to what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog
from marshmallow import ValidationError

from tasks.batches import openai_lines
from tasks.domain.batch import InvalidItem
from tasks.domain.errors import InvalidRequest, RequestError
from tasks.schemas import strict_json, surrogates
from tasks.schemas.errors import by_field
from tasks.schemas.fields import is_clean
from tasks.schemas.strict_json import NotJson
from tasks.schemas.submission import LONGEST_CUSTOM_ID, Asked, SubmissionSchema

log = structlog.get_logger()

#: Fields of a job that are the batch's to say.
BATCH_ONLY = ("idempotency_key", "expires_in_s")
#: In place of a line that could not be kept: what is wrong with it. No JSON begins with it.
BROKEN = "\0"

_schema = SubmissionSchema()


@dataclass(frozen=True, kw_only=True)
class Item:
    """An item as it was asked for."""

    line: int
    custom_id: str
    asked: Asked


def entry(line: int, text: bytes, *, longest: int) -> bytes:
    """A line as it is kept until it is read."""
    broken = f"longer than {longest} bytes" if len(text) > longest else _undecodable(text)
    return b"%d %s" % (line, f"{BROKEN}{broken}".encode() if broken else text)


def _undecodable(text: bytes) -> str | None:
    if (at := text.find(b"\0")) >= 0:
        # No JSON has one, but half of UTF-16 is NUL; and what stands for a broken line begins with it.
        return f"not JSON: a NUL at byte {at}; lines are in UTF-8, not UTF-16"
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start}"
    return None


def read(kept: str, options: Mapping[str, Any]) -> Item | InvalidItem:
    """The item of a kept line, by the batch's options as BatchOptions.to_json wrote them."""
    if "openai" not in options:
        return _read(kept, options["defaults"], None)
    found = _read(kept, {}, options["openai"]["endpoint"])
    if isinstance(found, InvalidItem):
        return replace(found, code=openai_lines.CODES.get(found.code, found.code))
    return found


def _read(kept: str, defaults: Mapping[str, Any], endpoint: str | None) -> Item | InvalidItem:
    number, _, text = kept.partition(" ")
    line = int(number)
    if text.startswith(BROKEN):
        return InvalidItem(line=line, custom_id=None, code="invalid_line", message=text[1:])
    try:
        return _of_text(line, text, defaults, endpoint)
    except Exception as error:
        # Whatever it is, it is of this line, and must not keep the others from being read.
        log.exception("batch.line_broke", line=line, error=type(error).__name__)
        return InvalidItem(line=line, custom_id=None, code="invalid_line", message="the line cannot be read")


def _of_text(line: int, text: str, defaults: Mapping[str, Any], endpoint: str | None) -> Item | InvalidItem:
    try:
        said = strict_json.loads(text.encode())
    except NotJson as error:
        return InvalidItem(line=line, custom_id=None, code="invalid_json", message=f"the line is {error}")
    except RequestError as error:
        return InvalidItem(line=line, custom_id=None, code="invalid_json", message=error.message, field=error.field)
    if endpoint is not None:
        said = openai_lines.fields(line, said, text, endpoint)
    return said if isinstance(said, InvalidItem) else _item(line, said, text, defaults)


def _item(line: int, said: Any, text: str, defaults: Mapping[str, Any]) -> Item | InvalidItem:
    custom_id = said.pop("custom_id", None) if isinstance(said, dict) else None
    wrong = _wrong(said, custom_id)
    if wrong is not None:
        return InvalidItem(line=line, custom_id=None, code="invalid_item", message=wrong[1], field=wrong[0])
    try:
        surrogates.refuse(said, text)
        asked = _schema.load({**defaults, **said})
    except InvalidRequest as error:
        message, field = error.message, error.field
        return InvalidItem(line=line, custom_id=custom_id, code="invalid_item", message=message, field=field)
    except ValidationError as error:
        field, sentences = next(iter(by_field({"": error.messages}).items()))
        message = " ".join(sentences)
        return InvalidItem(line=line, custom_id=custom_id, code="invalid_item", message=message, field=field or None)
    return Item(line=line, custom_id=str(custom_id), asked=asked)


def _wrong(said: Any, custom_id: Any) -> tuple[str | None, str] | None:
    if not isinstance(said, dict):
        return None, "an item is a JSON object"
    if not isinstance(custom_id, str) or not 1 <= len(custom_id) <= LONGEST_CUSTOM_ID:
        return "custom_id", f"an item needs a custom_id of 1 to {LONGEST_CUSTOM_ID} characters"
    if not is_clean(custom_id):
        return "custom_id", "must not contain NUL characters or lone surrogates"
    for name in BATCH_ONLY:
        if name in said:
            return name, "is for a batch as a whole"
    return None
