"""`/docs` and `/openapi.json`. Swagger UI is vendored: the page loads nothing from elsewhere."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, redirect, render_template
from flask.typing import ResponseReturnValue

blp = Blueprint("docs", __name__)

#: Swagger UI's own stylesheet carries its icons as data: URIs; everything else comes from here.
PAGE_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@blp.get("/")
def index() -> ResponseReturnValue:
    """To the documentation."""
    return redirect("/docs")


@blp.get("/openapi.json")
def openapi() -> ResponseReturnValue:
    """The OpenAPI document."""
    return current_app.json.response(current_app.extensions["api"].spec.to_dict())


@blp.get("/docs")
def docs() -> Response:
    """Swagger UI."""
    own = {"Content-Security-Policy": PAGE_CSP, "Cache-Control": "no-cache"}
    return Response(render_template("docs.html"), mimetype="text/html", headers=own)
