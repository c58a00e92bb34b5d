"""The real OpenAI SDK as a client of this service."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from openai import OpenAI
from openai.types import Batch, FileObject

from tests.support.batch import FINAL
from tests.support.polling import until

CHAT: Final = "/v1/chat/completions"
EMBEDDINGS: Final = "/v1/embeddings"


def connected(url: str, key: str = "none") -> OpenAI:
    """A client that tries nothing twice."""
    return OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=60)


def request(custom_id: str, url: str = CHAT, **body: Any) -> dict[str, Any]:
    """A line of an input file."""
    if url == CHAT:
        body = {"messages": [{"role": "user", "content": f"question {custom_id}"}], **body}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def chats(count: int, **body: Any) -> list[dict[str, Any]]:
    return [request(f"c-{n}", **body) for n in range(count)]


def upload(client: OpenAI, lines: Iterable[Mapping[str, Any]] | bytes, name: str = "in.jsonl") -> FileObject:
    """Upload an input file."""
    raw = lines if isinstance(lines, bytes) else b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    held = io.BytesIO(raw)
    held.name = name
    return client.files.create(file=held, purpose="batch")


def begin(
    client: OpenAI, lines: Iterable[Mapping[str, Any]] | bytes, endpoint: str = CHAT, window: str = "24h", **more: Any
) -> Batch:
    """Upload a file and make a batch of it."""
    file_id = upload(client, lines).id
    options: dict[str, Any] = {"endpoint": endpoint, "completion_window": window, **more}
    return client.batches.create(input_file_id=file_id, **options)


def ended(client: OpenAI, batch_id: str, *, within_s: float = 60) -> Batch:
    """The batch once it is over."""
    until(
        lambda: client.batches.retrieve(batch_id).status in FINAL,
        within_s=within_s,
        every_s=0.1,
        what="the batch's end",
    )
    return client.batches.retrieve(batch_id)


def read(client: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    """The lines of a file."""
    assert file_id is not None
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]
