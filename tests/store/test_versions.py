"""Records of other versions, and damaged ones: each ends as any other job does, and keeps nobody else from ending."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.domain.job import Status
from tasks.store import keys, places, scripts
from tasks.store.claim import Taker
from tasks.store.due import Due
from tasks.store.jobs import Jobs
from tasks.store.message import Message
from tasks.store.places import Place
from tests.store.hand import LEASE_S, SERVINGS, accept
from tests.support.valkey import Valkey

TAKER = Taker(worker="w", lease_s=LEASE_S, servings=[*SERVINGS, ("api.other", "other", "model")])
MORE = {"prompt_tokens": "3", "most_tokens": "0"} | places.fields(
    [Place("api", "upstream", "", "model"), Place("api.other", "other", "", "model")], patience_s=0.0
)
#: What a job's record has when it waits in line. Without an owner or a status it is nobody's, and no record.
FIELDS = ("version", "epoch", "tries", "max_tries", "crashes", "engine_losses", "created_at", "expires_at", "queued_at",
          "kind", "mode", "model", "request", "metadata", "queue", "priority", "target", "phase", "prompt_tokens",
          "most_tokens", "routes", "patience")  # fmt: skip


class House:
    """A worker that takes what is sent, ends what it claims, and does the rounds."""

    def __init__(self, store: Jobs) -> None:
        self.store, self.redis = store, store.redis
        self.due = Due(store.redis, lease_s=LEASE_S, ttl_s=60, patience_s=0.001, look_s=0)
        self.claims = 0

    def work(self, message: Message) -> None:
        claim = self.store.take(message.job_id, message.epoch, TAKER).claim
        if claim is not None:
            self.claims += 1
            status = Status.FAILED if claim.fault else Status.COMPLETED
            assert self.store.settle(claim, status, outcome=status.value)

    def go_round(self) -> None:
        for message in [*self.due.sweep()[1], *self.due.find_lost(), *self.due.let_go()]:
            self.work(message)

    def status(self, job_id: str) -> Any:
        return self.redis.hget(keys.job(job_id), "status")


@pytest.fixture
def house(store: Jobs) -> House:
    return House(store)


@pytest.mark.parametrize("damage", ["missing", "no number"])
@pytest.mark.parametrize("field", FIELDS)
def test_whatever_a_record_lacks_the_job_ends_and_so_does_its_neighbour(house: House, field: str, damage: str) -> None:
    job_id, neighbour = accept(house.store, more=MORE, sent=False), accept(house.store, sent=False)
    assert house.redis.hexists(keys.job(job_id), field)
    if damage == "missing" or field == "queue":  # in a queue of another name it waits for who serves that
        house.redis.hdel(keys.job(job_id), field)
    else:
        house.redis.hset(keys.job(job_id), field, "{?")
    # Its own message is there, its neighbour's is lost.
    house.work(Message(job_id=job_id, epoch=0, queue="api", priority=0))
    rounds = 0
    while not {house.status(job_id), house.status(neighbour)} <= {"completed", "failed", "expired"}:
        rounds += 1
        assert rounds < 50, (house.status(job_id), house.status(neighbour))
        for one in (job_id, neighbour):
            # Time passes: whoever is watched is looked at, and what is in line has been there for long.
            house.redis.zadd(keys.DUE, {one: 1}, xx=True)
        for line in house.redis.smembers(keys.LINES):
            queue, priority = str(line).split()
            house.redis.hset(keys.flow(queue, int(priority)), mapping={"busy_at": 1, "mark_at": 1})
        house.go_round()
    assert house.status(neighbour) == "completed"
    found = house.store.find(job_id, "o")
    assert found is not None
    assert found.status.is_final
    assert house.store.page("o", status=None, model=None, limit=10, after=None)[0]
    assert house.redis.zcard(keys.DUE) == 0, "it is still watched"


@pytest.mark.parametrize("field", FIELDS)
def test_a_damaged_record_can_be_cancelled_and_erased(house: House, field: str) -> None:
    job_id = accept(house.store, more=MORE)
    house.redis.hdel(keys.job(job_id), field)
    assert house.store.cancel(job_id, "o")
    assert house.status(job_id) == "cancelled"
    assert house.store.erase(job_id, "o")
    assert house.store.find(job_id, "o") is None


def test_a_record_says_its_version(store: Jobs) -> None:
    assert store.redis.hget(keys.job(accept(store)), "version") == "1"


def test_what_is_newer_is_left_to_others_uncharged_and_not_at_once(house: House) -> None:
    job_id = accept(house.store, sent=False)
    house.redis.hset(keys.job(job_id), mapping={"version": 2, "kind": "hologram", "request": "?"})
    house.work(Message(job_id=job_id, epoch=0, queue="api", priority=0))
    record = house.redis.hgetall(keys.job(job_id))
    assert (record["status"], record["phase"], record["epoch"], record["tries"]) == ("pending", "backoff", "1", "0")
    assert "attempts" not in record
    house.go_round()
    assert house.status(job_id) == "pending"
    assert house.claims == 0
    waits = house.store.find(job_id, "o")
    assert waits is not None
    assert (waits.kind, waits.waiting_on and waits.waiting_on.reason) == ("hologram", "backoff")


def test_who_understands_it_takes_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = accept(house.store, sent=False)
    house.redis.hset(keys.job(job_id), "version", 2)
    house.work(Message(job_id=job_id, epoch=0, queue="api", priority=0))
    text = scripts.source("claim")
    newer = text.replace("RECORD_VERSION, NEWER_MS = 1,", "RECORD_VERSION, NEWER_MS = 2,")
    assert newer != text
    monkeypatch.setattr(scripts, "source", lambda name: newer)
    claim = Jobs(house.redis, ttl_s=60).take(job_id, 1, TAKER).claim
    assert claim is not None
    assert (claim.fence, claim.tries) == (2, 0)


def test_a_record_of_before_versions_is_claimed(house: House) -> None:
    job_id = accept(house.store, sent=False)
    house.redis.hdel(keys.job(job_id), "version")
    house.work(Message(job_id=job_id, epoch=0, queue="api", priority=0))
    assert house.status(job_id) == "completed"


@pytest.mark.parametrize(
    ("field", "text", "why"),
    [("kind", "hologram", "its kind is 'hologram'"), ("request", "{", "not JSON"), ("request", "[]", "no object")],
)
def test_a_claim_that_cannot_be_read_says_so_and_is_written_all_the_same(
    store: Jobs, field: str, text: str, why: str
) -> None:
    job_id = accept(store, sent=False)
    store.redis.hset(keys.job(job_id), field, text)
    claim = store.take(job_id, 0, TAKER).claim
    assert claim is not None
    assert why in claim.fault
    assert store.settle(claim, Status.FAILED, outcome="failed")


def test_one_that_the_script_refuses_does_not_cost_the_others_of_its_group(store: Jobs, valkey: Valkey) -> None:
    good, bad, last = (accept(store, sent=False) for _ in range(3))
    store.redis.delete(keys.job(bad))
    store.redis.lpush(keys.job(bad), "no hash")
    taken = store.take_each([(good, 0), (bad, 0), (last, 0)], TAKER)
    claimed = [None if isinstance(one, Exception) else one.claim and one.claim.job_id for one in taken]
    assert claimed == [good, None, last]
