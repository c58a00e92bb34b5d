"""While there are no keys: no page in a browser on this machine is let in. Flower has the same (tasks/flower.py)."""

from __future__ import annotations

from flask import Flask, Response, request

from tasks.settings import Settings
from web import errors


def attach(app: Flask, here: Settings) -> None:
    """Let `app` refuse, before anything else, what a foreign page sends. With keys it is they that decide."""
    if here.keyring:
        return
    access = here.local_access

    def refuse() -> Response | None:
        said = request.headers
        denied = access.denied(
            method=request.method, host=said.get("Host"), origin=said.get("Origin"), site=said.get("Sec-Fetch-Site")
        )
        return errors.problem(denied.status, denied.detail, word=denied.word) if denied else None

    app.before_request(refuse)
