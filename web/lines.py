"""Lines out of bytes that come in pieces."""

from __future__ import annotations

from collections.abc import Callable

#: Told the number and the text of each item's line.
Taker = Callable[[int, bytes], None]


class Lines:
    """Hands every line that is not blank to `take`. Of one longer than `longest` only the beginning is kept: it is
    refused where it is read. `number` is that of the last line, None before the first byte."""

    def __init__(self, take: Taker, *, longest: int) -> None:
        self._take = take
        self._longest = longest
        self._rest = b""
        self.number: int | None = None

    def feed(self, data: bytes | bytearray) -> None:
        """Some more bytes."""
        self.number = self.number or 0
        *whole, self._rest = (self._rest + data).split(b"\n")
        for text in whole:
            self._line(text)
        # One byte more than may be is enough to refuse it.
        self._rest = self._rest[: self._longest + 1]

    def close(self) -> int:
        """There are no more: the number of the last line."""
        if self._rest:
            self._line(self._rest)
        return self.number or 0

    def _line(self, text: bytes) -> None:
        self.number = (self.number or 0) + 1
        if text.strip():
            self._take(self.number, text.removesuffix(b"\r"))
