"""Bytes that strangers call an image."""

from __future__ import annotations

import struct
import zlib

import pytest
from PIL import Image

from tasks.images import data_url, reading
from tasks.images.reading import UnreadableImage
from tests.images import pictures, slow
from tests.images.pictures import noise, plain, saved


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_image_is_read_whatever_it_is_called(kind: str) -> None:
    data = data_url.decoded(pictures.data_url(plain(kind=kind), "text/html"), most_bytes=10_000)
    found = reading.read(data)
    assert (found.width, found.height, found.format) == (40, 30, kind)


BROKEN: dict[str, bytes] = {
    "nothing": b"",
    "text": b"hello",
    "html": b"<html><img src=x></html>",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "a GIF": saved(Image.new("P", (4, 4)), "GIF"),
    "a BMP": saved(Image.new("RGB", (4, 4)), "BMP"),
    "a TIFF": saved(Image.new("RGB", (4, 4)), "TIFF"),
    "an ICO": saved(Image.new("RGB", (16, 16)), "ICO"),
    "a PDF": saved(Image.new("RGB", (4, 4)), "PDF"),
    "a JPEG's start": plain(kind="JPEG")[:20],
    "half a JPEG": noise((64, 64), "JPEG")[:-2000],
    "a JPEG without its end": noise((64, 64), "JPEG")[:-40],
    "half a PNG": noise((64, 64))[:6000],
    "half a WEBP": noise((64, 64), "WEBP")[:1000],
    "a PNG of a wrong sum": noise((64, 64)).replace(b"IDAT", b"IDAX", 1),
    "a PNG without pixels": png(4, 4),
    "a PNG of no width": png(0, 4, chunk(b"IDAT", zlib.compress(b""))),
    "a PNG of four billion rows": png(1, 2**31 - 1, chunk(b"IDAT", zlib.compress(b"\0" * 100))),
    "a bomb": png(30_000, 30_000, chunk(b"IDAT", zlib.compress(b"\0" * 10_000_000))),
    "a PNG just too large": png(5_000, 4_001, chunk(b"IDAT", zlib.compress(b"\0" * 1000))),
    "a WEBP just too large": plain(size=(4_000, 2_001), kind="WEBP"),
    "a JPEG of endless scans": plain(kind="JPEG")[:-2] + reading.SCAN * 200 + b"\xff\xd9",
    "a JPEG of many scans of a large picture": slow.jpeg_of_scans(30, (5000, 4000)),
    "a JPEG of many comments": slow.jpeg_of_segments(20_000),
    "a JPEG behind junk": b"\xff\xd8" + b"\xff\xfe\0\2" + bytes(100_000) + plain(kind="JPEG")[2:],
    "a PNG of many chunks": slow.png_of_chunks(20_000),
    "a PNG of many empty pieces": slow.png_of_empty_data(20_000),
    "a comment that is a bomb": png(4, 4, chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 100_000_000))),
}  # fmt: skip


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_read_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableImage) as refused:
        reading.read(data)
    assert len(str(refused.value)) < 100


def test_an_image_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_CPU_S", 0.02)
    with pytest.raises(UnreadableImage, match="too long"):
        reading.read(slow.png_of_profiles(300))


def test_an_image_in_as_many_pieces_as_encoders_make_is_read() -> None:
    assert reading.read(slow.png_of_chunks(5_000)).format == "PNG"
    assert reading.read(plain(size=(5_000, 4_000), kind="JPEG", progressive=True)).format == "JPEG"


def test_an_image_of_the_largest_size_is_read() -> None:
    assert reading.read(plain(size=(5_000, 4_000), kind="JPEG")).width == 5_000
    assert reading.read(plain(size=(4_000, 2_000), kind="WEBP")).width == 4_000


@pytest.mark.parametrize(
    "url",
    ["data:", "data:,", "data:image/png", "data:image/png,abc", "data:image/png;base64", "data:image/png;base64,*",
     "data:image/png;base64,abc", "data:;base64,\u00e9\u00e9\u00e9\u00e9", "data:image/png;charset=x,aaaa"],
)  # fmt: skip
def test_a_url_that_holds_no_base64_is_refused(url: str) -> None:
    with pytest.raises(UnreadableImage):
        reading.read(data_url.decoded(url, most_bytes=1000))


def test_a_url_of_too_much_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(UnreadableImage, match="larger than 1000 bytes"):
        data_url.decoded("data:image/png;base64," + "*" * 10_000, most_bytes=1000)


def test_line_breaks_in_base64_are_overlooked() -> None:
    url = pictures.data_url(plain())
    assert data_url.decoded(url[:60] + "\r\n" + url[60:], most_bytes=10_000) == plain()
