"""A line of a batch in OpenAI's form: {"custom_id", "method": "POST", "url", "body"}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.domain.batch import InvalidItem
from tasks.domain.errors import InvalidRequest
from tasks.schemas import openai_bodies, surrogates
from tasks.schemas.fields import is_clean
from tasks.schemas.submission import LONGEST_CUSTOM_ID

#: The code of a line whose body cannot be asked: it gets an error of its own, and harms no other. All others say that
#: the file is not what it should be, and the batch fails.
BODY = "invalid_request"


def fields(line: int, said: Any, text: str, endpoint: str) -> dict[str, Any] | InvalidItem:
    """The fields of the job, custom_id among them, or what is wrong with the line, by OpenAI's codes. `said` was read
    from `text`."""
    wrong = _wrong(said, endpoint)
    custom_id = said.get("custom_id") if isinstance(said, dict) else None
    if wrong is not None:
        code, message, field = wrong
        return InvalidItem(line=line, custom_id=_short(custom_id), code=code, message=message, field=field)
    try:
        surrogates.refuse(said["body"], text)
        return {**openai_bodies.fields(openai_bodies.KINDS[endpoint], said["body"]), "custom_id": custom_id}
    except InvalidRequest as error:
        return InvalidItem(line=line, custom_id=custom_id, code=BODY, message=error.message, field=error.field)


def _short(custom_id: Any) -> str | None:
    return custom_id if _is_custom_id(custom_id) else None


def _is_custom_id(said: Any) -> bool:
    return is_clean(said) and 1 <= len(said) <= LONGEST_CUSTOM_ID


def _wrong(said: Any, endpoint: str) -> tuple[str, str, str | None] | None:
    if not isinstance(said, dict):
        return "invalid_json_line", "This line is not a JSON object.", None
    for name in ("custom_id", "method", "url", "body"):
        if name not in said:
            return "missing_required_parameter", f"Missing required parameter: '{name}'.", name
    if (unknown := next(iter(said.keys() - {"custom_id", "method", "url", "body"}), None)) is not None:
        name = surrogates.shown(unknown)
        return "unknown_parameter", f"Unknown parameter: '{name}'.", name
    if not _is_custom_id(said["custom_id"]):
        why = f"The custom_id is a text of 1 to {LONGEST_CUSTOM_ID} characters, without NUL and lone surrogates."
        return "invalid_custom_id", why, "custom_id"
    if said["method"] != "POST":
        return "invalid_method", "The method of a request can only be POST.", "method"
    if said["url"] != endpoint:
        return "invalid_url", "The URL provided for this request does not match the batch endpoint.", "url"
    if not isinstance(said["body"], dict):
        return "invalid_body", "The body of a request is a JSON object.", "body"
    return None


def is_fatal(item: InvalidItem) -> bool:
    """Whether a batch with such a line is not begun."""
    return item.code in FATAL


#: What reading.py and expand.py say of lines in OpenAI's words.
CODES: Mapping[str, str] = {
    "invalid_line": "invalid_json_line",
    "invalid_json": "invalid_json_line",
    "invalid_item": BODY,
}
FATAL = {
    *("invalid_json_line", "missing_required_parameter", "unknown_parameter", "invalid_custom_id"),
    *("invalid_method", "invalid_url", "invalid_body", "duplicate_custom_id"),
}
