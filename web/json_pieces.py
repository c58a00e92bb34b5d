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
QUOTE = ord('"')
CLOSING = {ord("{"): ord("}"), ord("["): ord("]")}
BLANK = re.compile(rb"[ \t\r\n]*")
#: Where a value goes deeper, comes back, or may hide brackets in a string.
TURN = re.compile(rb'["{}\[\]]')
#: What a string has before its end, and what belongs to a number or a word: as much of it as is there. Never given back
#: (*+), for that takes memory for each character.
IN_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
IN_SCALAR = re.compile(rb'[^\s,:\]}{\["]*+')


class Pieces:
    """A body that is read as it comes, each byte looked at once. Every method raises BadRequest for what is no JSON or
    ends too soon, and RequestEntityTooLarge for a value of more than `longest` bytes."""

    def __init__(self, stream: Source, *, longest: int) -> None:
        self._stream = stream
        self._longest = longest
        self._held = bytearray()
        self._at = 0

    def names(self) -> Iterator[bytes]:
        """The keys of the object that comes next, as they stand. Each one's value is to be read before the next key."""
        yield from self._between(b"{", b"}", colon=True)

    def values(self) -> Iterator[bytes]:
        """The values of the list that comes next, as they stand."""
        yield from self._between(b"[", b"]", colon=False)

    def value(self) -> bytes:
        """The value that comes next, as it stands."""
        first = self.peek()
        # Gone before, so that places in what is held stay what they are while more is read.
        del self._held[: self._at]
        self._at = 0
        match first:
            case b'"':
                end = self._string_end(0)
            case b"{" | b"[":
                end = self._nested_end()
            case _:
                end = self._scalar_end()
        self._at = end
        with memoryview(self._held) as held:
            return held[:end].tobytes()

    def peek(self) -> bytes:
        """The next byte that is not blank; b"" at the end."""
        while True:
            blank = BLANK.match(self._held, self._at)
            self._at = blank.end() if blank else self._at
            if self._at < len(self._held):
                return bytes(self._held[self._at : self._at + 1])
            self._held.clear()
            self._at = 0
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
        awaited, at = bytearray(), 0  # a byte a level: strangers may nest as deep as a value is long
        while True:
            at = self._find_turn(at)
            turn = self._held[at]
            if turn == QUOTE:
                at = self._string_end(at)
                continue
            if turn in CLOSING:
                awaited.append(CLOSING[turn])
            elif awaited.pop() != turn:
                raise BadRequest(NO_JSON)
            at += 1
            if not awaited:
                return at

    def _find_turn(self, at: int) -> int:
        while (turn := TURN.search(self._held, at)) is None:
            at = len(self._held)
            self._need_more()
        return turn.start()

    def _string_end(self, at: int) -> int:
        """Where the string that begins at `at` is over. Goes on where it was when there is more of it."""
        at += 1
        while True:
            at = _behind(IN_STRING, self._held, at)
            if at < len(self._held) and self._held[at] == QUOTE:
                return at + 1
            self._need_more()

    def _scalar_end(self) -> int:
        at = 0
        while (at := _behind(IN_SCALAR, self._held, at)) == len(self._held):
            self._need_more()
        if not at:
            raise BadRequest(NO_JSON)
        return at

    def _need_more(self) -> None:
        if not self._more():
            raise BadRequest(NO_JSON)
        if len(self._held) > self._longest + READ_BYTES:
            raise RequestEntityTooLarge("a value of the body is too long")

    def _more(self) -> bool:
        data = self._stream.read(READ_BYTES)
        self._held += data
        return bool(data)


def _behind(what: re.Pattern[bytes], held: bytearray, at: int) -> int:
    found = what.match(held, at)
    assert found is not None  # it may be empty
    return found.end()
