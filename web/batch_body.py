"""The body of a batch, read as it comes: JSON, lines of JSON, or a form with a file. Never whole in memory."""

from __future__ import annotations

from typing import Any, NoReturn

from flask import Request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from tasks.domain.errors import InvalidRequest
from tasks.schemas import strict_json, surrogates
from tasks.schemas.strict_json import NotJson
from web import batch_form
from web.body import check_encoding, check_query
from web.json_pieces import READ_BYTES, Pieces
from web.lines import Lines, Taker
from web.source import Source, Whole

JSON, LINES, FORM = "application/json", "application/x-ndjson", "multipart/form-data"
ITEMS = "items"
#: More than there are options: of what nobody knows this many are told of, and no more are kept.
MOST_OPTIONS = 40
#: Options that are texts: what stands in a query or a form is taken as it is.
TEXTS = ("mode", "priority", "on_invalid", "idempotency_key")


def read(req: Request, take: Taker, *, longest: int) -> tuple[dict[str, Any], int]:
    """Hand every item to `take`; returns what the body says of the batch as a whole, and the number of the last line.

    What it says of the batch has `longest` bytes at the most, as an item has, and MOST_OPTIONS names.

    Raises BadRequest, UnsupportedMediaType, RequestEntityTooLarge and InvalidRequest.
    """
    check_encoding(req)
    if req.mimetype == LINES:
        check_query(req)
        return {name: _said(name, text) for name, text in req.args.items()}, _lines(Whole(req), take, longest=longest)
    if req.query_string:
        raise InvalidRequest("query parameters go with application/x-ndjson only", field=next(iter(req.args), "query"))
    if req.mimetype == JSON:
        return _json(Whole(req), take, longest=longest)
    if req.mimetype == FORM:
        said, last = batch_form.read(req, take, longest=longest)
        return {name: _said(name, text) for name, text in said.items()}, last
    raise UnsupportedMediaType(f"send {JSON}, {LINES} or {FORM}")


def _said(name: str, text: str) -> Any:
    """An option in a query or a form: a text where texts go; else JSON where it is (3, {"threshold": 0.1}), or a word.

    Else a key like 12345 would be a number.
    """
    if name in TEXTS:
        return text
    try:
        return _option(name, text.encode())
    except NotJson:
        return text


def _option(name: str, raw: bytes) -> Any:
    value = strict_json.loads(raw)
    surrogates.refuse(value, raw.decode(), field=name)
    return value


def _lines(stream: Source, take: Taker, *, longest: int) -> int:
    lines = Lines(take, longest=longest)
    while data := stream.read(READ_BYTES):
        lines.feed(data)
    return lines.close()


def _json(stream: Source, take: Taker, *, longest: int) -> tuple[dict[str, Any], int]:
    pieces, options, count = Pieces(stream, longest=longest), dict[str, Any](), 0
    seen, left = set[str](), longest
    try:
        if pieces.peek() != b"{":
            _no_object(pieces)
        for raw in pieces.names():
            name = _name(raw)
            if name in seen:
                raise InvalidRequest(f"the key {name[:100]!r} is given twice", field=name[:100])
            seen.add(name)
            if len(seen) > MOST_OPTIONS:
                raise InvalidRequest(f"a batch has {MOST_OPTIONS} options at the most", field=surrogates.shown(name))
            if name != ITEMS:
                value = pieces.value()
                if (left := left - len(raw) - len(value)) < 0:
                    raise RequestEntityTooLarge("the options of the batch are too long")
                options[name] = _option(name, value)
                continue
            if pieces.peek() != b"[":
                raise InvalidRequest("items is a list", field=ITEMS)
            for item in pieces.values():
                count += 1
                take(count, item)
    except NotJson as error:
        raise BadRequest(f"the body is {error}") from error
    if pieces.peek():
        raise BadRequest("the body goes on behind its JSON")
    return options, count


def _name(raw: bytes) -> str:
    name = strict_json.loads(raw)
    if not isinstance(name, str):
        raise NotJson("not JSON: a key is a string")
    surrogates.refuse({name: None}, raw.decode())
    return name


def _no_object(pieces: Pieces) -> NoReturn:
    strict_json.loads(pieces.value() if pieces.peek() else b"")
    raise InvalidRequest("a batch is a JSON object")
