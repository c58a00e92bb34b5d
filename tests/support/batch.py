"""A client of batches."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import requests

from tests.support.polling import until
from tests.support.service import Service

LINES = {"Content-Type": "application/x-ndjson"}
#: The options of a record as a submission without any writes them.
OPTIONS: Mapping[str, Any] = {
    "defaults": {}, "on_invalid": "skip", "stop_after": None, "max_tries": None, "on_complete": None,
}  # fmt: skip
FINAL = ("completed", "failed", "cancelled", "expired")


def ndjson(items: Iterable[Mapping[str, Any]]) -> bytes:
    """Items as lines."""
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


def upload(service: Service, body: bytes, **options: Any) -> requests.Response:
    """POST lines."""
    query = {name: value if isinstance(value, str) else json.dumps(value) for name, value in options.items()}
    return service.http.post(f"{service.url}/batches", params=query, data=body, headers=LINES, timeout=60)


def submit(service: Service, items: Iterable[Mapping[str, Any]], **options: Any) -> str:
    """POST a batch that must be accepted; its id."""
    answer = upload(service, ndjson(items), **options)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def get(service: Service, batch_id: str) -> dict[str, Any]:
    """GET a batch, whose counts must add up."""
    answer = service.http.get(f"{service.url}/batches/{batch_id}", timeout=10)
    assert answer.status_code == 200, answer.text
    batch = dict(answer.json())
    assert sum(batch["counts"].values()) == batch["total"]
    assert min(batch["counts"].values()) >= 0
    return batch


def ended(service: Service, batch_id: str, *, within_s: float = 60) -> dict[str, Any]:
    """The batch once it is over."""
    until(lambda: get(service, batch_id)["status"] in FINAL, within_s=within_s, every_s=0.1, what="the batch's end")
    return get(service, batch_id)


def status(service: Service, batch_id: str) -> str | None:
    """Its state, read from its record: nobody else has any work of it."""
    found = service.valkey.client.hget(f"tandem:batch:{batch_id}", "status")
    return None if found is None else str(found)


def completed(service: Service, batch_id: str, *, within_s: float, every_s: float) -> None:
    """Wait until a batch is completed, without asking the service."""
    until(lambda: status(service, batch_id) == "completed", within_s=within_s, every_s=every_s, what="the batch's end")


def act(service: Service, batch_id: str, what: str) -> requests.Response:
    """POST to one of its actions."""
    return service.http.post(f"{service.url}/batches/{batch_id}/{what}", timeout=10)


def read(service: Service, batch_id: str, what: str) -> list[dict[str, Any]]:
    """The lines of its results or errors."""
    answer = service.http.get(f"{service.url}/batches/{batch_id}/{what}", timeout=60)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]
