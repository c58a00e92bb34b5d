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
        self._rest = bytearray()
        self.number: int | None = None

    def feed(self, data: bytes | bytearray) -> None:
        """Some more bytes."""
        self.number = self.number or 0
        first, *further = data.split(b"\n")
        # What is there of a line is not copied again with each piece of it.
        self._keep(first)
        for text in further:
            self._line(bytes(self._rest))
            self._rest.clear()
            self._keep(text)

    def close(self) -> int:
        """There are no more: the number of the last line."""
        if self._rest:
            self._line(bytes(self._rest))
        return self.number or 0

    def _keep(self, text: bytes | bytearray) -> None:
        # One byte more than may be is enough to refuse it.
        self._rest += text[: max(0, self._longest + 1 - len(self._rest))]

    def _line(self, text: bytes) -> None:
        self.number = (self.number or 0) + 1
        if text.strip():
            self._take(self.number, text.removesuffix(b"\r"))
