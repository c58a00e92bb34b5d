"""Who asks: API keys as Bearer tokens. Without configured keys everything is open and belongs to "public"."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

from flask import Response, current_app
from flask_httpauth import HTTPTokenAuth
from werkzeug.datastructures import Authorization

from web import errors

PUBLIC = "public"
#: An owner's name becomes part of Redis keys.
OWNER = re.compile(r"[A-Za-z0-9._-]{1,64}")


class BadKeys(ValueError):
    """TANDEM_API_KEYS cannot be read. The message never holds a key."""


@dataclass(frozen=True)
class Keyring:
    """The owners and the sha-256 digests of their keys. The keys themselves are not kept."""

    held: tuple[tuple[str, bytes], ...]

    def __bool__(self) -> bool:
        """Whether a key is asked for at all."""
        return bool(self.held)

    @classmethod
    def parse(cls, text: str) -> Keyring:
        """Read `owner:key` pairs, separated by commas or lines. Raises BadKeys."""
        pairs = [pair.strip() for pair in text.replace("\n", ",").split(",")]
        return cls(tuple(_pair(place, pair) for place, pair in enumerate(pairs, 1) if pair))

    def owner_of(self, token: str) -> str | None:
        """Whose key this is. Every digest is compared, so the time taken tells nothing."""
        digest = _digest(token)
        found = None
        for owner, held in self.held:
            if hmac.compare_digest(digest, held):
                found = owner
        return found


def _pair(place: int, pair: str) -> tuple[str, bytes]:
    owner, colon, key = pair.partition(":")
    if not colon or not OWNER.fullmatch(owner) or not key or re.search(r"\s", key):
        raise BadKeys(
            f"TANDEM_API_KEYS: entry {place} is not owner:key (owner: 1-64 letters, digits, '.', '_', '-'; "
            "key: at least one character, no spaces)"
        )
    return owner, _digest(key)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()


class BearerAuth(HTTPTokenAuth):  # type: ignore[misc]  # untyped
    """Bearer tokens by the application's keyring; an empty one lets everybody in, whatever they present."""

    def authenticate(self, auth: Authorization | None, stored_password: str | None) -> str | None:
        """The owner, or None to refuse."""
        keyring: Keyring = current_app.extensions["keyring"]
        if not keyring:
            return PUBLIC
        return keyring.owner_of(auth.token or "") if auth else None


auth = BearerAuth(scheme="Bearer", realm="tandem")


@auth.error_handler  # type: ignore[untyped-decorator]
def _unauthorized(status: int) -> Response:
    return errors.problem(status, "a valid API key is needed: Authorization: Bearer <key>")


def owner() -> str:
    """The owner of this request, once it was let in."""
    return str(auth.current_user())
