"""Records of another version, and damaged ones, among workers that are running."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from tasks import publish
from tasks.store import keys
from tasks.store.jobs import Jobs
from tasks.store.message import Message
from tasks.store.new_job import NewJob
from tests.support.polling import until
from tests.support.service import Service


def accept(service: Service, **fields: str) -> str:
    """A job as no web of this version would write it."""
    record = {"owner": "o", "kind": "chat", "mode": "api", "model": "default", "metadata": "{}", "queue": "api.sandbox",
              "request": "{}", "priority": "0", "target": "", "max_tries": "5", **fields}  # fmt: skip
    job_id = f"job_{secrets.token_hex(16)}"
    message = publish.encode(Message(job_id=job_id, epoch=0, queue="api.sandbox", priority=0))
    new = NewJob(job_id=job_id, owner=record["owner"], idempotency_key=None, fingerprint="f", expires_in_s=600,
                 list_age_s=600, fields=record, message=message)  # fmt: skip
    return Jobs(service.valkey.client, ttl_s=600).accept(new).job_id


@pytest.mark.parametrize(
    ("damage", "why"), [({"kind": "hologram"}, "its kind is"), ({"request": "{"}, "its request is not JSON")]
)
def test_a_job_that_the_worker_cannot_read_fails_at_once_and_says_why(
    service: Service, damage: dict[str, Any], why: str
) -> None:
    job_id = accept(service, **damage)
    redis = service.valkey.client
    until(lambda: redis.hget(keys.job(job_id), "status") == "failed", within_s=20)
    error = redis.hmget(keys.job(job_id), "error_code", "error_message", "tries")
    assert (error[0], error[2]) == ("internal_error", "0")
    assert why in str(error[1])


def test_what_a_newer_version_wrote_waits_for_its_worker_and_can_be_read_and_cancelled(service: Service) -> None:
    job_id = accept(service, owner="public", version="2", kind="hologram")
    redis = service.valkey.client
    until(lambda: int(str(redis.hget(keys.job(job_id), "epoch"))) >= 2, within_s=20, what="put back more than once")
    assert redis.hmget(keys.job(job_id), "tries", "attempts") == ["0", None]
    job = service.job(job_id)
    assert (job["status"], job["kind"], job["attempts"]) == ("pending", "hologram", [])
    assert service.http.post(f"{service.url}/jobs/{job_id}/cancel", timeout=5).json()["status"] == "cancelled"
