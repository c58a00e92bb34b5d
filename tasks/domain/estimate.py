"""How much a request will take, roughly: tokens of a budget per minute, and room for its answer."""

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
#: UTF-8 bytes of a token that a model writes, and of the answer of a model that may write as much as it likes: some
#: 500 tokens, and as much again of thoughts.
BYTES_WRITTEN, ANSWER_BYTES = 4, 4000
#: JSON of one number of a vector, -0.018310546875 or 0.0183105; of how many numbers one is where nobody knows.
NUMBER_BYTES, DIMENSIONS = 20, 1024
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


def answer_bytes(request: Mapping[str, Any], *, most: int, dimensions: int | None = None) -> int:
    """Bytes that the answer will take as JSON, `most` at the most; `dimensions` are those of the model's vectors."""
    if "input" in request:
        numbers = len(request["input"]) * (request.get("dimensions") or dimensions or DIMENSIONS)
        return min(most, numbers * NUMBER_BYTES)
    tokens = int(request.get("max_tokens") or 0)
    return min(most, tokens * BYTES_WRITTEN if tokens else ANSWER_BYTES)


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
