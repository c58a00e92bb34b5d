"""Request bodies: strict JSON, read once. What other parsers let pass half-understood is refused here."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from flask import Request, g
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from tasks.domain.errors import InvalidRequest


class StrictParser(FlaskParser):
    """Webargs' parser with this module's JSON. Unknown query parameters are refused like unknown fields."""

    DEFAULT_UNKNOWN_BY_LOCATION = {**FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION, "query": None}

    def load_querystring(self, req: Request, schema: Any) -> Any:
        """The query, by a schema. Comes before the body where both are declared, in this order."""
        g.query_is_judged = True
        return super().load_querystring(req, schema)

    def load_json(self, req: Request, _schema: Any) -> Any:
        """The body's JSON value. Raises 400, 415, 413, and InvalidRequest."""
        if req.query_string and not g.get("query_is_judged"):
            # `?mode=gpu` beside a body would be ignored, and a prompt meant to stay in the house would leave it.
            raise InvalidRequest("no query parameters are taken here", field=next(iter(req.args), "query"))
        return read_json(req)


def read_json(req: Request) -> Any:
    """The body's JSON value. Raises BadRequest, UnsupportedMediaType, RequestEntityTooLarge and InvalidRequest."""
    if req.mimetype != "application/json":
        raise UnsupportedMediaType("send application/json")
    # JSON has no charset but this one. Another would be read as UTF-8 all the same, and be refused or misread.
    if req.mimetype_params.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise UnsupportedMediaType("send application/json in UTF-8")
    if req.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("send the body without a content encoding")
    raw = req.get_data(cache=False)
    # Werkzeug cuts a chunked body off at the limit without a word.
    if req.content_length is None and len(raw) >= (req.max_content_length or len(raw) + 1):
        raise RequestEntityTooLarge()
    return loads(raw)


def loads(raw: bytes) -> Any:
    """One JSON value. Raises BadRequest, and InvalidRequest for a key given twice or a number that JSON lacks."""
    try:
        return DECODER.decode(raw.decode())
    except UnicodeDecodeError as error:
        raise BadRequest("the body is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise BadRequest("the body is nested too deeply") from error
    except ValueError as error:  # an integer of thousands of digits
        raise BadRequest("the body holds a number that is too long") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise InvalidRequest(f"the key {twice[:100]!r} is given twice in one object", field=twice[:100])
    return found


def _constant(name: str) -> NoReturn:
    raise InvalidRequest(f"{name} is not a JSON number")


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
