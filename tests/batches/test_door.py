"""Reading batches: no more is read at once than is asked for, however large the results."""

from __future__ import annotations

import tracemalloc

from tasks.batches import door
from tasks.domain.batch import Batch, BatchStatus, item_id
from tasks.domain.job import Status
from tasks.store import keys
from tasks.store.listing import PAGE_BYTES
from tests.batches.finished import OWNER, finished, reads, sent_bytes
from tests.support.valkey import Valkey

BATCH = f"batch_{'0' * 32}"
ANSWER_BYTES = 100_000


def large(valkey: Valkey) -> Batch:
    """A batch of 300 long answers but for line 250, which failed."""
    finished(valkey, BATCH, ["completed"] * 249 + ["failed"] + ["completed"] * 50, answer_bytes=ANSWER_BYTES)
    return door.find(BATCH, OWNER)


def test_a_page_of_items_reads_as_many_as_it_has(valkey: Valkey) -> None:
    batch = large(valkey)
    before = sent_bytes(valkey)
    found, has_more = door.items(batch, status=None, limit=3, after=10)
    assert ([name for name, _ in found], has_more) == (["c11", "c12", "c13"], True)
    assert sent_bytes(valkey) - before < 5 * ANSWER_BYTES
    found, has_more = door.items(batch, status=None, limit=100, after=260)
    assert ([name for name, _ in found], has_more) == ([f"c{n}" for n in range(261, 301)], False)


def test_items_in_one_state_are_found_without_reading_the_others(valkey: Valkey) -> None:
    batch = large(valkey)
    before = sent_bytes(valkey)
    found, has_more = door.items(batch, status=Status.FAILED, limit=3, after=0)
    assert ([name for name, _ in found], has_more) == (["c250"], False)
    assert [name for name, _ in door.ended(BATCH, OWNER, failed=True)] == ["c250"]
    assert sent_bytes(valkey) - before < ANSWER_BYTES


def test_results_are_read_few_at_a_time(valkey: Valkey) -> None:
    large(valkey)
    tracemalloc.start()
    try:
        read = sum(1 for _ in door.ended(BATCH, OWNER, failed=False))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read == 299
    assert peak < 100 * ANSWER_BYTES, "hundreds at once"


def test_a_page_of_batches_with_large_answers_is_shorter(valkey: Valkey) -> None:
    """Read page by page, each is there once, and none brings more than a page may."""
    ids = [f"batch_{n:032}" for n in range(6)]
    for batch_id in ids:
        finished(valkey, batch_id, ["completed"], answer_bytes=PAGE_BYTES // 2, on_complete={"prompt": ""})
        valkey.client.hset(keys.batch(batch_id), "last_job", item_id(batch_id, 1))
    seen: list[str] = []
    more = True
    while more:
        before = sent_bytes(valkey)
        found, more = door.page(OWNER, status=None, limit=50, after=seen[-1] if seen else None)
        assert sent_bytes(valkey) - before < 1.2 * PAGE_BYTES
        seen += [one.id for one in found]
    assert seen == ids[::-1]


def test_a_page_of_batches_takes_few_round_trips(valkey: Valkey) -> None:
    for n in range(60):
        finished(valkey, f"batch_{n:032}", ["completed"] * 3, answer_bytes=1, on_complete={"prompt": ""})
        valkey.client.hset(keys.batch(f"batch_{n:032}"), "last_job", f"job_{n:032}-1")
    valkey.client.hset(keys.batch(f"batch_{7:032}"), "status", "failed")
    before = reads(valkey)
    found, has_more = door.page(OWNER, status=None, limit=50, after=None)
    assert ([one.id for one in found], has_more) == ([f"batch_{n:032}" for n in range(59, 9, -1)], True)
    assert all(one.on_complete is not None and one.on_complete["job"].id.endswith("-1") for one in found)
    assert reads(valkey) - before < 20
    before = sent_bytes(valkey)
    found, has_more = door.page(OWNER, status=None, limit=1, after=found[0].id)
    assert ([one.id for one in found], has_more) == ([f"batch_{58:032}"], True)
    found, has_more = door.page(OWNER, status=BatchStatus.FAILED, limit=5, after=None)
    assert ([one.id for one in found], has_more) == ([f"batch_{7:032}"], False)
    assert sent_bytes(valkey) - before < 12_000, "all records were read"
