"""The records of batches and their steps: whatever is done twice, too early, or broken off, each item ends once."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from tasks.domain import prefix
from tasks.domain.batch import InvalidItem, item_id
from tasks.domain.errors import BatchBusy, InvalidRequest, Unavailable
from tasks.domain.job import Cache, Priority, Status
from tasks.domain.standing import Lesson, State
from tasks.store import keys, places, steps
from tasks.store.answers import Question
from tasks.store.batch_parts import Load, NewItem, NewShard, Weighed
from tasks.store.batch_work import BatchWork
from tasks.store.batches import Batches, NewBatch
from tasks.store.claim import Claim, Taker
from tasks.store.due import Due
from tasks.store.jobs import Jobs
from tasks.store.learned import Learned
from tasks.store.places import Place
from tasks.store.steps import Step, Steps
from tests.store import hand
from tests.store.hand import LEASE_S
from tests.support import batch
from tests.support.valkey import Valkey

BATCH, OWNER = "batch_0123456789abcdef", "o"
ENGINE, HOSTED = Place("gpu", "vllm", "", "tiny"), Place("api", "upstream", "", "model")


class House:
    """All stores on one Valkey, and a batch in it."""

    def __init__(self, valkey: Valkey) -> None:
        self.redis = valkey.client
        self.jobs = Jobs(valkey.client, ttl_s=60)
        self.batches = Batches(valkey.client, ttl_s=60)
        self.work = BatchWork(valkey.client, ttl_s=60)
        self.steps = Steps(valkey.client, ttl_s=60)
        self.due = Due(valkey.client, lease_s=LEASE_S, ttl_s=60)

    def accept(self, total: int, *, expires_in_s: float = 60, last: bool = False, key: str | None = None) -> None:
        fields = {"owner": OWNER, "total": str(total), "lines": str(total), "chunks": "1", "metadata": "{}",
                  "options": json.dumps(batch.OPTIONS)}  # fmt: skip
        new = NewBatch(id=BATCH, owner=OWNER, idempotency_key=key, fingerprint="f", expires_in_s=expires_in_s,
                       message="first", fields=fields)  # fmt: skip
        self.batches.keep_lines(BATCH, 0, [b"1 {}"])
        assert self.batches.accept(new) == (BATCH, False)

    def expand(
        self, *lines: int, chunk: int = 0, more: dict[str, str] | None = None, question: Question | None = None
    ) -> bool:
        record = {"owner": OWNER, "kind": "chat", "mode": "auto", "model": "default", "request": "{}", "metadata": "{}",
                  "queue": "api", "target": "", "max_tries": "5", **(more or {})}  # fmt: skip
        items = [NewItem(id=item_id(BATCH, n), n=n, custom_id=f"c{n}", fields=record, question=question) for n in lines]
        named = ["queue", "target", "patience"]
        place = {name: record[name] for name in named if name in record}
        load = Load(place=place, items=[Weighed(n, 1, "") for n in lines])
        return self.work.expand(BATCH, chunk, items, [load], [])

    def begun(self, total: int, **how: Any) -> list[str]:
        self.accept(total, **how)
        self.expand(*range(1, total + 1))
        self.begin()
        return [item_id(BATCH, n) for n in range(1, total + 1)]

    def compose(self) -> None:
        """One shard of each load."""
        number = int(self.field("round"))
        shards = [
            NewShard(name=f"{number}-{nth}", place=load.place, numbers=[one.n for one in load.items])
            for nth, load in enumerate(self.work.loads(BATCH))
        ]
        self.work.add_shards(BATCH, 0, shards)

    def shards(self) -> list[str]:
        return cast(list[str], self.redis.lrange(keys.shards(BATCH), 0, -1))

    def begin(self, *, accept: bool = True, stop_after: float | None = None) -> list[str]:
        if accept:
            self.compose()
        return [one.job_id for one in self.work.begin(BATCH, accept=accept, stop_after=stop_after)]

    def claim(self, name: str, worker: str = "w") -> Step:
        step_id = steps.step_id(BATCH, name)
        epoch = int(str(self.redis.hget(keys.job(step_id), "epoch")))
        step = self.steps.claim(step_id, epoch, worker=worker, lease_s=LEASE_S)
        assert step is not None
        return step

    def settle(self, job_id: str, status: Status = Status.COMPLETED) -> None:
        assert self.jobs.settle(hand.claim(self.jobs, job_id, "w"), status, outcome=status.value)

    def take(self, job_id: str) -> Claim | None:
        epoch = int(str(self.redis.hget(keys.job(job_id), "epoch")))
        taker = Taker(worker="w", lease_s=LEASE_S, may_isolate=True, servings=hand.SERVINGS)
        return self.jobs.take(job_id, epoch, taker).claim

    def tries(self, job_id: str) -> Any:
        return self.redis.hget(keys.job(job_id), "tries")

    def field(self, name: str) -> Any:
        return self.redis.hget(keys.batch(BATCH), name)

    def counts(self) -> dict[str, int]:
        found = self.batches.find(BATCH, OWNER)
        assert found is not None
        assert found.settled <= found.total
        return {name: count for name, count in found.counts.items() if count}

    def queued(self) -> dict[str, int]:
        found = self.batches.find(BATCH, OWNER)
        assert found is not None
        return dict(found.queued)

    def due_now(self, name: str) -> bool:
        score = self.redis.zscore(keys.DUE, steps.step_id(BATCH, name))
        return score is not None and score <= self.redis.time()[0] * 1000 + 1000


@pytest.fixture
def house(valkey: Valkey) -> House:
    return House(valkey)


def test_a_chunk_is_written_once_however_often_it_is_read(house: House) -> None:
    house.accept(3)
    assert house.expand(1, 2)
    house.redis.hset(keys.job(item_id(BATCH, 1)), "status", "completed")
    assert house.expand(1, 2)
    assert house.redis.hget(keys.job(item_id(BATCH, 1)), "status") == "completed"
    assert house.field("invalid") == "0"
    assert [one.n for load in house.work.loads(BATCH) for one in load.items] == [1, 2]


def test_shards_are_added_once_in_their_order_however_often_it_is_broken_off(house: House) -> None:
    house.accept(4)
    house.expand(1, 2, 3, 4)
    shards = [NewShard(name=f"1-{nth}", place={"queue": "api", "target": ""}, numbers=[nth + 1]) for nth in range(4)]
    house.work.add_shards(BATCH, 0, shards[:2])
    house.work.add_shards(BATCH, 0, shards[:3])
    house.work.add_shards(BATCH, 2, shards[2:])
    assert house.shards() == ["1-0", "1-1", "1-2", "1-3"]
    assert len(house.work.begin(BATCH, accept=True, stop_after=None)) == 4
    house.work.add_shards(BATCH, 4, [NewShard(name="1-4", place={"queue": "api", "target": ""}, numbers=[1])])
    assert house.shards() == ["1-0", "1-1", "1-2", "1-3"], "one was added behind the others' backs"
    assert house.redis.exists(keys.loads(BATCH), keys.item_names(BATCH)) == 0


def test_items_are_counted_by_their_queue_once_whatever_is_done_again(house: House) -> None:
    house.accept(4)
    for _ in range(2):
        house.expand(1, 2)
        house.expand(3, 4, chunk=1, more={"queue": "gpu"})
    assert house.queued() == {"api": 2, "gpu": 2}
    house.begin()
    ids = [item_id(BATCH, n) for n in (1, 2, 3, 4)]
    assert house.jobs.put_back(hand.claim(house.jobs, ids[0], "w"), outcome="put_back", reason="x") != []
    house.settle(ids[0])
    house.work.end_items(ids, status="cancelled", why="w")
    assert house.work.conclude(BATCH, has_last=False) == ["ended", "completed"]
    house.batches.retry(BATCH)
    assert house.work.reset_items(BATCH, 0, ids, []) == 3
    house.begin()
    assert house.queued() == {"api": 2, "gpu": 2}


def test_an_item_that_moves_on_is_counted_where_it_went(house: House) -> None:
    house.accept(1)
    house.expand(1, more=places.fields([ENGINE, HOSTED], patience_s=60.0) | {"queue": "gpu", "target": ""})
    house.begin()
    assert house.queued() == {"gpu": 1}
    taker = Taker(worker="w", lease_s=LEASE_S, may_isolate=True, servings=[("gpu", "vllm", "tiny")])
    claim = house.jobs.take(item_id(BATCH, 1), 0, taker).claim
    assert claim is not None
    for _ in range(2):
        places.move(house.jobs, claim, outcome="failed", reason="x")
        assert house.queued() == {"api": 1}


def test_a_custom_id_counts_once_the_earlier_line_wins(house: House) -> None:
    house.accept(2)
    same = [NewItem(id=item_id(BATCH, n), n=n, custom_id="same", fields={"queue": "api"}) for n in (1, 2)]
    wrong = InvalidItem(line=3, custom_id=None, code="x", message="y")
    assert house.work.expand(BATCH, 0, same, [], [wrong])
    assert house.redis.exists(keys.job(item_id(BATCH, 1)), keys.job(item_id(BATCH, 2))) == 1
    assert house.field("invalid") == "2"
    message = "the custom_id 'same' is that of an earlier item"
    doubled = InvalidItem(line=2, custom_id="same", code="duplicate_custom_id", message=message, field="custom_id")
    assert house.batches.invalid(BATCH, 0) == [wrong, doubled], "not all that is counted can be read"


def test_begun_twice_it_has_begun_once(house: House) -> None:
    house.accept(2)
    house.expand(1, 2)
    assert house.begin() == [steps.step_id(BATCH, "1-0")]
    before = house.redis.hgetall(keys.job(steps.step_id(BATCH, "1-0")))
    assert house.begin() == []
    assert house.redis.hgetall(keys.job(steps.step_id(BATCH, "1-0"))) == before


def test_the_last_item_makes_the_batch_due_and_not_before(house: House) -> None:
    ids = house.begun(3)
    house.settle(ids[0])
    house.settle(ids[2], Status.FAILED)
    assert not house.due_now("finish")
    assert house.work.conclude(BATCH, has_last=False) == ["open"]
    house.settle(ids[1])
    assert house.due_now("finish")
    assert house.work.conclude(BATCH, has_last=False) == ["ended", "completed"]
    assert house.work.conclude(BATCH, has_last=False)[0] == "lapses"
    assert house.counts() == {"completed": 2, "failed": 1}
    assert [n for n, _ in house.batches.settled(BATCH, -1)] == [1, 3, 2]


def test_an_end_while_the_last_step_looks_is_not_missed(house: House) -> None:
    ids = house.begun(1, expires_in_s=30)
    house.redis.zadd(keys.DUE, {steps.step_id(BATCH, "finish"): 1})
    assert [one.job_id for one in house.due.sweep()[1]] == [steps.step_id(BATCH, "finish")]
    step = house.claim("finish")
    assert house.work.conclude(BATCH, has_last=False) == ["open"]
    house.settle(ids[0])  # it cannot wake the step, which is in hand
    assert house.work.rest(step) is False
    assert house.work.conclude(BATCH, has_last=False) == ["ended", "completed"]
    assert house.steps.done(step)


def test_a_step_whose_worker_died_is_lined_up_again_and_the_old_hand_writes_nothing(house: House) -> None:
    house.begun(2)
    step = house.claim("1-0")
    house.redis.hset(keys.SWEEP, mapping={"swept_at": house.redis.time()[0] * 1000 + 5000})
    house.redis.zadd(keys.DUE, {step.job_id: 1})
    assert [one.job_id for one in house.due.sweep()[1]] == [step.job_id]
    assert house.steps.done(step) is False
    assert house.steps.again(step) is None
    assert house.claim("1-0").request == {"numbers": [1, 2]}


def test_only_items_that_nobody_claimed_are_their_shards(house: House) -> None:
    ids = house.begun(3)
    assert hand.claim(house.jobs, ids[0], "w").priority == Priority.NORMAL
    house.settle(ids[1])
    assert house.work.unclaimed(ids) == [(ids[2], 0)]
    assert not house.redis.zscore(keys.DUE, ids[2]), "a watcher beside its shard's"


def test_too_many_failures_make_the_batch_due(house: House) -> None:
    house.accept(10)
    house.expand(*range(1, 11))
    house.begin(stop_after=0.1)
    house.settle(item_id(BATCH, 1), Status.FAILED)
    assert house.work.conclude(BATCH, has_last=False) == ["open"]
    house.settle(item_id(BATCH, 2), Status.FAILED)
    assert house.due_now("finish")
    assert house.work.conclude(BATCH, has_last=False) == ["cancel"]
    assert house.work.end_items([item_id(BATCH, n) for n in range(1, 11)], status="cancelled", why="w") == 8
    assert house.work.conclude(BATCH, has_last=False) == ["ended", "failed"]
    assert house.counts() == {"failed": 2, "cancelled": 8}


def test_a_batch_that_is_cancelled_while_it_is_read_never_begins(house: House) -> None:
    house.accept(2)
    assert house.batches.cancel(BATCH) == []
    house.expand(1, 2)
    assert house.begin() == []
    assert house.due_now("finish")
    assert house.work.conclude(BATCH, has_last=True) == ["cancel"]
    house.work.end_items([item_id(BATCH, 1), item_id(BATCH, 2)], status="cancelled", why="w")
    assert house.work.conclude(BATCH, has_last=True) == ["ended", "cancelled"]
    assert house.redis.exists(keys.job(steps.step_id(BATCH, "1-0"))) == 0


def test_a_rejected_batch_leaves_no_shard(house: House) -> None:
    house.accept(2)
    house.expand(1, 2)
    assert house.begin(accept=False) == []
    assert house.field("status") == "failed"
    assert house.redis.exists(keys.job(steps.step_id(BATCH, "1-0"))) == 0
    assert house.counts() == {"cancelled": 2}
    assert house.queued() == {}
    with pytest.raises(InvalidRequest):
        house.batches.retry(BATCH)


def test_an_item_is_kept_until_its_batch_is_over_and_lapses_with_it(house: House) -> None:
    ids = house.begun(2)
    house.settle(ids[0])
    assert house.redis.ttl(keys.job(ids[0])) == -1, "it may lapse while its batch runs"
    house.settle(ids[1])
    assert house.work.conclude(BATCH, has_last=False) == ["ended", "completed"]
    word, at = house.work.conclude(BATCH, has_last=False)
    assert word == "lapses"
    for _ in range(2):  # whoever dies in the middle is followed by another
        assert house.work.let_lapse(BATCH, at, ids)
        assert house.redis.ttl(keys.batch(BATCH)) == -1, "without its record the other items would never lapse"
    assert house.work.let_lapse(BATCH, at, [], is_last=True)
    kept = [keys.batch(BATCH), keys.settled_items(BATCH), *map(keys.job, ids)]
    assert {house.redis.pexpiretime(key) for key in kept} == {int(at)}
    assert house.work.conclude(BATCH, has_last=False) == ["over"]


def test_nothing_of_a_further_round_lapses(house: House) -> None:
    ids = house.begun(3)
    house.settle(ids[0])
    house.settle(ids[1], Status.FAILED)
    house.settle(ids[2], Status.FAILED)
    house.work.conclude(BATCH, has_last=False)
    _, at = house.work.conclude(BATCH, has_last=False)
    assert house.work.let_lapse(BATCH, at, ids[:2])
    house.batches.retry(BATCH)
    assert not house.work.let_lapse(BATCH, at, ids[2:])
    assert not house.work.let_lapse(BATCH, at, [], is_last=True)
    house.work.reset_items(BATCH, 0, ids, [])
    kept = [keys.batch(BATCH), keys.settled_items(BATCH), *map(keys.job, ids)]
    assert {house.redis.ttl(key) for key in kept} == {-1}


def test_lines_wait_for_as_long_as_their_batch(house: House) -> None:
    house.batches.keep_lines(BATCH, 0, [b"1 {}"])
    assert house.redis.ttl(keys.chunk(BATCH, 0)) > 0, "of an upload that is broken off nothing is left"
    house.accept(1)
    assert house.redis.ttl(keys.chunk(BATCH, 0)) == -1


def test_the_idempotency_key_of_a_batch_lapses(house: House) -> None:
    house.accept(1, key="k")
    assert 0 < house.redis.ttl(keys.idempotency("batch", OWNER, "k")) <= 24 * 3600


def test_room_is_kept_for_lines_until_they_are_read(house: House) -> None:
    house.accept(1)
    assert house.redis.get(keys.UNREAD) == "1"
    house.expand(1)
    assert house.redis.get(keys.UNREAD) == "0"


def test_an_item_that_is_erased_is_not_waited_for(house: House) -> None:
    ids = house.begun(2)
    house.settle(ids[0])
    assert house.jobs.erase(ids[1], OWNER)
    assert house.counts() == {"completed": 1, "cancelled": 1}
    assert house.due_now("finish")
    assert house.jobs.erase(ids[0], OWNER)
    assert house.work.conclude(BATCH, has_last=False) == ["ended", "completed"]
    assert house.counts() == {"completed": 1, "cancelled": 1}


def test_an_item_without_a_record_is_written_off_in_the_end(house: House) -> None:
    ids = house.begun(3)
    house.redis.delete(keys.job(ids[1]))
    house.settle(ids[0])
    house.batches.cancel(BATCH)
    assert house.work.end_items(ids, status="cancelled", why="w") == 1
    assert house.work.conclude(BATCH, has_last=False) == ["cancel"]
    assert house.work.end_items(ids, status="cancelled", why="w") == 0
    assert house.work.write_off(BATCH, 2, status="cancelled") == 0, "another round's"
    assert house.work.write_off(BATCH, 1, status="cancelled") == 1
    assert house.work.write_off(BATCH, 1, status="cancelled") == 0
    assert house.work.conclude(BATCH, has_last=False) == ["ended", "cancelled"]
    assert house.counts() == {"completed": 1, "cancelled": 2}


def test_a_batch_whose_last_items_were_expired_by_the_sweep_is_expired(house: House) -> None:
    ids = house.begun(2)
    house.settle(ids[0])
    hand.claim(house.jobs, ids[1], "w")
    house.redis.hset(keys.job(ids[1]), "expires_at", 1)
    house.redis.zadd(keys.DUE, {ids[1]: 1})
    house.due.sweep()
    assert house.work.conclude(BATCH, has_last=False) == ["ended", "expired"]
    assert house.counts() == {"completed": 1, "expired": 1}


def test_a_batch_that_was_rejected_can_be_erased(house: House) -> None:
    house.accept(2)
    house.expand(1, 2)
    house.begin(accept=False)
    assert house.batches.forget(BATCH, OWNER)
    assert house.work.conclude(BATCH, has_last=False) == ["erase"]


def test_the_job_over_the_results_is_waited_for(house: House) -> None:
    ids = house.begun(1, last=True)
    house.settle(ids[0])
    assert house.work.conclude(BATCH, has_last=True) == ["last", ""]
    assert house.field("status") == "finalizing"
    last = hand.accept(house.jobs, more={"last_of": BATCH})
    assert house.work.set_last(BATCH, job_id=last) == "set"
    assert house.work.set_last(BATCH, error={"code": "x", "message": "another worker's"}) == "late"
    assert house.work.conclude(BATCH, has_last=True) == ["last", last]
    house.settle(last, Status.FAILED)
    assert house.due_now("finish")
    assert house.work.conclude(BATCH, has_last=True) == ["ended", "completed"]


@pytest.fixture
def finalizing(house: House) -> str:
    """The running job over the results of a batch."""
    house.settle(house.begun(1)[0])
    assert house.work.conclude(BATCH, has_last=True) == ["last", ""]
    last = hand.accept(house.jobs, more={"last_of": BATCH})
    hand.claim(house.jobs, last, "w")
    house.work.set_last(BATCH, job_id=last)
    return last


def test_a_cancelled_batch_cancels_the_job_over_its_results(house: House, finalizing: str) -> None:
    step = house.claim("finish")
    house.batches.cancel(BATCH)  # it cannot wake the step, which is in hand
    assert house.work.rest(step) is False
    assert house.work.conclude(BATCH, has_last=True) == ["end_last", finalizing]
    assert house.work.end_items([finalizing], status="cancelled", why="w") == 1
    assert house.work.conclude(BATCH, has_last=True) == ["ended", "cancelled"]
    found = house.jobs.find(finalizing, OWNER)
    assert found is not None and found.status is Status.CANCELLED


def test_the_job_over_the_results_is_erased_with_its_batch(house: House, finalizing: str) -> None:
    house.batches.forget(BATCH, OWNER)
    assert house.work.conclude(BATCH, has_last=True) == ["erase"]
    assert house.work.set_last(BATCH, job_id=finalizing) == "gone"
    house.work.erase_last(finalizing)
    house.work.erase_last(finalizing)
    house.work.erase(BATCH, 1)
    assert house.jobs.find(finalizing, OWNER) is None
    assert house.redis.zscore(keys.DUE, finalizing) is None
    assert house.redis.zscore(keys.owner_jobs(OWNER), finalizing) is None
    assert house.work.set_last(BATCH, job_id=finalizing) == "gone"
    assert house.redis.exists(keys.batch(BATCH)) == 0


def test_a_batch_whose_job_over_the_results_cannot_begin_ends_at_its_deadline(house: House) -> None:
    house.settle(house.begun(1)[0])
    assert house.work.conclude(BATCH, has_last=True) == ["last", ""]
    house.redis.hset(keys.batch(BATCH), "expires_at", 1)
    assert house.work.conclude(BATCH, has_last=True) == ["ended", "completed"]
    found = house.batches.find(BATCH, OWNER)
    assert found is not None and found.on_complete is None, "its options have none"
    assert json.loads(house.field("last_error"))["code"] == "deadline_exceeded"
    assert house.work.set_last(BATCH, job_id="late") == "late"


def test_another_round_takes_back_what_has_no_answer(house: House) -> None:
    ids = house.begun(4)
    with pytest.raises(BatchBusy):
        house.batches.retry(BATCH)
    house.settle(ids[0])
    house.settle(ids[1], Status.FAILED)
    house.work.end_items(ids, status="cancelled", why="w")
    assert house.work.conclude(BATCH, has_last=False)[0] == "ended"
    assert [one.job_id for one in house.batches.retry(BATCH)] == [steps.step_id(BATCH, "retry-2")]
    assert house.counts() == {"completed": 1}, "what is to be put back is told as ended"
    unanswered = house.work.unanswered(ids)
    assert unanswered[0] == (
        2,
        {"queue": "api", "target": "", "prompt_tokens": "0", "most_tokens": "0", "request": "{}"},
    )
    assert [line for line, _ in unanswered] == [2, 3, 4]
    load = Load(place={"queue": "api", "target": ""}, items=[Weighed(line, 1, "") for line, _ in unanswered])
    assert house.work.reset_items(BATCH, 0, ids, [load]) == 3
    assert house.work.reset_items(BATCH, 0, ids, [load]) == 0, "put back twice"
    assert list(house.work.loads(BATCH)) == [load]
    assert house.counts() == {"completed": 1}
    assert house.begin() == [steps.step_id(BATCH, "2-0")]
    assert house.redis.ttl(keys.batch(BATCH)) == -1
    assert house.work.unclaimed(ids) == [(ids[1], 2), (ids[2], 2), (ids[3], 2)]
    for job_id in ids[1:]:
        house.settle(job_id)
    assert house.work.conclude(BATCH, has_last=False) == ["ended", "completed"]
    assert house.counts() == {"completed": 4}
    with pytest.raises(InvalidRequest):
        house.batches.retry(BATCH)


def test_the_beginning_of_a_long_request_is_read_whole_characters_only(house: House) -> None:
    [job_id] = house.begun(1)
    for text in ("é" * 40_000, "x" + "é" * 40_000, "日" * 40_000, "x" * 40_000):
        house.redis.hset(keys.job(job_id), mapping={"status": "failed", "request": text, "patience": "5"})
        [(_, fields)] = house.work.unanswered([job_id])
        assert text.startswith(fields["request"])
        assert prefix.LENGTHS[-1] <= len(fields["request"].encode()) <= prefix.LENGTHS[-1] + 4
        assert fields["patience"] == "5"


def test_a_pause_takes_shards_out_of_line_and_out_of_hand(house: House) -> None:
    house.begun(2)
    step = house.claim("1-0")
    assert house.batches.pause(BATCH, paused=True) == []
    assert house.steps.done(step) is False
    assert house.redis.zscore(keys.DUE, step.job_id) is None
    assert house.batches.pause(BATCH, paused=True) == []
    [message] = house.batches.pause(BATCH, paused=False)
    assert (message.job_id, message.epoch) == (step.job_id, step.fence + 1)
    assert house.batches.pause(BATCH, paused=False) == []


def test_a_paused_batch_begins_no_item_of_its_shards_nor_any_other(house: House) -> None:
    ids = house.begun(3)
    claim = hand.claim(house.jobs, ids[0], "w")
    house.batches.pause(BATCH, paused=True)
    assert house.jobs.put_back(claim, outcome="failed", reason="x", charged=True)
    for job_id in ids[:2]:  # lined up on its own, and still its shard's
        assert house.take(job_id) is None
    assert house.work.unclaimed(ids) == [(ids[1], 0), (ids[2], 0)], "a shard's item was taken away from it"
    waits = house.jobs.find(ids[0], OWNER)
    assert waits is not None and waits.waiting_on is not None
    assert (waits.waiting_on.reason, waits.waiting_on.until) == ("paused", None)
    assert house.tries(ids[0]) == "1", "the wait was charged"
    assert house.due.let_go() == [], "let go while it is paused"
    house.batches.pause(BATCH, paused=False)
    assert [one.job_id for one in house.due.let_go()] == [ids[0]]
    assert house.due.let_go() == []
    for job_id in ids:
        house.settle(job_id)
    assert house.work.conclude(BATCH, has_last=False) == ["ended", "completed"]
    assert house.counts() == {"completed": 3}


@pytest.mark.parametrize("how", ["cancel", "expire", "forget"])
def test_a_paused_batch_ends_like_any_other(house: House, how: str) -> None:
    ids = house.begun(2)
    claim = hand.claim(house.jobs, ids[0], "w")
    house.batches.pause(BATCH, paused=True)
    house.jobs.put_back(claim, outcome="failed", reason="x")
    assert house.take(ids[0]) is None
    if how == "cancel":
        house.batches.cancel(BATCH)
    elif how == "forget":
        house.batches.forget(BATCH, OWNER)
    else:
        house.redis.hset(keys.batch(BATCH), "expires_at", 1)
    assert house.work.conclude(BATCH, has_last=False) == ["expire" if how == "expire" else "cancel"]
    assert house.work.end_items(ids, status="cancelled", why="w") == 2
    assert house.redis.exists(keys.parked(f"paused:{BATCH}")) == 0
    assert house.work.conclude(BATCH, has_last=False)[0] == ("erase" if how == "forget" else "ended")
    assert house.due.let_go() == []
    assert not house.redis.sismember(keys.LIMITS, f"paused:{BATCH}")


def test_an_item_that_waits_for_its_batch_has_a_deadline(house: House) -> None:
    ids = house.begun(2)
    claim = hand.claim(house.jobs, ids[0], "w")
    house.batches.pause(BATCH, paused=True)
    house.jobs.put_back(claim, outcome="failed", reason="x")
    assert house.take(ids[0]) is None
    house.redis.hset(keys.job(ids[0]), "expires_at", 1)
    house.redis.zadd(keys.DUE, {ids[0]: 1})
    house.due.sweep()
    assert house.counts() == {"expired": 1}


def test_whoever_asks_the_same_in_a_hurry_does_not_wait_for_a_paused_batch(house: House) -> None:
    asked = Question(scope="o", asks="a", terms="", asked_of=("upstream", "model"), keep_s=50, cache=Cache.USE)
    house.accept(2)
    house.expand(1, 2, question=asked)
    house.begin()
    leader = item_id(BATCH, 1)
    claim = hand.claim(house.jobs, leader, "w")
    house.batches.pause(BATCH, paused=True)
    house.jobs.put_back(claim, outcome="failed", reason="x")
    assert house.take(leader) is None
    other = hand.accept(house.jobs, more={"priority": "9"}, sent=False, question=asked)
    assert house.jobs.find(other, OWNER).coalesced_with is None, "another batch's item waits for this one"  # type: ignore[union-attr]
    single = hand.accept(house.jobs, sent=False, question=asked)
    assert house.jobs.find(single, OWNER).coalesced_with == leader  # type: ignore[union-attr]
    house.settle(leader)
    assert house.counts() == {"completed": 1}


def test_a_shard_whose_engine_is_gone_goes_elsewhere_with_its_items(house: House) -> None:
    house.accept(3)
    more = places.fields([ENGINE, HOSTED], patience_s=0.0) | {"queue": "gpu", "target": ""}
    house.expand(1, 2, 3, more=more)
    house.begin()
    taken = house.jobs.take(item_id(BATCH, 2), 0, Taker(worker="w", lease_s=LEASE_S, may_isolate=True,
                            servings=[("gpu", "vllm", "tiny")]))  # fmt: skip
    assert taken.claim is not None
    shard = steps.step_id(BATCH, "1-0")
    house.redis.zadd(keys.DUE, {shard: 1})
    assert [(one.job_id, one.queue) for one in house.due.sweep()[1]] == [(shard, "api")]
    assert house.work.unclaimed([item_id(BATCH, n) for n in (1, 2, 3)]) == [
        (item_id(BATCH, 1), 1),
        (item_id(BATCH, 3), 1),
    ]
    moved = house.redis.hgetall(keys.job(item_id(BATCH, 1)))
    assert (moved["queue"], json.loads(moved["attempts"])[0]["reason"]) == ("api", "no_engine")
    assert house.queued() == {"gpu": 1, "api": 2}
    assert house.redis.zscore(keys.DUE, item_id(BATCH, 1)) is None, "a watcher beside its shard's"
    assert house.redis.zscore(keys.waiting("api", 9), item_id(BATCH, 1)) is None
    house.settle(item_id(BATCH, 1))


def test_a_shard_outlives_the_model_of_its_items(house: House) -> None:
    house.accept(2)
    house.expand(1)
    house.expand(2, chunk=1, more=places.fields([HOSTED, ENGINE]))
    house.begin()
    learned = Learned(house.redis, ttl_s=60)
    learned.note("upstream", "model", Lesson(state=State.RETIRED, why="gone"))
    assert learned.fail_queued("upstream", "model", queue="api", is_default=True) == 0
    for nth in (0, 1):
        [number] = house.claim(f"1-{nth}").request["numbers"]
        assert house.take(item_id(BATCH, number)) is None
    records = [house.redis.hgetall(keys.job(item_id(BATCH, n))) for n in (1, 2)]
    assert records[0]["error_code"] == "model_retired"
    assert (records[1]["queue"], records[1]["phase"]) == ("gpu", "queued")
    assert house.counts() == {"failed": 1}


def shard_without_engine(house: House, *routes: list[Place]) -> str:
    """One shard of an item for each of `routes`, which has waited for the gpu for long enough."""
    house.accept(len(routes))
    for n, some in enumerate(routes, 1):
        more = places.fields(some, patience_s=0.0) | {"queue": "gpu", "target": ""}
        house.expand(n, chunk=n - 1, more=more)
    place = {"queue": "gpu", "target": "", "patience": "0"}
    numbers = list(range(1, len(routes) + 1))
    house.work.add_shards(BATCH, 0, [NewShard(name="1-0", place=place, numbers=numbers)])
    house.work.begin(BATCH, accept=True, stop_after=None)
    return steps.step_id(BATCH, "1-0")


def test_of_a_shard_that_may_only_try_elsewhere_one_item_goes_at_a_time(house: House) -> None:
    shard = shard_without_engine(house, *[[ENGINE, HOSTED]] * 4)
    house.redis.hset(keys.circuit("upstream:model"), mapping={"until": 1, "opens": 1})
    assert [(one.job_id, one.queue) for one in house.due.sweep()[1]] == [(item_id(BATCH, 1), "api")]
    assert [line for line, _ in house.work.unclaimed([item_id(BATCH, n) for n in (1, 2, 3, 4)])] == [
        item_id(BATCH, n) for n in (2, 3, 4)
    ]
    assert house.redis.hget(keys.job(shard), "queue") == "gpu"
    again = house.redis.zscore(keys.DUE, shard)
    assert again and 1000 < again - house.redis.time()[0] * 1000 < 10_000, "not looked at again, or all the time"
    house.redis.delete(keys.circuit("upstream:model"))
    house.redis.zadd(keys.DUE, {shard: 1})
    assert [(one.job_id, one.queue) for one in house.due.sweep()[1]] == [(shard, "api")]
    assert house.queued() == {"api": 4}
    for n in (1, 2, 3, 4):
        house.settle(item_id(BATCH, n))


@pytest.mark.parametrize("few_stay", [True, False])
def test_a_shard_goes_where_most_of_its_items_can_and_the_others_wait_by_themselves(
    house: House, few_stay: bool
) -> None:
    elsewhere = Place("api", "other", "", "its")
    can, cannot = [ENGINE, HOSTED], [ENGINE, elsewhere]
    house.redis.hset(keys.circuit("other:its"), mapping={"until": int(1e14), "opens": 1})
    shard = shard_without_engine(house, can, cannot, can if few_stay else cannot)
    alone = item_id(BATCH, 2 if few_stay else 1)
    sent = {one.job_id: one.queue for one in house.due.sweep()[1]}
    if few_stay:
        assert sent == {shard: "api", alone: "gpu"}
        assert house.redis.zscore(keys.DUE, alone), "nobody looks whether it can go, too"
    else:
        assert sent == {alone: "api"}
    stays = [line for line, _ in house.work.unclaimed([item_id(BATCH, n) for n in (1, 2, 3)])]
    assert {house.redis.hget(keys.job(one), "queue") for one in stays} == {house.redis.hget(keys.job(shard), "queue")}
    assert alone not in stays


def test_an_item_of_mode_gpu_stays(house: House) -> None:
    house.accept(1)
    house.expand(1, more={"queue": "gpu", "mode": "gpu"})
    house.begin()
    shard = steps.step_id(BATCH, "1-0")
    house.redis.zadd(keys.DUE, {shard: 1})
    assert house.due.sweep()[1] == []
    assert house.redis.hget(keys.job(shard), "queue") == "gpu"


def test_a_forgotten_batch_is_out_of_sight_at_once_and_erased_behind(house: House) -> None:
    ids = house.begun(2)
    hand.claim(house.jobs, ids[0], "w")
    assert house.batches.forget(BATCH, "another") is False
    assert house.batches.forget(BATCH, OWNER)
    assert house.batches.find(BATCH, OWNER) is None
    assert house.batches.forget(BATCH, OWNER), "the second time"
    assert house.due_now("finish")
    assert house.work.conclude(BATCH, has_last=True) == ["cancel"]
    house.work.end_items(ids, status="cancelled", why="w")
    assert house.work.conclude(BATCH, has_last=True) == ["erase"]
    house.work.erase_items(ids)
    house.work.erase(BATCH, 1)
    assert house.work.conclude(BATCH, has_last=True) == ["gone"]


def ended_by_its_last_step(house: House) -> Step:
    """The step that ended a batch, and has not been let go."""
    house.settle(house.begun(1)[0])
    finish = house.claim("finish")
    assert house.work.conclude(BATCH, has_last=False)[0] == "ended"
    return finish


def test_a_batch_that_is_erased_while_its_last_step_ends_it_is_looked_at_again(house: House) -> None:
    finish = ended_by_its_last_step(house)
    assert house.batches.forget(BATCH, OWNER)
    assert house.steps.done(finish)
    assert house.due_now("finish"), "nobody erases it"
    again = house.claim("finish")
    assert house.work.conclude(BATCH, has_last=False) == ["erase"]
    house.work.erase(BATCH, 1)
    assert house.steps.done(again)
    assert not house.redis.exists(keys.job(steps.step_id(BATCH, "finish")))


def test_a_batch_that_is_over_is_not_looked_at_again(house: House) -> None:
    finish = ended_by_its_last_step(house)
    assert house.steps.done(finish)
    assert house.redis.zscore(keys.DUE, finish.job_id) is None


def test_the_end_of_a_last_job_makes_no_step_of_an_erased_batch(house: House) -> None:
    ids = house.begun(1, last=True)
    house.settle(ids[0])
    assert house.work.conclude(BATCH, has_last=True) == ["last", ""]
    last = hand.accept(house.jobs, more={"last_of": BATCH})
    house.work.set_last(BATCH, job_id=last)
    house.batches.forget(BATCH, OWNER)
    house.redis.delete(keys.job(steps.step_id(BATCH, "finish")))
    house.settle(last)
    assert house.redis.exists(keys.job(steps.step_id(BATCH, "finish"))) == 0


def test_the_rest_of_a_record_keeps_nobody_from_being_looked_at(house: House) -> None:
    ids = house.begun(1)
    house.redis.hset(keys.job("step_gone"), mapping={"status": "pending", "phase": "backoff"})
    house.redis.zadd(keys.DUE, {"step_gone": 0})
    hand.claim(house.jobs, ids[0], "w")
    house.redis.zadd(keys.DUE, {ids[0]: 1})
    house.due.sweep()
    assert house.redis.zscore(keys.DUE, "step_gone") is None
    assert house.redis.zscore(keys.DUE, ids[0]) != 1


def test_a_batch_whose_lines_were_lost_is_not_accepted(house: House) -> None:
    house.batches.keep_lines(BATCH, 0, [b"1 {}"])
    fields = {"owner": OWNER, "chunks": "2"}
    new = NewBatch(id=BATCH, owner=OWNER, idempotency_key="k", fingerprint="f", expires_in_s=60, message="first",
                   fields=fields)  # fmt: skip
    with pytest.raises(Unavailable):
        house.batches.accept(new)
    house.batches.drop_lines(BATCH, 2)
    assert house.redis.keys("tandem:*") == []


def test_whoever_gave_up_on_a_batch_that_was_accepted_all_the_same_takes_no_lines_away(house: House) -> None:
    house.accept(1)
    house.batches.drop_lines(BATCH, 1)
    assert house.redis.exists(keys.chunk(BATCH, 0))


def test_a_batch_is_listed_for_as_long_as_it_is_there(house: House) -> None:
    """Further rounds may make it older than anything that is run once."""
    house.accept(1)
    house.redis.zadd(keys.owner_batches(OWNER), {BATCH: 2, "batch_gone": 1})
    new = NewBatch(id="batch_new", owner=OWNER, idempotency_key=None, fingerprint="f", expires_in_s=60, message="first",
                   fields={"owner": OWNER, "chunks": "0", "total": "0"})  # fmt: skip
    house.batches.accept(new)
    assert house.batches.page(OWNER, limit=9, after=None) == ["batch_new", BATCH]
