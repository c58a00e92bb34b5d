"""Images that take as much memory as any that is let through, and some that would take more."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

from PIL import Image

from tests.images.pictures import noise, saved

#: What one image may take at its peak, in whatever process looks at it.
MOST_BYTES = 256 * 1024 * 1024


def blank(mode: str, size: tuple[int, int], kind: str = "PNG", **options: Any) -> bytes:
    return saved(Image.new(mode, size), kind, **options)


def gigapixels() -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", 2**30, 2**30, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


HEAVY: dict[str, tuple[Callable[[], bytes], str]] = {
    "a PNG with transparency": (lambda: blank("RGBA", (5000, 4000)), "read"),
    "a PNG of a palette": (lambda: blank("P", (5000, 4000), transparency=0), "read"),
    "a PNG of sixteen bits": (lambda: blank("I;16", (5000, 4000)), "read"),
    "a JPEG": (lambda: blank("RGB", (5000, 4000), "JPEG"), "read"),
    "a progressive JPEG": (lambda: blank("RGB", (5000, 4000), "JPEG", progressive=True, subsampling=0), "read"),
    "a JPEG of four inks": (lambda: blank("CMYK", (5000, 4000), "JPEG", progressive=True), "read"),
    "a WEBP": (lambda: blank("RGBA", (4000, 2000), "WEBP", lossless=True), "read"),
    "eight megabytes": (lambda: noise((1650, 1650)), "read"),
    "a PNG of gigapixels": (gigapixels, "refused"),
    "a PNG bomb": (lambda: blank("1", (30_000, 30_000)), "refused"),
    "a WEBP too large": (lambda: blank("RGB", (8_000, 8_000), "WEBP", lossless=True, method=0), "refused"),
}
