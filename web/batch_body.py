"""The body of a batch, read as it comes: JSON, lines of JSON, or a form with a file. Never whole in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Any

import ijson  # type: ignore[import-untyped]
from flask import Request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from tasks.domain.errors import InvalidRequest
from tasks.schemas import strict_json
from tasks.schemas.strict_json import NotJson
from web import batch_form
from web.lines import Lines, Taker

JSON, LINES, FORM = "application/json", "application/x-ndjson", "multipart/form-data"
READ_BYTES = 256 * 1024
#: What an option may hold besides the items.
LONGEST_OPTION = 1_000_000


def read(req: Request, take: Taker, *, longest: int) -> tuple[dict[str, Any], int]:
    """Hand every item to `take`; returns what the body says of the batch as a whole, and the number of the last line.

    Raises BadRequest, UnsupportedMediaType, RequestEntityTooLarge and InvalidRequest.
    """
    if req.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("send the body without a content encoding")
    if req.mimetype == LINES:
        return {name: _said(text) for name, text in req.args.items()}, _lines(req.stream, take, longest=longest)
    if req.query_string:
        raise InvalidRequest("query parameters go with application/x-ndjson only", field=next(iter(req.args), "query"))
    if req.mimetype == JSON:
        return _json(req.stream, take, longest=longest)
    if req.mimetype == FORM:
        said, last = batch_form.read(req, take, longest=longest)
        return {name: _said(text) for name, text in said.items()}, last
    raise UnsupportedMediaType(f"send {JSON}, {LINES} or {FORM}")


def _said(text: str) -> Any:
    """An option in a query or a form: JSON where it is (3, {"threshold": 0.1}), else a word."""
    try:
        return strict_json.loads(text.encode())
    except NotJson:
        return text


def _lines(stream: IO[bytes], take: Taker, *, longest: int) -> int:
    lines = Lines(take, longest=longest)
    while data := stream.read(READ_BYTES):
        lines.feed(data)
    return lines.close()


class _Measured:
    """A stream that stops when one value takes too much of it."""

    def __init__(self, stream: IO[bytes], longest: int) -> None:
        self._stream = stream
        self._longest = longest + LONGEST_OPTION
        self._since = 0

    def read(self, size: int = READ_BYTES) -> bytes:
        # ijson asks for nothing first, to see what comes; werkzeug takes an empty answer for a client that left.
        data = self._stream.read(min(size, READ_BYTES)) if size else b""
        self._since += len(data)
        if self._since > self._longest:
            raise RequestEntityTooLarge("an item is too long")
        return data

    def begin(self) -> None:
        """The next value begins."""
        self._since = 0


def _json(stream: IO[bytes], take: Taker, *, longest: int) -> tuple[dict[str, Any], int]:
    measured, options, count = _Measured(stream, longest), {}, 0
    events = iter(ijson.basic_parse(measured, use_float=True, buf_size=READ_BYTES))
    try:
        if next(events, (None, None))[0] != "start_map":
            raise InvalidRequest("a batch is a JSON object")
        for event, name in events:
            if event == "end_map":
                break
            if name in options or (name == "items" and count):
                raise InvalidRequest(f"the key {name[:100]!r} is given twice", field=name[:100])
            if name != "items":
                event, value = next(events)
                options[name] = _value(event, value, events)
                continue
            if next(events)[0] != "start_array":
                raise InvalidRequest("items is a list", field="items")
            for item in _items(events, measured):
                count += 1
                take(count, json.dumps(item, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        if next(events, None) is not None:
            raise BadRequest("the body goes on behind its JSON")
    except ijson.JSONError as error:
        raise BadRequest(f"the body is not JSON, or ends too soon: {str(error).splitlines()[0][:200]}") from error
    except (RecursionError, StopIteration) as error:
        raise BadRequest("the body is nested too deeply, or ends too soon") from error
    except UnicodeError as error:
        raise BadRequest("the body is not UTF-8") from error
    return options, count


def _items(events: Iterator[tuple[str, Any]], measured: _Measured) -> Iterator[Any]:
    for event, value in events:
        if event == "end_array":
            return
        yield _value(event, value, events)
        measured.begin()


def _value(event: str, value: Any, events: Iterator[tuple[str, Any]]) -> Any:
    if event == "start_array":
        found = []
        for inner, scalar in events:
            if inner == "end_array":
                break
            found.append(_value(inner, scalar, events))
        return found
    if event != "start_map":
        return value
    said: dict[str, Any] = {}
    for inner, name in events:
        if inner == "end_map":
            break
        if name in said:
            raise InvalidRequest(f"the key {name[:100]!r} is given twice in one object", field=name[:100])
        event, value = next(events)
        said[name] = _value(event, value, events)
    return said
