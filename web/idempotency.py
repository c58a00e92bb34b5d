"""The idempotency key: the header `Idempotency-Key` and the body's `idempotency_key` are the same thing."""

from __future__ import annotations

from flask import Request

from tasks.domain.errors import ConflictingKeys, InvalidRequest
from tasks.domain.job import LONGEST_KEY

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"

PARAMETER = {
    "in": "header",
    "name": HEADER,
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
    "description": "The same key and payload within 24 hours give the same job, not another one",
}


def key_of(req: Request, in_body: str | None) -> str | None:
    """The request's key, if it has one. Raises ConflictingKeys and InvalidRequest."""
    said = req.headers.get(HEADER)
    if said is None:
        return in_body
    given = _unquoted(said)
    if not 1 <= len(given) <= LONGEST_KEY or not given.isascii() or not given.isprintable():
        raise InvalidRequest(f"{HEADER} must be 1 to {LONGEST_KEY} printable ASCII characters", field="idempotency_key")
    if in_body not in (None, given):
        raise ConflictingKeys(f"{HEADER} and idempotency_key differ", field="idempotency_key")
    return given


def _unquoted(said: str) -> str:
    # The IETF draft makes the header a structured string, so `"abc"`; most clients send it bare.
    return said[1:-1] if len(said) > 1 and said[0] == said[-1] == '"' else said
