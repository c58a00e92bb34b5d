"""Answers that jobs share: kept for later ones, handed to those who wait, sought anew when there is none."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

import pytest

from tasks.domain.job import Cache, Job, JobError, Status
from tasks.store import keys
from tasks.store.answers import Question
from tasks.store.claim import Claim, Taker
from tasks.store.due import BATCH as BATCH_OF_SWEEP
from tasks.store.due import Due
from tasks.store.jobs import Jobs
from tasks.store.new_job import Accepted, NewJob
from tests.store.hand import LEASE_S, SERVINGS, claim
from tests.support.valkey import Valkey

RESULT = {"content": "Paris ✓"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cached_tokens": 1}
BATCH = 5


@pytest.fixture
def due(valkey: Valkey) -> Due:
    return Due(valkey.client, lease_s=LEASE_S, ttl_s=60)


def question(asks: str = "a", *, terms: str = "", scope: str = "owner:o", cache: Cache = Cache.USE) -> Question:
    return Question(scope=scope, asks=asks, terms=terms, asked_of=("upstream", "model"), keep_s=50, cache=cache)


def submit(store: Jobs, asked: Question, *, owner: str = "o", priority: int = 0, expires_in_s: float = 60) -> Accepted:
    record = {"owner": owner, "kind": "chat", "mode": "auto", "model": "default", "request": "{}", "metadata": "{}",
              "queue": "api", "priority": str(priority), "target": "", "max_tries": "5"}  # fmt: skip
    job_id = f"job_{secrets.token_hex(8)}"
    new = NewJob(job_id=job_id, owner=owner, idempotency_key=None, fingerprint="", expires_in_s=expires_in_s,
                 list_age_s=60, fields=record, message=job_id, question=asked)  # fmt: skip
    return store.accept(new)


def answer(store: Jobs, held: Claim, result: dict[str, Any] = RESULT) -> None:
    fields = {"result": json.dumps(result, ensure_ascii=False), "usage": json.dumps(USAGE)}
    assert store.settle(held, Status.COMPLETED, outcome="completed", attempt={"usage": USAGE}, fields=fields)


def asked_and_answered(store: Jobs, asked: Question, **how: Any) -> str:
    job_id = submit(store, asked, **how).job_id
    answer(store, claim(store, job_id, "w"))
    return job_id


def find(store: Jobs, job_id: str, owner: str = "o") -> Job:
    found = store.find(job_id, owner)
    assert found is not None
    return found


def leader(store: Jobs, asked: Question) -> str | None:
    led_by = store.redis.get(keys.flight(asked.flight))
    return None if led_by is None else str(led_by)


def sent(store: Jobs) -> list[Any]:
    """What is in the broker's list, the next first."""
    return store.redis.lrange("api", 0, -1)[::-1]


def assert_nothing_is_left(store: Jobs) -> None:
    assert store.redis.keys("tandem:flight:*") == []
    assert store.redis.keys("tandem:followers:*") == []
    assert store.redis.exists(keys.LANDED, keys.DUE) == 0


# ---- the cache ----


def test_a_job_that_asks_what_was_answered_is_over_at_once(store: Jobs) -> None:
    first = asked_and_answered(store, question())
    before = store.redis.hgetall(store.redis.keys("tandem:usage:o:*")[0])
    second = submit(store, question())
    assert (second.shares, second.lifted) == (True, ())
    job = find(store, second.job_id)
    assert (job.status, job.cached, job.coalesced_with, job.attempts) == (Status.COMPLETED, True, None, ())
    assert job.result == RESULT == find(store, first).result
    assert job.usage == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert job.saved is not None
    assert 0 <= job.saved["seconds"] < 60
    told = {"queue": "api", "provider": "upstream", "model": "model", "total_tokens": 5}
    assert told.items() <= job.saved.items()
    assert "cached_tokens" not in job.saved
    assert 0 < store.redis.ttl(keys.job(job.id)) <= 60
    assert store.redis.hget(keys.job(job.id), "request") is None
    assert sent(store) == []
    after = store.redis.hgetall(store.redis.keys("tandem:usage:o:*")[0])
    counted = {"upstream model cached_requests": "1", "upstream model saved_tokens": "5"}
    assert after == before | counted
    assert_nothing_is_left(store)


