"""What clients find of their jobs: one per key, in a list, and word of the end."""

from __future__ import annotations

import threading
import time

import pytest

from tasks.domain.errors import IdempotencyMismatch, JobNotFound
from tasks.domain.job import Status
from tasks.store import events, keys
from tasks.store.jobs import Jobs
from tests.store.hand import accept, claim


def test_one_key_makes_one_job_and_another_payload_is_refused(store: Jobs) -> None:
    first = accept(store, key="k")
    assert accept(store, key="k") == first
    with pytest.raises(IdempotencyMismatch):
        accept(store, key="k", fingerprint="other")
    store.erase(first, "o")
    assert accept(store, key="k") != first, "a key whose job was erased is free again"


def test_a_list_skips_what_has_expired_and_goes_on_behind_a_job(store: Jobs) -> None:
    ids = [accept(store) for _ in range(5)][::-1]
    store.redis.delete(keys.job(ids[1]))
    page, more = store.page("o", status=None, model=None, limit=2, after=None)
    assert ([job.id for job in page], more) == ([ids[0], ids[2]], True)
    page, more = store.page("o", status=Status.PENDING, model="default", limit=2, after=ids[2])
    assert ([job.id for job in page], more) == ([ids[3], ids[4]], False)
    with pytest.raises(JobNotFound):
        store.page("o", status=None, model=None, limit=2, after="job_unknown")
    assert store.page("o", status=Status.FAILED, model=None, limit=2, after=None) == ([], False)
    assert store.redis.zcard(keys.owner_jobs("o")) == 4


def test_whoever_waits_is_woken_by_the_end(store: Jobs) -> None:
    job_id = accept(store)
    held = claim(store, job_id, "w")
    waiters = events.Waiters(store.redis)
    threading.Timer(0.2, lambda: store.settle(held, Status.COMPLETED, outcome="completed")).start()
    begun = time.monotonic()
    try:
        assert waiters.wait(job_id, lambda: store.redis.hget(keys.job(job_id), "status") == "completed", 5)
        assert time.monotonic() - begun < 2
        assert not waiters.wait("job_none", lambda: False, 0.05)
    finally:
        waiters.stop()
