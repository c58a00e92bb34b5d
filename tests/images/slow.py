"""Images that are right, and made so that looking at them takes long."""

from __future__ import annotations

import struct
import zlib

from PIL import Image

from tests.images.pictures import plain, saved

SOI, SOS, COMMENT = b"\xff\xd8", b"\xff\xda", b"\xff\xfe\x00\x02"
#: Behind a PNG's signature and its header.
BODY = 8 + 25


def chunk(name: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of_chunks(count: int) -> bytes:
    """Chunks that nobody knows, before its pixels."""
    return _before_its_pixels(chunk(b"teSt") * count)


def png_of_empty_data(count: int) -> bytes:
    """Its pixels begin behind so many pieces without any."""
    return _before_its_pixels(chunk(b"IDAT") * count)


def png_of_profiles(count: int) -> bytes:
    """Colour profiles of a megabyte, small as they are sent."""
    return _before_its_pixels(chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1_000_000))) * count)


def _before_its_pixels(more: bytes) -> bytes:
    whole = plain()
    return whole[:BODY] + more + whole[BODY:]


def jpeg_of_segments(count: int) -> bytes:
    """Comments without a word."""
    return SOI + COMMENT * count + plain(kind="JPEG")[2:]


def jpeg_of_scans(count: int, size: tuple[int, int] = (2000, 1000)) -> bytes:
    """So many more scans of one colour: some hundred bytes each, and each goes over the whole picture."""
    whole = saved(Image.new("L", size, 128), "JPEG", progressive=True)
    *_, last = whole[:-2].split(SOS)
    return whole[:-2] + (SOS + last) * count + whole[-2:]