def test_what_was_accepted_with_an_answer_is_so_when_asked_again(store: Jobs) -> None:
    """As when the answer to the first accept was lost."""
    asked_and_answered(store, question())
    record = {"owner": "o", "kind": "chat", "mode": "auto", "model": "m", "request": "{}", "metadata": "{}",
              "queue": "api", "priority": "0", "target": "", "max_tries": "5"}  # fmt: skip
    new = NewJob(job_id="job_1", owner="o", idempotency_key=None, fingerprint="", expires_in_s=60, list_age_s=60,
                 fields=record, question=question())  # fmt: skip
    assert store.accept(new) == store.accept(new)


def test_an_answer_is_kept_for_its_time(store: Jobs) -> None:
    asked_and_answered(store, question())
    assert 0 < store.redis.ttl(keys.answer(question().name)) <= 50
    store.redis.delete(keys.answer(question().name))
    assert not submit(store, question()).shares


def test_an_erased_answer_is_no_answer(store: Jobs) -> None:
    store.erase(asked_and_answered(store, question()), "o")
    assert not submit(store, question()).shares


def test_another_owner_or_question_is_a_miss(store: Jobs) -> None:
    asked_and_answered(store, question())
    assert not submit(store, question("b")).shares
    assert not submit(store, question(scope="owner:p"), owner="p").shares


def test_a_refresh_asks_anew_and_replaces_the_answer(store: Jobs) -> None:
    asked_and_answered(store, question())
    fresh = submit(store, question(cache=Cache.REFRESH))
    assert not fresh.shares
    assert find(store, submit(store, question()).job_id).result == RESULT, "the old one will do meanwhile"
    answer(store, claim(store, fresh.job_id, "w"), {"content": "new"})
    assert find(store, submit(store, question()).job_id).result == {"content": "new"}


def test_a_refresh_neither_follows_nor_takes_the_lead_away(store: Jobs) -> None:
    first = submit(store, question()).job_id
    fresh = submit(store, question(cache=Cache.REFRESH))
    assert not fresh.shares
    assert leader(store, question()) == first
    assert submit(store, question()).shares
    store.cancel(fresh.job_id, "o")
    assert leader(store, question()) == first


def test_the_first_of_all_leads_though_it_wants_a_new_answer(store: Jobs) -> None:
    fresh = submit(store, question(cache=Cache.REFRESH))
    assert submit(store, question()).shares
    assert leader(store, question()) == fresh.job_id


def test_who_is_answered_elsewhere_shares_with_its_followers_only(store: Jobs) -> None:
    """They could have been answered there too; whoever comes later asks somebody else."""
    first = submit(store, question()).job_id
    second = submit(store, question()).job_id
    other_terms = submit(store, question(terms="named"))
    assert not other_terms.shares
    epoch = int(str(store.redis.hget(keys.job(first), "epoch")))
    elsewhere = store.take(
        first, epoch, Taker(worker="w", lease_s=5, may_isolate=True, servings=[("api", "other", "model")])
    )
    assert elsewhere.claim is not None
    answer(store, elsewhere.claim)
    job = find(store, second)
    assert (job.status, job.saved and job.saved["provider"]) == (Status.COMPLETED, "other")
    assert find(store, other_terms.job_id).status is Status.PENDING
    assert not submit(store, question()).shares


