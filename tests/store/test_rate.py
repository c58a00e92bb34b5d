"""The governor's scripts on a real Valkey: who gets room, who passes whom, what is counted for how long."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from typing import Any

import pytest

from tasks.store import keys
from tasks.store.claim import Claim, Taker
from tasks.store.due import Due
from tasks.store.jobs import Jobs
from tasks.store.new_job import NewJob
from tasks.store.rate import CallOver, Ended
from tasks.store.taken import Taken
from tests.store import clock
from tests.support.polling import until
from tests.support.valkey import Valkey

#: So long that a machine which stands still for a while makes no difference: time passes when a test says so.
WINDOW_S = 60.0
A_WINDOW_AND_MORE_S = WINDOW_S + 1
PROVIDER, MODEL = "upstream", "model"
NONE = {"rpm": 0, "tpm": 0, "rpd": 0, "calls": 0, "guessed": False}


class House:
    """A store with quotas by scope, and the Celery list as the broker."""

    def __init__(
        self, valkey: Valkey, window_s: float = WINDOW_S, arrival_s: float = 0.02, **scopes: dict[str, Any]
    ) -> None:
        times = {"window": int(window_s * 1000), "arrival": int(arrival_s * 1000), "grant": 30_000, "longest": 500_000}
        quotas = {name.replace("__", ":"): NONE | quota for name, quota in scopes.items()}
        policy = json.dumps({**times, "scopes": quotas})
        self.jobs = Jobs(valkey.client, ttl_s=60, policy=policy)
        self.due = Due(valkey.client, lease_s=5, ttl_s=60, policy=policy)

    def accept(self, *, priority: int = 0, model: str = MODEL, expires_in_s: float = 3600, **tokens: int) -> str:
        record = {"owner": "o", "kind": "chat", "mode": "auto", "model": model, "request": "{}", "metadata": "{}",
                  "queue": "api", "priority": str(priority), "target": model, "max_tries": "5"}  # fmt: skip
        record |= {name: str(number) for name, number in tokens.items()}
        new = NewJob(job_id=f"job_{secrets.token_hex(8)}", owner="o", idempotency_key=None, fingerprint="f",
                     expires_in_s=expires_in_s, list_age_s=60, fields=record)  # fmt: skip
        return self.jobs.accept(new).job_id

    def take(self, job_id: str) -> Taken:
        epoch = int(str(self.field(job_id, "epoch")))
        servings = [("api", PROVIDER, MODEL)]
        return self.jobs.take(job_id, epoch, Taker(worker="w", lease_s=5, may_isolate=True, servings=servings))

    def claim(self, job_id: str) -> Claim:
        claim = self.take(job_id).claim
        assert claim is not None, f"{job_id} had no room"
        return claim

    def field(self, job_id: str, name: str) -> str | None:
        return self.jobs.redis.hget(keys.job(job_id), name)  # type: ignore[return-value]

    def let_go(self) -> list[str]:
        return [message.job_id for message in self.due.let_go()]

    def pass_time(self, seconds: float) -> None:
        clock.pass_time(self.jobs.redis, (PROVIDER, f"{PROVIDER}:{MODEL}"), seconds)


def earlier(claim: Claim, seconds: float) -> Claim:
    """A claim as if it had been made so much earlier."""
    return replace(claim, claimed_ms=claim.claimed_ms - int(seconds * 1000))


def over(claim: Claim, ended: Ended = Ended.ANSWERED, **said: Any) -> CallOver:
    return CallOver(claim=claim, ended=ended, sent_s=0.0, **said)


def test_what_has_no_room_is_parked_and_let_go_in_time(valkey: Valkey) -> None:
    house = House(valkey, upstream={"rpm": 1})
    first, second = house.accept(), house.accept()
    house.jobs.call_over(over(house.claim(first)))
    waits = house.take(second).waiters
    assert waits.next_in_s is not None
    assert WINDOW_S / 2 < waits.next_in_s <= WINDOW_S + 0.03
    assert (house.field(second, "phase"), house.field(second, "reason")) == ("parked", "rate_limit")
    house.pass_time(WINDOW_S / 2)
    assert house.let_go() == []
    house.pass_time(WINDOW_S / 2 + 1)
    assert house.let_go() == [second]
    house.claim(second)


def test_a_limit_that_nobody_waits_for_any_more_is_forgotten(valkey: Valkey) -> None:
    house = House(valkey, upstream={"rpm": 1})
    house.claim(house.accept())
    waiting = house.accept()
    assert house.take(waiting).claim is None
    assert valkey.client.smembers(keys.LIMITS) == {PROVIDER}
    assert house.jobs.cancel(waiting, "o")
    house.let_go()
    assert valkey.client.smembers(keys.LIMITS) == set()


def test_room_is_kept_for_whoever_was_let_go(valkey: Valkey) -> None:
    house = House(valkey, upstream={"rpm": 1})
    waiting, newcomer = house.accept(), house.accept()
    house.jobs.call_over(over(house.claim(house.accept())))
    assert house.take(waiting).claim is None
    house.pass_time(A_WINDOW_AND_MORE_S)
    assert house.let_go() == [waiting]
    assert house.take(newcomer).claim is None
    house.claim(waiting)


def test_a_newcomer_does_not_overtake_who_waits_for_the_same_room(valkey: Valkey) -> None:
    """There is room again, and nobody has let the parked one go yet: the room is its own."""
    house = House(valkey, upstream={"rpm": 1})
    waiting, newcomer = house.accept(), house.accept()
    # Within one millisecond they have no order.
    valkey.client.hincrby(keys.job(newcomer), "created_at", 1)
    house.jobs.call_over(over(house.claim(house.accept())))
    assert house.take(waiting).claim is None
    house.pass_time(A_WINDOW_AND_MORE_S)
    assert house.take(newcomer).claim is None
    assert house.field(newcomer, "phase") == "parked"
    house.claim(waiting)


def test_a_shorter_hold_does_not_shorten_a_longer_one(valkey: Valkey) -> None:
    """Two calls under way together are refused: one is told to come back in 40 s, the other in 1 s."""
    house = House(valkey)
    first, second = house.claim(house.accept()), house.claim(house.accept())
    house.jobs.put_back(first, outcome="rate_limited", reason="test", limit=PROVIDER, hold_s=40)
    held_until = valkey.client.hget(keys.limit(PROVIDER), "until")
    house.jobs.put_back(second, outcome="rate_limited", reason="test", limit=PROVIDER, hold_s=1)
    assert valkey.client.hget(keys.limit(PROVIDER), "until") == held_until
    house.pass_time(2)
    assert house.let_go() == []
    assert house.take(house.accept()).claim is None


def test_a_shorter_hold_of_a_quota_does_not_shorten_a_longer_one(valkey: Valkey) -> None:
    house = House(valkey, upstream={"rpm": 10})
    first, second = house.claim(house.accept()), house.claim(house.accept())
    house.jobs.call_over(over(first, Ended.REFUSED, sends=0, limit=PROVIDER, hold_s=40))
    held_until = valkey.client.hget(keys.limit(PROVIDER), "until")
    house.jobs.call_over(over(second, Ended.REFUSED, sends=0, limit=PROVIDER, hold_s=1))
    assert valkey.client.hget(keys.limit(PROVIDER), "until") == held_until


def test_refusals_of_calls_that_were_under_way_together_lower_the_limit_once(valkey: Valkey) -> None:
    """48 of 50 were answered, so 48 at least are let through."""
    house = House(valkey, upstream={"rpm": 50})
    claims = [house.claim(house.accept()) for _ in range(50)]
    for claim in claims[:48]:
        house.jobs.call_over(over(claim))
    for claim in claims[48:]:
        house.jobs.call_over(over(claim, Ended.REFUSED, sends=0, limit=PROVIDER, hold_s=1))
    assert int(str(valkey.client.hget(keys.limit(PROVIDER), "learned"))) >= 48


def test_the_older_goes_first_and_interactive_before_batch(valkey: Valkey) -> None:
    house = House(valkey, upstream={"rpm": 3})
    for _ in range(3):
        house.jobs.call_over(over(house.claim(house.accept())))
    batch, older, younger = house.accept(priority=6), house.accept(), house.accept()
    valkey.client.hincrby(keys.job(younger), "created_at", 1)
    for job_id in (younger, batch, older):
        assert house.take(job_id).claim is None
    house.pass_time(A_WINDOW_AND_MORE_S)
    assert house.let_go() == [older, younger, batch]


def test_small_jobs_do_not_pass_a_large_one(valkey: Valkey) -> None:
    """Else it would wait for as long as there are small ones."""
    house = House(valkey, upstream={"tpm": 100})
    running = house.claim(house.accept(most_tokens=60))
    large, small = house.accept(most_tokens=80), house.accept(most_tokens=30, priority=6)
    assert [house.take(one).claim for one in (large, small)] == [None, None]
    assert house.let_go() == []
    answered = house.jobs.call_over(over(running, tokens=0, answer_tokens=0))
    assert [message.job_id for message in answered.messages] == [large]


def test_jobs_of_another_model_pass(valkey: Valkey) -> None:
    house = House(valkey, upstream__model={"rpm": 1})
    house.claim(house.accept())
    waits, passes = house.accept(), house.accept(model="another")
    assert house.take(waits).claim is None
    house.claim(passes)


def test_a_provider_and_a_model_must_both_have_room(valkey: Valkey) -> None:
    house = House(valkey, upstream={"rpm": 1}, upstream__model={"calls": 1})
    first, second = house.accept(), house.accept()
    held = house.claim(first)
    house.pass_time(WINDOW_S - 0.5)
    assert house.take(second).claim is None
    assert house.field(second, "limit") == "upstream:model", "what nobody can tell the end of is waited for first"
    assert house.jobs.call_over(over(held)).messages == ()
    assert house.field(second, "limit") == "upstream", "the model has room now, and its provider has not"
    house.pass_time(A_WINDOW_AND_MORE_S)
    assert house.let_go() == [second]


def test_so_many_calls_at_a_time_and_the_next_when_one_is_over(valkey: Valkey) -> None:
    house = House(valkey, upstream={"calls": 1})
    held, waiting = house.claim(house.accept()), house.accept()
    assert house.take(waiting).claim is None
    assert [message.job_id for message in house.jobs.call_over(over(held)).messages] == [waiting]
    assert house.jobs.call_over(over(held)).messages == ()


def test_tokens_are_settled_with_what_was_really_used(valkey: Valkey) -> None:
    house = House(valkey, upstream={"tpm": 100})
    held, waiting = (house.accept(prompt_tokens=20, most_tokens=60) for _ in range(2))
    claim = house.claim(held)
    assert house.take(waiting).claim is None
    assert house.jobs.call_over(over(claim, tokens=15, answer_tokens=5)).messages != ()
    assert house.jobs.redis.hget(keys.limit(PROVIDER), "spent") == "85"  # 15, and 70 for the one that was let go


def test_a_call_that_was_never_sent_gives_its_room_back(valkey: Valkey) -> None:
    house = House(valkey, upstream={"rpm": 1, "rpd": 1})
    house.jobs.call_over(over(house.claim(house.accept()), Ended.FAILED, sends=0))
    house.claim(house.accept())


def test_what_was_never_sent_yesterday_is_not_taken_off_today(valkey: Valkey) -> None:
    house = House(valkey, upstream={"rpd": 9})
    yesterday = house.claim(house.accept())
    valkey.client.hincrby(keys.limit(PROVIDER), "day", -1)
    house.jobs.call_over(over(house.claim(house.accept())))
    house.jobs.call_over(over(earlier(yesterday, 1440 * WINDOW_S), Ended.FAILED, sends=0))
    assert house.jobs.redis.hget(keys.limit(PROVIDER), "day_used") == "1"


def test_a_call_that_was_sent_twice_counts_twice(valkey: Valkey) -> None:
    house = House(valkey, upstream={"rpm": 2})
    house.jobs.call_over(over(house.claim(house.accept()), sends=2))
    assert house.take(house.accept()).claim is None


def test_a_day_counts_what_was_sent_twice_twice(valkey: Valkey) -> None:
    house = House(valkey, window_s=86_400, upstream={"rpd": 3})
    house.jobs.call_over(over(house.claim(house.accept()), sends=3))
    assert house.take(house.accept()).claim is None


def test_further_requests_of_a_call_are_booked_ahead_and_nobody_overtakes_them(valkey: Valkey) -> None:
    house = House(valkey, upstream={"rpm": 2, "rpd": 4})
    claim = house.claim(house.accept())
    assert house.jobs.book_further(claim, 2) == 0
    assert WINDOW_S / 2 < house.jobs.book_further(claim, 3) <= WINDOW_S + 0.03
    other = house.accept()
    assert house.take(other).claim is None
    house.pass_time(A_WINDOW_AND_MORE_S)
    assert house.jobs.book_further(claim, 3) == 0
    assert valkey.client.zscore(keys.requests(PROVIDER), f"{claim.call_id}.further3")
    assert valkey.client.hget(keys.limit(PROVIDER), "day_used") == "3", "asked for again, and counted once"
    ended = over(earlier(claim, A_WINDOW_AND_MORE_S))
    assert [message.job_id for message in house.jobs.call_over(ended).messages] == [other]


def test_a_further_request_waits_for_the_end_of_a_hold(valkey: Valkey) -> None:
    house = House(valkey, upstream={"rpm": 10})
    claim, refused = house.claim(house.accept()), house.claim(house.accept())
    assert house.jobs.book_further(claim, 2) == 0
    house.jobs.call_over(over(refused, Ended.REFUSED, sends=0, limit=PROVIDER, hold_s=500))
    assert 400 < house.jobs.book_further(claim, 3) <= 500


def test_what_was_let_through_before_a_refusal_counts(valkey: Valkey) -> None:
    """A long list of texts goes up in several calls: three were answered, the fourth was refused."""
    house = House(valkey, upstream={"rpm": 10})
    claim = house.claim(house.accept())
    house.jobs.call_over(over(claim, Ended.REFUSED, sends=3, limit=PROVIDER, hold_s=0.0))
    assert valkey.client.zcard(keys.requests(PROVIDER)) == 3


def test_a_lost_workers_call_is_closed_by_the_sweep(valkey: Valkey) -> None:
    house = House(valkey, upstream={"calls": 1})
    lost, waiting = house.accept(), house.accept()
    house.claim(lost)
    assert house.take(waiting).claim is None
    valkey.client.zadd(keys.DUE, {lost: 1})
    valkey.client.hset("tandem:sweep", mapping={"swept_at": 2e12, "grace_until": 0})
    house.due.sweep()
    assert house.let_go() == [waiting]


def test_a_day_is_counted_and_who_cannot_run_before_its_deadline_fails_at_once(valkey: Valkey) -> None:
    """A day is 1,440 windows: with windows this long it does not end while the test runs."""
    house = House(valkey, window_s=86_400, upstream={"rpd": 1})
    house.jobs.call_over(over(house.claim(house.accept())))
    late = house.accept()
    assert house.take(late).claim is None
    assert (house.field(late, "status"), house.field(late, "error_code")) == ("failed", "limit_exceeds_deadline")
    assert valkey.client.zscore(keys.DUE, late) is None


def test_what_would_be_sent_in_a_days_last_moment_waits_for_the_next(valkey: Valkey) -> None:
    """It may arrive then. A day is 1,440 windows, and a call may be on its way for as long here."""
    house = House(valkey, window_s=86_400, arrival_s=1440 * 86_400, upstream={"rpd": 9})
    late = house.accept()
    assert house.take(late).claim is None
    assert house.field(late, "error_code") == "limit_exceeds_deadline"


def test_a_place_far_down_the_line_is_too_late_for_a_near_deadline(valkey: Valkey) -> None:
    house = House(valkey, upstream={"rpm": 1})
    house.claim(house.accept())
    first, second = (house.accept(expires_in_s=1.5 * WINDOW_S) for _ in range(2))
    house.take(first)
    house.take(second)
    assert (house.field(first, "status"), house.field(second, "status")) == ("pending", "failed")
    assert house.field(second, "error_code") == "limit_exceeds_deadline"


def test_a_refusal_holds_everybody_and_one_goes_first(valkey: Valkey) -> None:
    house = House(valkey, upstream={"rpm": 10})
    through, refused = house.claim(house.accept()), house.claim(house.accept())
    house.jobs.call_over(over(through))
    house.jobs.call_over(over(refused, Ended.REFUSED, sends=0, limit=PROVIDER, hold_s=30))
    waiting = [house.accept() for _ in range(3)]
    for job_id in waiting:
        assert house.take(job_id).claim is None
    assert house.let_go() == []
    house.pass_time(31)
    [first] = house.let_go()
    assert house.let_go() == []
    assert len(house.jobs.call_over(over(house.claim(first))).messages) == 2


@pytest.mark.parametrize("limits", [{"upstream": {"rpm": 10}}, {}], ids=["with limits", "without"])
def test_who_was_refused_lines_up_behind_those_who_wait(valkey: Valkey, limits: dict[str, Any]) -> None:
    """Else a job that is refused each time would be the first after each hold, and keep all others waiting for ever."""
    house = House(valkey, **limits)
    refused, waiting = house.claim(house.accept()), house.accept()
    house.jobs.call_over(over(refused, Ended.REFUSED, sends=0, limit=PROVIDER, hold_s=30))
    # Within one millisecond they have no order.
    until(lambda: clock.now_ms(valkey.client) > int(house.field(waiting, "created_at") or 0), within_s=1)
    house.jobs.put_back(refused, outcome="rate_limited", reason="test", limit=PROVIDER, hold_s=30)
    assert house.take(waiting).claim is None
    assert house.let_go() == []
    house.pass_time(31)
    assert house.let_go() == [waiting]


# ---- a call counts when it is sent ----


def test_a_call_that_is_sent_late_counts_from_its_sending(valkey: Valkey) -> None:
    house = House(valkey, upstream={"rpm": 1})
    late = house.claim(house.accept())
    house.pass_time(WINDOW_S - 1)
    assert house.jobs.book_sending(late, counted_s=0.0)
    waits = house.accept()
    house.pass_time(2)
    assert house.take(waits).claim is None, "a window since the claim, not since it was sent"
    house.pass_time(WINDOW_S)
    assert house.let_go() == [waits]


def test_a_call_that_is_sent_when_others_have_taken_its_room_is_not_sent(valkey: Valkey) -> None:
    house = House(valkey, upstream={"rpm": 1})
    late = house.claim(house.accept())
    house.pass_time(A_WINDOW_AND_MORE_S)
    house.claim(house.accept())
    assert not house.jobs.book_sending(late, counted_s=0.0)
    house.pass_time(A_WINDOW_AND_MORE_S)
    assert house.jobs.book_sending(late, counted_s=0.0)


def test_a_call_that_is_sent_late_waits_for_the_end_of_a_hold(valkey: Valkey) -> None:
    house = House(valkey, upstream={"rpm": 10})
    late, refused = (house.claim(house.accept()) for _ in range(2))
    house.jobs.call_over(over(refused, Ended.REFUSED, sends=0, limit=PROVIDER, hold_s=30.0))
    assert not house.jobs.book_sending(late, counted_s=0.0)
    house.pass_time(31)
    assert house.jobs.book_sending(late, counted_s=0.0)


def test_a_call_that_is_sent_on_the_next_day_is_of_that_day(valkey: Valkey) -> None:
    house = House(valkey, upstream={"rpd": 5})
    late = house.claim(house.accept())
    valkey.client.hincrby(keys.limit(PROVIDER), "day", -1)
    assert house.jobs.book_sending(earlier(late, 1440 * WINDOW_S), counted_s=0.0)
    assert valkey.client.hget(keys.limit(PROVIDER), "day_used") == "1"
    assert house.jobs.book_sending(late, counted_s=0.0)
    assert valkey.client.hget(keys.limit(PROVIDER), "day_used") == "1"


def test_refusals_of_calls_that_were_sent_late_and_together_halve_the_limit_once(valkey: Valkey) -> None:
    house = House(valkey, upstream={"rpm": 40})
    together = [house.claim(house.accept()) for _ in range(6)]
    house.pass_time(WINDOW_S / 2)
    for claim in together:
        assert house.jobs.book_sending(claim, counted_s=0.0)
    for claim in together:
        refusal = CallOver(
            claim=earlier(claim, WINDOW_S / 2), ended=Ended.REFUSED, sent_s=WINDOW_S / 2, sends=0, tokens=0,
            limit=PROVIDER, hold_s=30.0,
        )  # fmt: skip
        house.jobs.call_over(refusal)
    assert valkey.client.hget(keys.limit(PROVIDER), "learned") == "20"


# ---- a call whose job was ended from outside ----


def end_from_outside(house: House, how: str, job_id: str) -> None:
    match how:
        case "cancelled":
            assert house.jobs.cancel(job_id, "o")
        case "erased":
            assert house.jobs.erase(job_id, "o")
        case _:
            house.jobs.scripts.call("end_items", [], ["cancelled", "why", 60, job_id])


@pytest.mark.parametrize("how", ["cancelled", "erased", "ended with its batch"])
def test_the_slot_of_a_job_that_was_ended_after_its_worker_died_is_free_soon(valkey: Valkey, how: str) -> None:
    house = House(valkey, upstream={"calls": 1, "tpm": 100})
    job_id = house.accept(prompt_tokens=10, most_tokens=80)
    house.claim(job_id)
    waits = house.accept(prompt_tokens=10, most_tokens=80)
    assert house.take(waits).claim is None
    end_from_outside(house, how, job_id)
    assert house.let_go() == [], "its worker may live, and the call with it"
    house.pass_time(16)
    assert valkey.client.zcount(keys.calls(PROVIDER), clock.now_ms(valkey.client), "+inf") == 0
    house.pass_time(A_WINDOW_AND_MORE_S)
    assert house.let_go() == [waits]


@pytest.mark.parametrize("how", ["cancelled", "erased", "ended with its batch"])
def test_the_worker_of_a_job_that_was_ended_tells_what_its_call_came_to(valkey: Valkey, how: str) -> None:
    house = House(valkey, upstream={"calls": 1, "rpm": 10})
    claim = house.claim(house.accept())
    waits = house.accept()
    assert house.take(waits).claim is None
    end_from_outside(house, how, claim.job_id)
    assert [message.job_id for message in house.jobs.call_over(over(claim, Ended.FAILED)).messages] == [waits]
    assert valkey.client.zcard(keys.requests(PROVIDER)) == 2


def test_a_request_counts_for_a_window_after_it_was_sent(valkey: Valkey) -> None:
    """Not after it was claimed: eight seconds went by in between. `House` has 20 ms for its way there."""
    house = House(valkey, upstream={"rpm": 10})
    claim = earlier(house.claim(house.accept()), 10)
    house.jobs.call_over(CallOver(claim=claim, ended=Ended.ANSWERED, sent_s=8.0))
    counts_until = valkey.client.zscore(keys.requests(PROVIDER), claim.call_id)
    assert counts_until is not None
    assert 0 <= counts_until - (claim.claimed_ms + (8 + WINDOW_S) * 1000) <= 50
