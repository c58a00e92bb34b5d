"""Who asks: API keys as Bearer tokens. Without configured keys everything is open and belongs to "public"."""

from __future__ import annotations

from flask import Response, current_app, request
from flask_httpauth import HTTPTokenAuth
from werkzeug.datastructures import Authorization
from werkzeug.exceptions import TooManyRequests

from tasks.domain.keyring import LONG_ENOUGH, Keyring
from web import errors
from web.guesses import Guesses

PUBLIC = "public"


class BearerAuth(HTTPTokenAuth):  # type: ignore[misc]  # untyped
    """Bearer tokens by the application's keyring; an empty one lets everybody in, whatever they present."""

    def get_auth(self) -> Authorization | None:
        """The token of the request, as it stands."""
        # Werkzeug takes what has a "=" before its end for a list of parameters, and shows no token.
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return Authorization("bearer", token=token.strip()) if scheme.lower() == "bearer" else None

    def authenticate(self, auth: Authorization | None, stored_password: str | None) -> str | None:
        """The owner, or None to refuse. Raises TooManyRequests where many wrong keys came from."""
        keyring: Keyring = current_app.extensions["keyring"]
        if not keyring:
            return PUBLIC
        if not auth or not auth.token:
            return None
        guesses: Guesses = current_app.extensions["guesses"]
        address = request.remote_addr or ""
        found = keyring.owner_of(auth.token)
        # A long key that is right was not guessed: no stranger at the same address, as behind a proxy, holds it up.
        is_known = found is not None and len(auth.token) >= LONG_ENOUGH
        if not is_known and not guesses.may_try(address, auth.token):
            raise TooManyRequests("too many wrong API keys came from this address", retry_after=1)
        guesses.note(address, auth.token, is_right=found is not None)
        return found


auth = BearerAuth(scheme="Bearer", realm="tandem")


@auth.error_handler  # type: ignore[untyped-decorator]
def _unauthorized(status: int) -> Response:
    return errors.problem(status, "a valid API key is needed: Authorization: Bearer <key>")


def owner() -> str:
    """The owner of this request, once it was let in."""
    return str(auth.current_user())