def test_a_model_of_another_name_that_answered_where_it_was_asked_fills_the_cache(store: Jobs) -> None:
    first = submit(store, question()).job_id
    fields = {"result": json.dumps(RESULT)}
    store.settle(claim(store, first, "w"), Status.COMPLETED, outcome="completed", attempt={"model": "model-2"},
                 fields=fields)  # fmt: skip
    job = find(store, submit(store, question()).job_id)
    assert job.saved is not None
    assert (job.saved["model"], "total_tokens" in job.saved) == ("model-2", False)


def test_only_what_completed_is_an_answer(store: Jobs) -> None:
    first = submit(store, question()).job_id
    store.settle(claim(store, first, "w"), Status.FAILED, outcome="failed", fields={"error_code": "x"})
    assert store.redis.exists(keys.answer(question().name)) == 0


# ---- flights ----


def test_who_asks_the_same_meanwhile_waits_and_shares_the_answer(store: Jobs) -> None:
    first = submit(store, question()).job_id
    held = claim(store, first, "w")
    second = submit(store, question()).job_id
    job = find(store, second)
    assert (job.status, job.coalesced_with, job.cached) == (Status.PENDING, first, False)
    assert job.waiting_on is not None
    assert (job.waiting_on.reason, job.waiting_on.until) == ("coalesced", None)
    assert sent(store) == []
    answer(store, held)
    job = find(store, second)
    assert (job.status, job.coalesced_with, job.cached, job.result) == (Status.COMPLETED, first, False, RESULT)
    assert (job.usage or {})["total_tokens"] == 0
    assert (job.saved or {})["total_tokens"] == 5
    assert store.redis.hget(keys.job(second), "message") is None
    assert_nothing_is_left(store)


def test_a_follower_has_no_attempts_whatever_message_comes(store: Jobs) -> None:
    submit(store, question())
    second = submit(store, question()).job_id
    taken = store.take(second, 0, Taker(worker="w", lease_s=5, may_isolate=True, servings=SERVINGS))
    assert taken.claim is None
    assert store.resend(second, 0) == []
    assert find(store, second).coalesced_with is not None


def test_many_followers_are_answered_in_bounded_steps(store: Jobs, due: Due) -> None:
    first = submit(store, question()).job_id
    ids = [submit(store, question()).job_id for _ in range(250)]

    def open_() -> int:
        return sum(find(store, one).status is Status.PENDING for one in ids)

    answer(store, claim(store, first, "w"))
    assert open_() == 150
    assert submit(store, question(cache=Cache.REFRESH)).shares is False
    late = submit(store, question())
    assert find(store, late.job_id).cached, "the answer is there, though not all have it yet"
    assert due.sweep() == (BATCH_OF_SWEEP, []), "the sweep is told that there is more to do"
    assert open_() == 50
    assert due.sweep() == (0, [])
    assert open_() == 0
    assert store.redis.exists(keys.LANDED) == 0
    assert all(find(store, one).coalesced_with == first for one in ids)


def test_large_answers_are_copied_a_few_at_a_time(store: Jobs, due: Due) -> None:
    first = submit(store, question()).job_id
    ids = [submit(store, question()).job_id for _ in range(8)]
    answer(store, claim(store, first, "w"), {"content": "x" * 1_500_000})
    assert [find(store, one).status for one in ids].count(Status.COMPLETED) == 2
    for _ in range(3):
        due.sweep()
    assert {find(store, one).status for one in ids} == {Status.COMPLETED}


def test_when_the_answer_is_erased_on_its_way_the_rest_ask_again(store: Jobs) -> None:
    first = submit(store, question()).job_id
    ids = [submit(store, question()).job_id for _ in range(102)]
    answer(store, claim(store, first, "w"))
    rest = {one for one in ids if find(store, one).status is Status.PENDING}
    store.erase(first, "o")
    second = str(leader(store, question()))
    assert sent(store) == [second]
    assert second in rest
    assert len(rest) == 2
    answer(store, claim(store, second, "w"))
    assert {find(store, one).coalesced_with for one in rest - {second}} == {second}
    assert_nothing_is_left(store)


