"""A client's and a worker's hand: a job that is accepted, and one that is claimed."""

from __future__ import annotations

import secrets

from tasks.store import keys
from tasks.store.answers import Question
from tasks.store.claim import Claim, Taker
from tasks.store.jobs import Jobs, NewJob

LEASE_S = 2.0
SERVINGS = [("api", "upstream", "model")]


def accept(
    store: Jobs,
    *,
    key: str | None = None,
    fingerprint: str = "f",
    sent: bool = True,
    more: dict[str, str] | None = None,
    question: Question | None = None,
) -> str:
    record = {"owner": "o", "kind": "chat", "mode": "auto", "model": "default", "request": "{}", "metadata": "{}",
              "queue": "api", "priority": "0", "target": "", "max_tries": "5", **(more or {})}  # fmt: skip
    new = NewJob(job_id=f"job_{secrets.token_hex(8)}", owner="o", idempotency_key=key,
                 fingerprint=fingerprint, expires_in_s=60, list_age_s=60, fields=record, question=question)  # fmt: skip
    job_id = store.accept(new).job_id
    if sent:
        store.redis.lpush("api", job_id)
    return job_id


def claim(store: Jobs, job_id: str, worker: str) -> Claim:
    store.redis.rpop("api")
    epoch = int(str(store.redis.hget(keys.job(job_id), "epoch")))
    got = store.take(job_id, epoch, Taker(worker=worker, lease_s=LEASE_S, may_isolate=True, servings=SERVINGS)).claim
    assert got is not None
    return got
