"""What touches all shards of a batch does so some at a time, and goes on by itself where it was broken off."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tasks.domain.batch import item_id
from tasks.domain.job import Status
from tasks.store import keys, steps
from tasks.store.batch_parts import NewShard
from tasks.store.steps import SHARDS_AT_ONCE
from tests.store.test_batches import BATCH, OWNER, House
from tests.support.valkey import Valkey

#: More than two pieces of them, with an item each.
SHARDS = 2 * SHARDS_AT_ONCE + 5
IDS = [item_id(BATCH, n) for n in range(1, SHARDS + 1)]
STEPS = [steps.step_id(BATCH, f"1-{nth}") for nth in range(SHARDS)]


@pytest.fixture
def house(valkey: Valkey) -> House:
    """A batch that has been read, with all of its shards."""
    house = House(valkey)
    house.accept(SHARDS)
    house.expand(*range(1, SHARDS + 1))
    place = {"queue": "api", "target": ""}
    shards = [NewShard(name=f"1-{nth}", place=place, numbers=[nth + 1]) for nth in range(SHARDS)]
    house.work.add_shards(BATCH, 0, shards)
    return house


def begin(house: House) -> list[str]:
    return [one.job_id for one in house.work.begin(BATCH, accept=True, stop_after=None)]


def begin_some(house: House) -> tuple[list[str], bool]:
    some, more = house.work.begin_some(BATCH, accept=True, stop_after=None)
    return [one.job_id for one in some], more


def in_phase(house: House, phase: str) -> list[str]:
    return [one for one in STEPS if house.redis.hget(keys.job(one), "phase") == phase]


def watched(house: House) -> set[str]:
    return {one for one in STEPS if house.redis.zscore(keys.DUE, one) is not None}


def end_all(house: House) -> None:
    house.work.end_items(IDS, status=Status.CANCELLED.value, why="w")


def conclude(house: House) -> str:
    while (word := house.work.conclude(BATCH, has_last=False)[0]) == "more":
        pass
    return word


WHOLES: dict[str, tuple[list[Callable[[House], object]], Callable[[House], object]]] = {
    "begin": ([], begin),
    "pause": ([begin], lambda house: house.batches.pause(BATCH, paused=True)),
    "resume": (
        [begin, lambda house: house.batches.pause(BATCH, paused=True)],
        lambda house: house.batches.pause(BATCH, paused=False),
    ),
    "end": ([begin, end_all], conclude),
    "give up": ([end_all], lambda house: house.work.give_up(BATCH, code="x", why="y")),
    "reject": ([end_all], lambda house: house.work.begin(BATCH, accept=False, stop_after=None)),
}


@pytest.mark.parametrize("whole", WHOLES)
def test_no_script_touches_more_shards_than_a_piece_has(house: House, whole: str) -> None:
    before, do = WHOLES[whole]
    for one in before:
        one(house)
    house.redis.config_resetstat()
    do(house)
    stats = house.redis.info("commandstats")
    calls = stats["cmdstat_evalsha"]["calls"] - stats["cmdstat_evalsha"]["failed_calls"]
    assert calls >= SHARDS / SHARDS_AT_ONCE, "more in one script"


def test_a_batch_whose_beginning_was_broken_off_goes_on_where_it_was(house: House) -> None:
    assert begin_some(house) == (STEPS[:SHARDS_AT_ONCE], True)
    assert house.field("status") == "validating", "begun, and nobody sees to the rest"
    assert watched(house) == set(STEPS[:SHARDS_AT_ONCE])
    assert house.claim("1-0").request == {"numbers": [1]}
    assert begin(house) == STEPS[SHARDS_AT_ONCE:]
    assert house.field("status") == "in_progress"
    assert watched(house) == set(STEPS)
    assert house.redis.hget(keys.job(STEPS[0]), "status") == "processing", "let go twice"
    assert house.field("begun") is None
    assert begin(house) == []


def test_what_ends_while_shards_are_let_go_is_counted_and_may_end_the_batch(house: House) -> None:
    begin_some(house)
    for job_id in IDS:
        house.settle(job_id)
    assert not house.due_now("finish")
    begin(house)
    assert house.due_now("finish")
    assert conclude(house) == "ended"
    assert house.counts() == {"completed": SHARDS}


def test_failures_while_shards_are_let_go_stop_the_batch(house: House) -> None:
    begin_some(house)
    for job_id in IDS[:3]:
        house.settle(job_id, Status.FAILED)
    house.work.begin(BATCH, accept=True, stop_after=0.01)
    assert house.due_now("finish")
    assert house.work.conclude(BATCH, has_last=False) == ["cancel"]


def test_a_batch_cancelled_while_its_shards_are_let_go_lets_no_more_go(house: House) -> None:
    begin_some(house)
    house.batches.cancel(BATCH)
    assert begin(house) == []
    assert len(watched(house)) == SHARDS_AT_ONCE
    assert house.due_now("finish")
    end_all(house)
    assert conclude(house) == "ended"
    assert not house.redis.exists(*map(keys.job, STEPS))
    assert watched(house) == set()


def test_a_shard_that_a_broken_off_pause_did_not_come_to_is_held_when_it_is_let_go(house: House) -> None:
    begin(house)
    assert house.batches.pause_some(BATCH, paused=True, start=0) == ([], True)
    assert in_phase(house, "held") == STEPS[:SHARDS_AT_ONCE]
    late = house.claim(f"1-{SHARDS - 1}")
    assert house.take(IDS[-1]) is None, "begun although its batch is paused"
    assert house.steps.again(late, delay_s=2.0) == []
    assert late.job_id not in watched(house)
    assert len(house.batches.pause(BATCH, paused=False)) == SHARDS_AT_ONCE + 1
    assert watched(house) == set(STEPS)


def test_what_a_broken_off_resumption_did_not_come_to_goes_on_by_itself(house: House) -> None:
    begin(house)
    house.batches.pause(BATCH, paused=True)
    some, more = house.batches.pause_some(BATCH, paused=False, start=0)
    assert [one.job_id for one in some] == STEPS[:SHARDS_AT_ONCE] and more
    found = [[one.job_id for one in house.due.let_go()] for _ in range(3)]
    assert found == [STEPS[SHARDS_AT_ONCE : 2 * SHARDS_AT_ONCE], STEPS[2 * SHARDS_AT_ONCE :], []]
    assert watched(house) == set(STEPS)
    assert not house.redis.sismember(keys.LIMITS, f"paused:{BATCH}")
    assert house.field("resume_from") is None


def test_whoever_pauses_no_longer_holds_nothing(house: House) -> None:
    begin(house)
    house.batches.pause_some(BATCH, paused=True, start=0)
    house.batches.pause(BATCH, paused=False)
    assert house.batches.pause_some(BATCH, paused=True, start=SHARDS_AT_ONCE) == ([], False)
    assert watched(house) == set(STEPS)
    assert house.field("paused") is None


def test_a_batch_paused_again_while_it_is_resumed_stays_paused(house: House) -> None:
    begin(house)
    house.batches.pause(BATCH, paused=True)
    house.batches.pause_some(BATCH, paused=False, start=0)
    house.batches.pause(BATCH, paused=True)
    assert house.due.let_go() == []
    assert in_phase(house, "held") == STEPS
    assert watched(house) == set()


@pytest.mark.parametrize("erased", [False, True])
def test_a_batch_is_over_when_its_shards_are_dropped_and_not_before(house: House, erased: bool) -> None:
    begin(house)
    end_all(house)
    if erased:
        assert house.batches.forget(BATCH, OWNER)
    for left in (SHARDS - SHARDS_AT_ONCE, SHARDS - 2 * SHARDS_AT_ONCE):
        assert house.work.conclude(BATCH, has_last=False) == ["more"]
        assert len(watched(house)) == left
        assert house.redis.exists(*map(keys.job, STEPS)) == left
        assert house.due_now("finish"), "nobody sees to the rest"
    assert house.work.conclude(BATCH, has_last=False)[0] == ("erase" if erased else "ended")
    assert not house.redis.exists(*map(keys.job, STEPS), keys.shards(BATCH))
    assert watched(house) == set()


def test_whoever_still_reads_a_batch_that_is_given_up_adds_no_shard_and_begins_nothing(house: House) -> None:
    end_all(house)
    house.redis.hset(keys.batch(BATCH), "giving_up", 1)  # after its first piece
    house.work.add_shards(BATCH, SHARDS, [NewShard(name="1-x", place={"queue": "api", "target": ""}, numbers=[1])])
    assert len(house.shards()) == SHARDS
    assert begin(house) == []
    assert house.work.give_up(BATCH, code="x", why="y")
    assert (house.field("status"), house.field("giving_up")) == ("failed", None)
    assert not house.redis.exists(*map(keys.job, STEPS), keys.shards(BATCH))
