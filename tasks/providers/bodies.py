"""The body of an answer, read piece by piece: never more of it than it may have, packed or unpacked."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from tasks.domain.provider_errors import ConnectionLost, InvalidResponse, UnusableAnswer

if TYPE_CHECKING:
    from urllib3.response import HTTPResponse

CHUNK_BYTES = 64 * 1024
#: zlib's word for "gzip or zlib, whichever it is".
EITHER = 47
PACKED = frozenset({"gzip", "x-gzip", "deflate"})


def read(response: HTTPResponse, *, most_bytes: int) -> bytes:
    """The whole body, of `most_bytes` at the most. It is packed only where a proxy does that unasked.

    Raises UnusableAnswer when it is longer, InvalidResponse when it is packed in another way, ConnectionLost when what
    is packed breaks off,
    and urllib3's errors. What was not read is left in the connection: the caller closes it.
    """
    packing = response.headers.get("Content-Encoding", "identity").strip().lower()
    unpacked = _Unpacked(most_bytes) if packing in PACKED else None
    if unpacked is None and packing not in ("", "identity"):
        raise InvalidResponse("the answer is compressed, in a way that was not asked for")
    if unpacked is None and (response.length_remaining or 0) > most_bytes:
        raise too_long(most_bytes)
    found = bytearray()
    take: Callable[[bytes], bytes] = unpacked.take if unpacked else bytes
    while piece := response.read(CHUNK_BYTES, decode_content=False):
        found += take(piece)
        if len(found) > most_bytes:
            raise too_long(most_bytes)
    if unpacked and not unpacked.is_whole:
        raise ConnectionLost("the compressed answer broke off")
    return bytes(found)


def too_long(most_bytes: int) -> UnusableAnswer:
    """The error of an answer that is longer."""
    return UnusableAnswer(f"the answer is longer than {most_bytes} bytes (TANDEM_ANSWER_MAX_BYTES)")


class _Unpacked:
    """Unpacks gzip and deflate, a byte more than may come at the most: a megabyte of zeros packs into a kilobyte."""

    def __init__(self, most_bytes: int) -> None:
        self._left = most_bytes + 1
        self._unpacker = zlib.decompressobj(wbits=EITHER)

    def take(self, piece: bytes) -> bytes:
        try:
            found = self._unpacker.decompress(piece, self._left)
        except zlib.error as error:
            raise InvalidResponse("the compressed answer cannot be unpacked") from error
        self._left -= len(found)
        return found

    @property
    def is_whole(self) -> bool:
        return self._unpacker.eof
