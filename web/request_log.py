"""Every request's id, its one line in the log, and the headers that every answer carries."""

from __future__ import annotations

import re
import time

import structlog
from flask import Flask, Response, g, request
from structlog.contextvars import bind_contextvars, clear_contextvars

from web.request_id import HEADER, made

log = structlog.get_logger()

#: What is taken over from a client. Anything else could break log lines or grow them without bound.
ACCEPTABLE = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
#: Jobs belong to one client, so no cache may keep them; nothing here is a page, so a browser may do nothing with it.
DATA = [("Cache-Control", "no-store"), ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")]
ALWAYS = [("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer")]


def attach(app: Flask) -> None:
    """Watch the requests of `app`."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    given = request.headers.get(HEADER, "")
    g.began = time.perf_counter()
    g.request_id = given if ACCEPTABLE.fullmatch(given) else made()
    clear_contextvars()
    bind_contextvars(request_id=g.request_id)


def _end(response: Response) -> Response:
    headers, rule = response.headers, request.url_rule
    headers.add(HEADER, g.request_id)
    headers.extend(ALWAYS)
    if "Cache-Control" not in headers:  # a page or a file of ours has its own
        headers.extend(DATA)
    log.info(
        "http.request",
        method=request.method,
        # The template, not the path: what a client writes into a URL stays out of the log.
        path=rule.rule if rule else None,
        status=response.status_code,
        ms=round((time.perf_counter() - g.began) * 1000, 1),
    )
    return response
