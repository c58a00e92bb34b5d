"""Addresses that an operator gives. They may hold passwords, so no word of them comes back in an error."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

REDIS_FORM = "it must look like redis://[user:password@]host[:port][/number], with %-escapes in the password"
HTTP_FORM = "it must look like http://host[:port]/path, or https"


def redis_url(text: str) -> str:
    """`text`, if all clients understand it alike: redis-py, Celery's transport and Flower. Raises ValueError."""
    parts = _parts(text, REDIS_FORM)
    if parts.scheme == "rediss":
        raise ValueError("rediss:// (TLS) is not supported: use redis:// over a private network or a tunnel")
    if parts.scheme == "unix":
        raise ValueError("unix:// is not supported: use redis:// and a port")
    # An option would reach one of the clients and break another.
    if parts.scheme != "redis" or parts.query or parts.fragment or not re.fullmatch(r"/?|/\d+", parts.path):
        raise ValueError(REDIS_FORM)
    return text


def http_url(text: str) -> str:
    """`text`, if it is an address over HTTP, or empty. Raises ValueError."""
    if text and _parts(text, HTTP_FORM).scheme not in ("http", "https"):
        raise ValueError(HTTP_FORM)
    return text


def _parts(text: str, form: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        reachable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        # Python's own words would repeat what is between the slashes.
        raise ValueError(form) from None
    if re.search(r"\s", text) or not (reachable or parts.scheme == "unix"):
        raise ValueError(form)
    return parts
