"""A batch of all sorts: items that are not valid, fail for ever, fail twice, show an image, or are answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.images.pictures import data_url, plain

#: Each model of the sandbox's has a circuit of its own, and these fail on purpose.
NO_CIRCUIT = {"TANDEM_CIRCUIT_FAILURES": "1000000"}
INVALID, FAILING, FLAKY, PICTURED = 50, 20, 10, 50


def items(count: int) -> Iterator[dict[str, Any]]:
    """2 % are not valid, 5 % fail for ever, 10 % fail twice, 2 % have an image."""
    image = data_url(plain())
    for n in range(count):
        item: dict[str, Any] = {"custom_id": f"item-{n}", "prompt": f"question {n}", "model": "sandbox/tokens-2"}
        if n % INVALID == 1:
            item["temperature"] = 99
        elif n % FAILING == 2:
            item["model"] = "sandbox/status-400"
        elif n % FLAKY == 3:
            item["model"] = "sandbox/times-2+status-503"
        elif n % PICTURED == 4:
            del item["prompt"]
            parts = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": image}}]
            item["messages"] = [{"role": "user", "content": parts}]
        yield item


def expected(count: int) -> dict[str, int]:
    """How they end."""
    invalid = sum(n % INVALID == 1 for n in range(count))
    failed = sum(n % FAILING == 2 and n % INVALID != 1 for n in range(count))
    rest = {"pending": 0, "cancelled": 0, "expired": 0}
    return {"completed": count - invalid - failed, "failed": failed, "invalid": invalid, **rest}