def fail(store: Jobs, job_id: str) -> None:
    store.settle(claim(store, job_id, "w"), Status.FAILED, outcome="failed", fields={"error_code": "x"})


def expire(store: Jobs, job_id: str) -> None:
    store.redis.hset(keys.job(job_id), "expires_at", 1)
    store.redis.zadd(keys.DUE, {job_id: 1})
    assert Due(store.redis, lease_s=LEASE_S, ttl_s=60).sweep()[0] == 1


def quarantine(store: Jobs, job_id: str) -> None:
    for _ in range(2):
        store.charge_crash(claim(store, job_id, "w"), "test")


ENDS = {
    "cancelled": lambda store, job_id: store.cancel(job_id, "o"),
    "cancelled while it runs": lambda store, job_id: claim(store, job_id, "w") and store.cancel(job_id, "o"),
    "erased": lambda store, job_id: store.erase(job_id, "o"),
    "failed": fail,
    "expired": expire,
    "quarantined": quarantine,
}


@pytest.mark.parametrize("how", sorted(ENDS.keys() - {"failed"}))
def test_when_the_leader_ends_otherwise_the_best_follower_takes_its_place(store: Jobs, how: str) -> None:
    first = submit(store, question()).job_id
    batch, second, third = (submit(store, question(), priority=p).job_id for p in (BATCH, 0, 0))
    store.redis.delete("api")
    ENDS[how](store, first)
    following = sorted([second, third], key=lambda one: (store.redis.hget(keys.job(one), "created_at"), one))
    assert leader(store, question()) == following[0]
    assert sent(store)[-1] == following[0]
    assert find(store, following[0]).coalesced_with is None
    assert find(store, batch).coalesced_with == find(store, following[1]).coalesced_with == following[0]
    answer(store, claim(store, following[0], "w"))
    assert {find(store, one).status for one in (batch, second, third)} == {Status.COMPLETED}
    assert_nothing_is_left(store)


def refuse(store: Jobs, job_id: str, code: str = "bad_request") -> None:
    fields = {"error_code": code, "error_message": "the provider refused the request"}
    store.settle(claim(store, job_id, "w"), Status.FAILED, outcome="failed", reason=code, fields=fields)


def led(store: Jobs, count: int) -> tuple[str, list[str]]:
    """A leader that has been sent, and so many that follow it, in the order in which they go."""
    first = submit(store, question()).job_id
    others = [submit(store, question()).job_id for _ in range(count)]
    store.redis.delete("api")
    return first, sorted(others, key=lambda one: (store.redis.hget(keys.job(one), "created_at"), one))


def test_while_they_fail_followers_go_in_growing_groups(store: Jobs) -> None:
    first, followers = led(store, 20)
    groups = list[list[str]]()
    fail(store, first)
    while group := sent(store):
        groups.append(group)
        store.redis.delete("api")
        assert leader(store, question()) == group[0]
        rest = followers[sum(map(len, groups)) :]
        assert {find(store, one).coalesced_with for one in group} == {None}
        assert {find(store, one).coalesced_with for one in rest} <= {group[0]}
        # In whatever order they end, it is the leader's end that lets the next go.
        for one in group[:0:-1]:
            fail(store, one)
            assert sent(store) == []
        fail(store, group[0])
    assert list(map(len, groups)) == [2, 4, 8, 6]
    assert [one for group in groups for one in group] == followers
    assert {find(store, one).status for one in followers} == {Status.FAILED}
    assert_nothing_is_left(store)


def test_the_first_answer_in_a_group_is_everybodys(store: Jobs) -> None:
    first, followers = led(store, 9)
    fail(store, first)
    group = sent(store)
    assert group == followers[:2]
    answer(store, claim(store, group[1], "w"))
    assert {find(store, one).coalesced_with for one in followers[2:]} == {group[1]}
    assert {find(store, one).status for one in followers[2:]} == {Status.COMPLETED}
    # The other one of the group has a call of its own under way, and an end of its own.
    assert find(store, group[0]).status is Status.PENDING
    fail(store, group[0])
    assert find(store, group[0]).status is Status.FAILED
    assert_nothing_is_left(store)


