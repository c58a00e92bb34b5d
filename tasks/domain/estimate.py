"""How many tokens a request will take, roughly: what a budget of tokens per minute is asked for beforehand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

#: UTF-8 bytes per token. English has about four, code and other alphabets about three, a Chinese character is three
#: bytes and about one token: rather too many tokens than too few, for the budget is settled with the real usage.
BYTES_PER_TOKEN = 3
#: What a chat template puts around a message.
MESSAGE_TOKENS = 4
#: An image's cost, about what small vision models count for one tile.
IMAGE_TOKENS = 85
#: The parts of a request that the model reads.
READ = ("messages", "input", "tools", "response_format")
#: Not among the texts: an image has its own price, and names of roles and kinds are part of a message's.
UNREAD = frozenset({"image_url", "role", "type"})


def prompt_tokens(request: Mapping[str, Any]) -> int:
    """Tokens of what the model is given, estimated from the request's JSON values."""
    size_bytes = sum(len(text.encode()) for name in READ for text in _texts(request.get(name)))
    messages = request.get("messages") or ()
    images = sum(_images(message.get("content")) for message in messages)
    return math.ceil(size_bytes / BYTES_PER_TOKEN) + MESSAGE_TOKENS * len(messages) + IMAGE_TOKENS * images


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            if name not in UNREAD:
                yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)


def _images(content: Any) -> int:
    return sum("image_url" in part for part in content) if isinstance(content, list) else 0
