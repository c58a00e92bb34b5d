"""A JSON body in pieces: where its values begin and end, without looking into them.

The parsers that stream (ijson's, by yajl) crash the process on numbers of thousands of digits; and who reads the items
wants them as they were sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from web.source import Source

NO_JSON = "the body is not JSON, or ends too soon"
READ_BYTES = 256 * 1024
BLANK = re.compile(rb"[ \t\r\n]*")
#: Where a value goes deeper, comes back, or may hide brackets in a string.
TURN = re.compile(rb'["{}\[\]]')
STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
#: A number or a word, and what may follow it.
SCALAR = re.compile(rb'[^\s,:\]}{\["]+(?=[\s,:\]}{\["])')


class Pieces:
    """A body that is read as it comes. Every method raises BadRequest for what is no JSON or ends too soon, and
    RequestEntityTooLarge for a value of more than `longest` bytes."""

    def __init__(self, stream: Source, *, longest: int) -> None:
        self._stream = stream
        self._longest = longest
        self._held = b""
        self._at = 0

    def names(self) -> Iterator[bytes]:
        """The keys of the object that comes next, as they stand. Each one's value is to be read before the next key."""
        yield from self._between(b"{", b"}", colon=True)

    def values(self) -> Iterator[bytes]:
        """The values of the list that comes next, as they stand."""
        yield from self._between(b"[", b"]", colon=False)

    def value(self) -> bytes:
        """The value that comes next, as it stands."""
        match self.peek():
            case b'"':
                end = self._match(STRING, self._at)
            case b"{" | b"[":
                end = self._nested_end()
            case _:
                end = self._match(SCALAR, self._at)
        found, self._at = self._held[self._at : end], end
        return found

    def peek(self) -> bytes:
        """The next byte that is not blank; b"" at the end."""
        while True:
            blank = BLANK.match(self._held, self._at)
            self._at = blank.end() if blank else self._at
            if self._at < len(self._held):
                return self._held[self._at : self._at + 1]
            self._held, self._at = b"", 0
            if not self._more():
                return b""

    def take(self, wanted: bytes) -> None:
        """Go past the byte that must come next."""
        if self.peek() != wanted:
            raise BadRequest(NO_JSON)
        self._at += 1

    def _between(self, first: bytes, last: bytes, *, colon: bool) -> Iterator[bytes]:
        self.take(first)
        if self.peek() == last:
            return self.take(last)
        while True:
            found = self.value()
            if colon:
                self.take(b":")
            yield found
            if self.peek() == last:
                return self.take(last)
            self.take(b",")

    def _nested_end(self) -> int:
        self._held, self._at = self._held[self._at :], 0
        awaited, at = bytearray(), 0  # a byte a level: strangers may nest as deep as a value is long
        while True:
            at = self._find_turn(at)
            turn = self._held[at : at + 1]
            if turn == b'"':
                at = self._match(STRING, at)
                continue
            if turn in b"{[":
                awaited += b"}" if turn == b"{" else b"]"
            elif awaited.pop() != turn[0]:
                raise BadRequest(NO_JSON)
            at += 1
            if not awaited:
                return at

    def _find_turn(self, at: int) -> int:
        while (turn := TURN.search(self._held, at)) is None:
            at = len(self._held)
            self._need_more()
        return turn.start()

    def _match(self, what: re.Pattern[bytes], at: int) -> int:
        while (found := what.match(self._held, at)) is None:
            self._need_more()
        return found.end()

    def _need_more(self) -> None:
        if not self._more():
            raise BadRequest(NO_JSON)
        if len(self._held) - self._at > self._longest + READ_BYTES:
            raise RequestEntityTooLarge("a value of the body is too long")

    def _more(self) -> bool:
        data = self._stream.read(READ_BYTES)
        self._held += data
        return bool(data)
