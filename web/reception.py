"""Requests on their way in: they come in before a thread is taken, so a client that sends slowly holds none.

What is small comes in whole. Of what is large (or of unknown length) a part does, the rest is read by the thread that
answers; only some of the threads may be at that. Both are held to a least rate.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from enum import Enum
from typing import Any, cast

from gunicorn.http.unreader import SocketUnreader  # type: ignore[import-untyped]
from werkzeug.exceptions import RequestTimeout

#: The request line and the headers take no longer than this from their first byte on.
HEAD_S = 10.0
#: A body may take so long, and a second more for so many bytes that have come.
BODY_S, BYTES_PER_S = 10.0, 4_000
#: More of a body, or of headers, is not kept for one connection before a thread reads it.
KEPT_BYTES = 64 * 1024
#: What gunicorn takes for a request line (limit_request_line), and its end.
LINE_BYTES = 4094 + 2

TOO_SLOW = f"the request came in too slowly: its headers may take {HEAD_S:.0f} s, its body a second per 4 kB"
TOO_LONG = f"the headers are longer than {KEPT_BYTES} bytes"

_END = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"^content-length[ \t]*:[ \t]*(\d{1,18})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_CHUNKED = re.compile(rb"^transfer-encoding[ \t]*:", re.IGNORECASE | re.MULTILINE)
_EXPECT = re.compile(rb"^expect[ \t]*:", re.IGNORECASE | re.MULTILINE)


class Stage(Enum):
    """How far a request has come."""

    COMING = "coming"
    #: All of it is here, or enough for the parser to refuse it.
    WHOLE = "whole"
    #: A thread has to read the rest.
    LARGE = "large"
    #: Its headers do not end.
    ENDLESS = "endless"


class Incoming:
    """One request, as far as it has come. Times are monotonic; `idle_until` is how long its first byte may take."""

    def __init__(self, *, idle_until: float) -> None:
        self.data = bytearray()
        self.stage = Stage.COMING
        self.deadline = idle_until
        self._head_bytes = 0
        #: Of the body; None where only its end will tell.
        self._length: int | None = 0
        self._body_from = 0.0
        self._asks_first = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing has come yet."""
        return not self.data

    @property
    def missing(self) -> int | None:
        """How many bytes of the body are still to come, when that is known."""
        return None if self._length is None else self._length - (len(self.data) - self._head_bytes)

    def take(self, piece: bytes, now: float) -> Stage:
        """Add what has come; returns how far it is now."""
        if self.is_idle:
            piece = piece.lstrip(b"\r\n")  # some clients end a body with a line too many
            if not piece:
                return self.stage
            self.deadline = now + HEAD_S
        looked_at = max(0, len(self.data) - 3)
        self.data += piece
        if not self._head_bytes and (end := _END.search(self.data, looked_at)):
            self._read_head(end.end(), now)
        if self._head_bytes:
            self.deadline = self._body_from + BODY_S + (len(self.data) - self._head_bytes) / BYTES_PER_S
        self.stage = self._judged()
        return self.stage

    def _read_head(self, size: int, now: float) -> None:
        head = bytes(self.data[:size])
        self._head_bytes, self._body_from = size, now
        self._asks_first = _EXPECT.search(head) is not None
        if _CHUNKED.search(head):
            self._length = None
        elif said := _LENGTH.search(head):
            self._length = int(said[1])

    def _judged(self) -> Stage:
        if not self._head_bytes:
            if len(self.data) > LINE_BYTES and b"\n" not in self.data[:LINE_BYTES]:
                return Stage.WHOLE
            return Stage.ENDLESS if len(self.data) > KEPT_BYTES else Stage.COMING
        body = len(self.data) - self._head_bytes
        if self._length is not None and body >= self._length:
            return Stage.WHOLE
        # A chunked body ends like this, whatever trailers it has.
        ends = self._length is None and body > 0 and self.data.endswith(b"\r\n\r\n")
        return Stage.LARGE if self._asks_first or ends or body >= KEPT_BYTES else Stage.COMING


class Pace:
    """The least rate of a body that a thread reads. Only the time spent waiting for the client counts."""

    def __init__(self) -> None:
        self._waited_s = 0.0
        self._received = 0

    @property
    def left_s(self) -> float:
        """How long the next bytes may take."""
        return BODY_S + self._received / BYTES_PER_S - self._waited_s

    def count(self, received: int, waited_s: float) -> None:
        """So many bytes came after so long."""
        self._received += received
        self._waited_s += waited_s


class PacedUnreader(SocketUnreader):  # type: ignore[misc]  # gunicorn is untyped
    """What gunicorn's parser reads from: first what is here already, then the socket, at the least rate.

    Reading raises RequestTimeout, which becomes a 408 wherever the application was reading.
    """

    def expect(self, data: bytes, missing: int | None, on_whole: Callable[[], None]) -> None:
        """Begin a request of which `data` is here. `on_whole` is called once when no bytes are missing any more."""
        self._pace, self._missing, self._on_whole = Pace(), missing, on_whole
        self.unread(data)

    def chunk(self, size_hint: int | None = None) -> bytes:
        """The next bytes from the socket."""
        own_s, left_s, began = self.sock.gettimeout(), self._pace.left_s, time.monotonic()
        if left_s <= 0:
            raise RequestTimeout(TOO_SLOW)
        try:
            self.sock.settimeout(left_s if own_s is None else min(own_s, left_s))
            data = cast(bytes, super().chunk(size_hint))
        except TimeoutError:
            if own_s is not None and own_s <= left_s:
                raise
            raise RequestTimeout(TOO_SLOW) from None
        finally:
            self.sock.settimeout(own_s)
        self._pace.count(len(data), time.monotonic() - began)
        self._count(len(data))
        return data

    def _count(self, received: int) -> None:
        if self._missing is not None and self._missing > 0:
            self._missing -= received
            if self._missing <= 0:
                self._on_whole()


def prepare(conn: Any, incoming: Incoming, on_whole: Callable[[], None]) -> None:
    """Make a connection of gunicorn's ready for a thread: what has come in is the first that its parser reads."""
    conn.init()
    if not isinstance(conn.parser.unreader, PacedUnreader):
        conn.parser.unreader = PacedUnreader(conn.sock)
    conn.data_ready = True
    conn.parser.unreader.expect(bytes(incoming.data), incoming.missing, on_whole)
