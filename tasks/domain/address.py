"""Addresses that an operator gives. They may hold passwords, so no word of them comes back in an error."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from tasks.domain import redis_address

HTTP_FORM = "it must look like http://host[:port]/path, or https"


def redis_url(text: str) -> str:
    """`text`, if it says where Redis is. Raises ValueError."""
    redis_address.parse(text)
    return text


def readable(path: Path) -> Path:
    """`path`, if it is a file that can be read. Raises ValueError."""
    if not (path.is_file() and os.access(path, os.R_OK)):
        raise ValueError("there is no such file, or it cannot be read")
    return path


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
    if re.search(r"\s", text) or not reachable:
        raise ValueError(form)
    return parts