@pytest.mark.parametrize("how", ["cancelled", "erased", "expired", "quarantined"])
def test_an_end_that_is_no_failed_question_lets_one_go(store: Jobs, how: str) -> None:
    first, followers = led(store, 5)
    fail(store, first)
    group = sent(store)
    store.redis.delete("api")
    ENDS[how](store, group[0])
    assert leader(store, question()) == followers[2]
    assert sent(store)[-1] == followers[2]
    assert {find(store, one).coalesced_with for one in followers[3:]} == {followers[2]}


@pytest.mark.parametrize("code", ["bad_request", "context_too_long", "image_unfit", "reasoning_exhausted"])
def test_what_is_refused_for_the_request_alone_is_refused_to_all_who_asked_it(store: Jobs, code: str) -> None:
    first, followers = led(store, 20)
    refuse(store, first, code)
    assert sent(store) == []
    for one in (find(store, job_id) for job_id in followers):
        assert (one.status, one.coalesced_with, one.attempts, one.usage) == (Status.FAILED, first, (), None)
        assert one.error == JobError(code=code, message="the provider refused the request")
    assert_nothing_is_left(store)
    later = submit(store, question())
    assert not later.shares, "a refusal is kept for nobody"


def test_many_are_refused_in_bounded_steps(store: Jobs, due: Due) -> None:
    first, followers = led(store, 150)
    refuse(store, first)
    refused = [one for one in followers if find(store, one).status is Status.FAILED]
    assert len(refused) == 100
    late = submit(store, question())
    assert not late.shares, "it came after the question was refused"
    assert leader(store, question()) == first, "it leads those who are not its own"
    due.sweep()
    assert {find(store, one).status for one in followers} == {Status.FAILED}
    assert find(store, late.job_id).status is Status.PENDING
    assert store.redis.keys("tandem:flight:*") == []


def test_a_follower_whose_record_cannot_be_read_keeps_the_answer_from_no_other(store: Jobs) -> None:
    first, followers = led(store, 3)
    store.redis.delete(keys.job(followers[0]))
    store.redis.set(keys.job(followers[0]), "not a record")
    answer(store, claim(store, first, "w"))
    assert {find(store, one).status for one in followers[1:]} == {Status.COMPLETED}


def test_a_message_that_cannot_be_sent_is_a_lost_one(store: Jobs) -> None:
    first = submit(store, question()).job_id
    second = submit(store, question()).job_id
    store.redis.delete("api")
    store.redis.set("api", "not a list")
    store.cancel(first, "o")
    store.redis.delete("api")
    store.redis.hset(keys.job(second), "queued_at", 1)
    late = Due(store.redis, lease_s=LEASE_S, ttl_s=60, patience_s=0.01, look_s=0)
    late.find_lost()
    time.sleep(0.03)  # past the patience
    assert [message.job_id for message in late.find_lost()] == [second]


@pytest.mark.parametrize("how", ["cancelled", "erased", "expired"])
def test_a_follower_ends_alone(store: Jobs, how: str) -> None:
    first = submit(store, question()).job_id
    second = submit(store, question()).job_id
    ENDS[how](store, second)
    assert store.redis.zcard(keys.followers(question().flight)) == 0
    assert leader(store, question()) == first
    assert find(store, first).status is Status.PENDING


def test_a_follower_keeps_its_own_deadline(store: Jobs) -> None:
    submit(store, question(), expires_in_s=60)
    second = submit(store, question(), expires_in_s=20).job_id
    expires_at = float(str(store.redis.hget(keys.job(second), "expires_at")))
    assert store.redis.zscore(keys.DUE, second) == expires_at


