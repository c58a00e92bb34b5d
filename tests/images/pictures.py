"""Pictures made on the spot."""

from __future__ import annotations

import base64
import io
import random
from typing import Any

from PIL import Image

RED, BLUE = (200, 20, 20), (20, 20, 200)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def plain(colour: tuple[int, ...] = RED, size: tuple[int, int] = (40, 30), kind: str = "PNG", **options: Any) -> bytes:
    """One colour."""
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[len(colour)]
    return saved(Image.new(mode, size, colour), kind, **options)


def noise(size: tuple[int, int], kind: str = "PNG", seed: int = 0, **options: Any) -> bytes:
    """What no codec can make small."""
    data = random.Random(seed).randbytes(size[0] * size[1] * 3)
    return saved(Image.frombytes("RGB", size, data), kind, **options)


def halves(size: tuple[int, int], orientation: int, kind: str = "JPEG") -> bytes:
    """Red to the left, blue to the right, as stored; EXIF says how it was held, and by whom."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x013B] = "the-artist-who-stays-private"
    return saved(image, kind, exif=exif)


def data_url(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def asking(*urls: str, text: str = "What is this?") -> list[dict[str, Any]]:
    """A conversation about the images at these URLs."""
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [{"type": "text", "text": text}, *images]}]
