"""An owner's list, page by page, while others write."""

from __future__ import annotations

import json
import time
import tracemalloc

import pytest

from tasks.domain.job import LONGEST_EXPIRES_IN_S, Status
from tasks.store import keys, listing
from tasks.store.jobs import Jobs
from tests.store.hand import accept, claim
from tests.support.valkey import Valkey


def listed(store: Jobs, status: Status | None, limit: int = 100) -> list[str]:
    """All ids of a list, page by page."""
    seen: list[str] = []
    more = True
    while more:
        page, more = store.page("o", status=status, model=None, limit=limit, after=seen[-1] if seen else None)
        seen += [job.id for job in page]
    return seen


def commands(store: Jobs) -> int:
    return int(store.redis.info("stats")["total_commands_processed"])


def test_a_page_of_few_costs_the_same_however_many_jobs_stand_otherwise(store: Jobs) -> None:
    failed = [accept(store, sent=False) for _ in range(3)]
    for job_id in failed:
        store.settle(claim(store, job_id, "w"), Status.FAILED, outcome="failed")
    spent = []
    for others in (0, 1200):
        for _ in range(others):
            accept(store, sent=False)
        store.page("o", status=Status.FAILED, model=None, limit=5, after=None)  # the first compares lists and records
        before = commands(store)
        page, more = store.page("o", status=Status.FAILED, model=None, limit=5, after=None)
        spent.append(commands(store) - before)
        assert ([job.id for job in page], more) == (failed[::-1], False)
    assert spent[1] <= spent[0] + 5


def test_results_are_read_only_of_the_page(store: Jobs) -> None:
    for _ in range(30):
        store.settle(claim(store, accept(store), "w"), Status.COMPLETED, outcome="completed",
                     fields={"result": json.dumps({"content": "x" * 100_000})})  # fmt: skip
    tracemalloc.start()
    try:
        for status in (None, Status.COMPLETED):
            assert len(store.page("o", status=status, model=None, limit=1, after=None)[0]) == 1
        assert store.page("o", status=None, model="another", limit=1, after=None) == ([], False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_a_page_of_large_results_is_shorter_and_leaves_none_out(store: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PAGE_BYTES", 1000)
    ids = []
    for size in (10, 2000, 400, 400, 400):
        ids.append(accept(store))
        store.settle(claim(store, ids[-1], "w"), Status.COMPLETED, outcome="completed",
                     fields={"result": json.dumps({"content": "x" * size})})  # fmt: skip
    page, more = store.page("o", status=None, model=None, limit=5, after=None)
    assert ([job.id for job in page], more) == (ids[:2:-1], True)
    assert listed(store, None) == listed(store, Status.COMPLETED) == ids[::-1]


def test_what_a_version_without_these_lists_left_is_listed(store: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [accept(store, sent=False) for _ in range(1300)]
    failed, completed = ids[::2], ids[1::4]
    pipe = store.redis.pipeline()
    for job_id in failed:
        pipe.hset(keys.job(job_id), mapping={"status": "failed", "phase": ""})
    for job_id in completed:
        pipe.hset(keys.job(job_id), mapping={"status": "completed", "phase": ""})
    pipe.delete(keys.owner_jobs_in("o", "open"))
    pipe.execute()
    waiting = [job_id for job_id in ids if job_id not in {*failed, *completed}]
    assert listed(store, Status.FAILED) == failed[::-1]
    assert listed(store, Status.COMPLETED) == completed[::-1]
    assert listed(store, Status.PENDING) == waiting[::-1]
    # A worker of that version ends a job of ours, and a web process of it accepts one.
    store.redis.hset(keys.job(waiting[0]), mapping={"status": "failed", "phase": ""})
    late = accept(store, sent=False)
    store.redis.zrem(keys.owner_jobs_in("o", "open"), late)
    monkeypatch.setattr(listing, "AUDIT_MS", 0)
    # Each look compares now, and one is enough.
    monkeypatch.setattr(listing, "LOOKED_AT", 10_000)
    assert waiting[0] in {
        job.id for job in store.page("o", status=Status.FAILED, model=None, limit=2000, after=None)[0]
    }
    assert late in {job.id for job in store.page("o", status=Status.PENDING, model=None, limit=2000, after=None)[0]}
    assert store.redis.zscore(keys.owner_jobs_in("o", "pending"), waiting[0]) is None


def test_the_list_of_what_ended_lapses_with_the_last_of_it(store: Jobs) -> None:
    store.cancel(accept(store), "o")
    kept = keys.owner_jobs_in("o", "cancelled")
    assert 0 < int(str(store.redis.ttl(kept))) <= LONGEST_EXPIRES_IN_S + 60
    old = (time.time() - LONGEST_EXPIRES_IN_S - 61) * 1e6
    store.redis.zadd(kept, {"job_old": old})
    store.cancel(accept(store), "o")
    assert store.redis.zscore(kept, "job_old") is None


def test_each_job_is_seen_once_though_others_come_and_go_between_two_pages(valkey: Valkey) -> None:
    store = Jobs(valkey.client, ttl_s=60)
    there = [accept(store) for _ in range(450)]
    seen: list[str] = []
    more = True
    while more:
        page, more = store.page("o", status=None, model=None, limit=100, after=seen[-1] if seen else None)
        seen += [job.id for job in page]
        accept(store)
        valkey.client.delete(keys.job(there[len(there) // 2]))
    gone = there[len(there) // 2]
    assert seen == [one for one in reversed(there) if one in seen]
    assert set(there) - set(seen) <= {gone}