def test_a_leader_whose_record_is_gone_is_found_out(store: Jobs, due: Due) -> None:
    """A moment after its deadline, not at the end of its followers' time."""
    first = submit(store, question(), expires_in_s=10).job_id
    ids = [submit(store, question(), expires_in_s=60).job_id for _ in range(2)]
    assert float(str(store.redis.zscore(keys.DUE, ids[0]))) < time.time() * 1000 + 12_000
    store.redis.delete(keys.job(first))
    for one in (first, *ids):
        store.redis.zadd(keys.DUE, {one: 1})
    due.sweep()
    assert store.redis.zcard(keys.DUE) == 2
    lead = leader(store, question())
    assert lead in ids
    store.redis.delete("api")
    answer(store, claim(store, str(lead), "w"))
    assert {find(store, one).status for one in ids} == {Status.COMPLETED}


def test_a_flight_that_was_forgotten_costs_nobody_the_answer(store: Jobs, due: Due) -> None:
    submit(store, question())
    ids = [submit(store, question()).job_id for _ in range(2)]
    store.redis.delete(keys.flight(question().flight), keys.followers(question().flight))
    for one in ids:
        store.redis.zadd(keys.DUE, {one: 1})
    due.sweep()
    lead = leader(store, question())
    assert lead in ids
    store.redis.delete("api")
    answer(store, claim(store, str(lead), "w"))
    assert {find(store, one).status for one in ids} == {Status.COMPLETED}


WAITS: dict[str, dict[str, Any]] = {"parked": {"limit": "upstream", "hold_s": 1.0}, "backoff": {"delay_s": 1.0}}


@pytest.mark.parametrize("state", ["queued", "parked", "backoff", "processing"])
def test_a_hurried_follower_lifts_its_leader(store: Jobs, due: Due, state: str) -> None:
    first = submit(store, question(), priority=BATCH).job_id
    assert submit(store, question(), priority=BATCH).lifted == ()
    if state != "queued":
        held = claim(store, first, "w")
        how = WAITS.get(state)
        if how:
            store.put_back(held, outcome="put_back", reason="test", **how)
    lifted = submit(store, question()).lifted
    assert [(one.job_id, one.priority) for one in lifted] == ([(first, 0)] if state == "queued" else [])
    assert store.redis.hget(keys.job(first), "priority") == "0"
    assert store.redis.zcard(keys.waiting("api", BATCH)) == 0
    assert store.redis.zcard(keys.waiting("api", 0)) == (state == "queued")
    if state == "parked":
        assert float(str(store.redis.zscore(keys.parked("upstream"), first))) < 1e13
    if state == "backoff":
        store.redis.zadd(keys.DUE, {first: 1})
        assert [message.priority for message in due.sweep()[1]] == [0]
    assert submit(store, question()).lifted == ()


def test_owners_who_share_are_not_told_of_each_others_jobs(store: Jobs) -> None:
    shared = question(scope="shared")
    first = submit(store, shared, owner="o").job_id
    other, own = submit(store, shared, owner="p").job_id, submit(store, shared, owner="o").job_id
    for _ in range(2):  # while they wait, and after
        job = find(store, other, "p")
        assert (job.coalesced_with, find(store, own).coalesced_with) == (None, first)
        if job.status is Status.PENDING:
            assert job.waiting_on is not None
            assert job.waiting_on.reason == "coalesced"
            answer(store, claim(store, first, "w"))
    assert find(store, other, "p").result == RESULT
    assert find(store, submit(store, shared, owner="q").job_id, "q").cached


def test_a_flight_forgets_itself(store: Jobs) -> None:
    submit(store, question(), expires_in_s=60)
    submit(store, question(), expires_in_s=90)
    submit(store, question(), expires_in_s=30)
    assert 0 < store.redis.ttl(keys.flight(question().flight)) <= 60 + 3600
    assert 80 + 3600 < store.redis.ttl(keys.followers(question().flight)) <= 90 + 3600
