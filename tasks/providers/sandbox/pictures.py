"""The images of a request: how many, how long, and whether they are such as a provider takes."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any

#: NVIDIA's samples assert that an inline image's base64 is shorter.
NIM_BASE64_BELOW = 180_000
INLINE = re.compile(r"data:image/(?:png|jpe?g|webp);base64,", re.IGNORECASE)
ASSET = re.compile(r"data:image/(?:png|jpe?g|webp);asset_id,([0-9a-f-]{36})")
#: How the bytes of the kinds begin.
STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The images of one request. `longest` is the base64 length of the longest inline one."""

    count: int
    longest: int
    assets: tuple[str, ...]
    is_broken: bool


def pictures_in(messages: list[Any]) -> Pictures:
    """All images in a conversation."""
    urls = list(_urls(messages))
    inline = [url.partition(",")[2] for url in urls if INLINE.match(url)]
    assets = tuple(found[1] for url in urls if (found := ASSET.fullmatch(url)))
    return Pictures(
        count=len(urls),
        longest=max(map(len, inline), default=0),
        assets=assets,
        is_broken=len(inline) + len(assets) < len(urls) or not all(map(_is_image, inline)),
    )


def _urls(messages: list[Any]) -> list[str]:
    found = []
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and part.get("type") == "image_url":
                said = part.get("image_url")
                found.append(str(said.get("url", "")) if isinstance(said, dict) else "")
    return found


def _is_image(text: str) -> bool:
    try:
        return base64.b64decode(text, validate=True).startswith(STARTS)
    except (binascii.Error, ValueError):
        return False
