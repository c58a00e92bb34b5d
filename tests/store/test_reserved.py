"""Room for answers to come: kept while a job is unfinished, and never for nobody."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tasks.domain.errors import NoRoom
from tasks.domain.job import Status
from tasks.store import keys
from tasks.store.capacity import Capacity
from tasks.store.due import Due
from tasks.store.jobs import Jobs
from tests.store.hand import LEASE_S, accept, claim
from tests.support.polling import until
from tests.support.valkey import Valkey


def kept(store: Jobs) -> int:
    return int(str(store.redis.get(keys.RESERVED_BYTES) or 0))


def settle(store: Jobs, job_id: str) -> None:
    mine = claim(store, job_id, "w")
    for _ in range(2):
        store.settle(mine, Status.COMPLETED, outcome="completed", fields={"result": "1"})


def cancel(store: Jobs, job_id: str) -> None:
    for _ in range(2):
        store.cancel(job_id, "o")


def erase(store: Jobs, job_id: str) -> None:
    for _ in range(2):
        store.erase(job_id, "o")


@pytest.mark.parametrize("end", [settle, cancel, erase])
def test_room_is_kept_until_a_job_ends(store: Jobs, end: Callable[[Jobs, str], None]) -> None:
    one, other = (accept(store, more={"answer_bytes": size}) for size in ("300", "70"))
    assert kept(store) == 370
    end(store, one)
    erase(store, one)
    assert kept(store) == 70
    assert store.redis.hgetall(keys.RESERVED) == {other: "70"}


def test_a_record_for_which_nothing_is_kept_gives_nothing_back(store: Jobs) -> None:
    old = accept(store)
    accept(store, more={"answer_bytes": "70"})
    cancel(store, old)
    assert kept(store) == 70


@pytest.mark.parametrize("how", ["deleted by hand", "ended by an older worker"])
def test_what_is_kept_for_nobody_is_free_again(store: Jobs, how: str) -> None:
    ids = [accept(store, more={"answer_bytes": "100"}) for _ in range(30)]
    for job_id in ids[1:]:
        if how == "deleted by hand":
            store.redis.delete(keys.job(job_id))
        else:
            store.redis.hset(keys.job(job_id), "status", "completed")
    due = Due(store.redis, lease_s=LEASE_S, ttl_s=60, look_s=0)

    def is_free() -> bool:
        due.sweep()
        return kept(store) == 100

    until(is_free, within_s=20)
    assert store.redis.hgetall(keys.RESERVED) == {ids[0]: "100"}


def test_no_more_is_accepted_than_answers_to_come_leave_room_for(store: Jobs, valkey: Valkey) -> None:
    most = 2 * int(valkey.client.info("memory")["used_memory"]) + 20_000_000
    valkey.client.config_set("maxmemory", most)
    try:
        Capacity(valkey.client, share=0.85).reserve(0)
        job_id = accept(store, more={"answer_bytes": str(most)})
        with pytest.raises(NoRoom):
            Capacity(valkey.client, share=0.85).reserve(0)
        cancel(store, job_id)
        Capacity(valkey.client, share=0.85).reserve(0)
    finally:
        valkey.client.config_set("maxmemory", 0)
