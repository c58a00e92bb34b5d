"""A body that is read as it comes, and its end."""

from __future__ import annotations

from typing import Protocol

from flask import Request
from werkzeug.exceptions import BadRequest


class Source(Protocol):
    """Where bytes come from."""

    def read(self, size: int = -1, /) -> bytes:
        """Some bytes; none at the end."""
        ...


class Whole:
    """A request's body. When fewer bytes come than were announced its end is BadRequest: gunicorn does not say so, and
    the lines that came would be taken for all."""

    def __init__(self, req: Request) -> None:
        self._stream = req.stream
        self._missing = req.content_length or 0

    def read(self, size: int = -1, /) -> bytes:
        """Some bytes; none at the end."""
        data = self._stream.read(size)
        self._missing -= len(data)
        if not data and self._missing > 0:
            raise BadRequest("the body ends too soon: it has fewer bytes than Content-Length says")
        return data
