"""`data:` URLs: the bytes of an image in a request."""

from __future__ import annotations

import base64
import binascii

from tasks.images.reading import UnreadableImage

SCHEME = "data:"
#: Line breaks are what encoders put in; nothing else is overlooked.
WHITESPACE = str.maketrans("", "", "\r\n\t ")


def decoded(url: str, *, most_bytes: int) -> bytes:
    """The bytes in a base64 data: URL; the media type it names is not believed. Raises UnreadableImage."""
    head, comma, text = url[len(SCHEME) :].partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise UnreadableImage("the data: URL is not in base64")
    # Before anything is copied. Four characters hold three bytes.
    if len(text) > most_bytes // 3 * 4 + 1024:
        raise UnreadableImage(f"the image is larger than {most_bytes} bytes")
    try:
        data = base64.b64decode(text.translate(WHITESPACE), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnreadableImage("the data: URL is not valid base64") from error
    if len(data) > most_bytes:
        raise UnreadableImage(f"the image is larger than {most_bytes} bytes")
    return data


def encoded(data: bytes, media_type: str) -> str:
    """The data: URL of `data`."""
    return f"{SCHEME}{media_type};base64,{base64.b64encode(data).decode()}"
