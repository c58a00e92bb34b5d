"""Whatever happens in whatever order, no job is lost, none ends twice, and each unfinished one is watched once.

The scripts run on a real Valkey. The broker is a list that loses and doubles messages; time is moved by setting back
what is due, so that an hour takes no hour.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from tasks.domain.job import Status
from tasks.store import keys
from tasks.store.claim import Claim
from tasks.store.due import Due
from tasks.store.jobs import Jobs, NewJob
from tasks.store.message import Message
from tests.support.valkey import Valkey

OWNER, QUEUE, LIMIT = "owner", "api", "upstream"
LEASE_S = 3600.0
FINAL = {"completed", "failed", "cancelled", "expired"}


@dataclass
class Seen:
    """What the outside knows of a job."""

    ended: str | None = None
    settled: int = 0
    epoch: int = 0
    claims: list[Claim] = field(default_factory=list)


class Lifecycle(RuleBasedStateMachine):
    """Clients, workers, a broker that cannot be trusted, and the sweep."""

    redis: Redis
    policy = ""
    jobs_made = Bundle("jobs_made")

    @initialize()
    def begin(self) -> None:
        self.redis.flushdb()
        self.jobs = Jobs(self.redis, ttl_s=600, policy=self.policy)
        self.due = Due(self.redis, lease_s=LEASE_S, ttl_s=600, patience_s=0, policy=self.policy)
        self.seen: dict[str, Seen] = {}
        self.broker: list[Message] = []

    # ---- the broker, which has a real list too: the rule for lost messages asks for its length ----

    def send(self, messages: list[Message] | None) -> None:
        for message in messages or ():
            self.broker.append(message)
            self.redis.lpush(message.queue, message.job_id)

    def take(self, place: int) -> Message:
        self.redis.rpop(QUEUE)
        return self.broker.pop(place % len(self.broker))

    # ---- clients ----

    @precondition(lambda self: len(self.seen) < 4)
    @rule(target=jobs_made, sent=st.booleans())
    def accept(self, sent: bool) -> str:
        job_id = f"job_{secrets.token_hex(16)}"
        record = {"owner": OWNER, "kind": "chat", "mode": "auto", "model": "default", "request": '{"messages":[]}',
                  "metadata": "{}", "queue": QUEUE, "priority": "0", "target": "", "max_tries": "5"}  # fmt: skip
        self.jobs.accept(
            NewJob(
                job_id=job_id,
                owner=OWNER,
                idempotency_key=None,
                fingerprint="",
                expires_in_s=7200,
                list_age_s=7200,
                fields=record,
            )
        )
        self.seen[job_id] = Seen()
        if sent:
            self.send([Message(job_id=job_id, epoch=0, queue=QUEUE, priority=0)])
        return job_id

    @rule(job_id=jobs_made)
    def cancel(self, job_id: str) -> None:
        assert self.jobs.cancel(job_id, OWNER)

    # ---- the broker's faults ----

    @rule(place=st.integers(0, 99))
    def lose_message(self, place: int) -> None:
        if self.broker:
            self.take(place)

    @rule(place=st.integers(0, 99), times=st.integers(1, 3))
    def double_message(self, place: int, times: int) -> None:
        if self.broker:
            self.send([self.broker[place % len(self.broker)]] * times)

    # ---- workers ----

    @rule(place=st.integers(0, 99), may_isolate=st.booleans(), again=st.booleans())
    def deliver(self, place: int, may_isolate: bool, again: bool) -> None:
        """With `again` the broker keeps the message and will deliver it once more."""
        if self.broker:
            message = self.broker[place % len(self.broker)] if again else self.take(place)
            self.claim(message, may_isolate)

    @rule()
    def deliver_all(self) -> None:
        while self.broker:
            self.claim(self.take(0))

    def checked(self, claim: Claim, written: bool, ends: bool = True) -> None:
        """Only who holds the newest claim may write, and only while the job is neither over nor taken away."""
        seen = self.seen[claim.job_id]
        assert not written or claim.fence == seen.epoch, "a stale fence was let through"
        seen.settled += written and ends

    def claim(self, message: Message, may_isolate: bool = True) -> Claim | None:
        claim = self.jobs.claim(
            message.job_id, message.epoch, worker="w1", lease_s=LEASE_S, may_isolate=may_isolate,
            servings=[(QUEUE, LIMIT, "model")],
        )  # fmt: skip
        if claim is not None:
            assert message.epoch == int(claim.fence) - 1, "a stale message was let through"
            self.seen[message.job_id].claims.append(claim)
        return claim

    @rule(job_id=jobs_made, which=st.integers(0, 9), status=st.sampled_from([Status.COMPLETED, Status.FAILED]))
    def settle(self, job_id: str, which: int, status: Status) -> None:
        """By the present holder or by one that was given up long ago."""
        if claim := self.some_claim(job_id, which):
            self.checked(claim, self.jobs.settle(claim, status, outcome=status.value))

    @rule(
        job_id=jobs_made,
        which=st.integers(0, 9),
        how=st.sampled_from(
            [{}, {"delay_s": 60.0, "charged": True}, {"limit": LIMIT, "hold_s": 60.0}, {"engine_lost": True}]
        ),
    )
    def put_back(self, job_id: str, which: int, how: dict[str, Any]) -> None:
        if claim := self.some_claim(job_id, which):
            back = self.jobs.put_back(claim, outcome="put_back", reason="test", **how)
            self.checked(claim, back is not None, ends=False)
            self.send(back)

    @rule(job_id=jobs_made, which=st.integers(0, 9))
    def crash_in_isolation(self, job_id: str, which: int) -> None:
        if claim := self.some_claim(job_id, which):
            back = self.jobs.charge_crash(claim, "test")
            self.checked(claim, back is not None, ends=False)
            self.send(back)

    @rule(place=st.integers(0, 99))
    def resend_while_draining(self, place: int) -> None:
        if self.broker:
            message = self.take(place)
            self.send(self.jobs.resend(message.job_id, message.epoch))

    def some_claim(self, job_id: str, which: int) -> Claim | None:
        claims = self.seen[job_id].claims
        return claims[-1 - which % len(claims)] if claims else None

    # ---- time and the sweep ----

    @rule(job_id=jobs_made)
    def its_moment_comes(self, job_id: str) -> None:
        """The lease runs out, the backoff is over."""
        if self.redis.zscore(keys.DUE, job_id) is not None:
            self.redis.zadd(keys.DUE, {job_id: 1})

    @rule(job_id=jobs_made)
    def its_deadline_passes(self, job_id: str) -> None:
        if self.redis.zscore(keys.DUE, job_id) is not None:
            self.redis.hset(keys.job(job_id), "expires_at", 1)
            self.redis.zadd(keys.DUE, {job_id: 1})

    @rule()
    def the_hold_ends(self) -> None:
        self.redis.hset(keys.limit(LIMIT), mapping={"until": 1, "wake_at": 1})

    @rule(sent=st.booleans())
    def sweep(self, sent: bool) -> None:
        self.redis.hset("tandem:sweep", mapping={"swept_at": int(time.time() * 1000) + 5000, "grace_until": 0})
        found = [*self.due.sweep()[1], *self.due.find_lost(), *self.due.let_go()]
        if sent:  # else the sweeping worker dies before it sends
            self.send(found)

    # ---- what must hold, always ----

    @invariant()
    def watched_and_final(self) -> None:
        for job_id, seen in getattr(self, "seen", {}).items():
            record = cast(dict[str, str], self.redis.hgetall(keys.job(job_id)))
            status, epoch = record["status"], int(record["epoch"])
            assert seen.ended is None or status == seen.ended, "a final state changed"
            assert epoch >= seen.epoch, "an epoch went back"
            assert seen.settled <= 1, "settled twice"
            assert (self.redis.zscore(keys.DUE, job_id) is None) == (status in FINAL), f"{status}, watched wrongly"
            self.lines_agree(job_id, record)
            seen.epoch = epoch
            seen.ended = status if status in FINAL else None

    def lines_agree(self, job_id: str, record: dict[str, str]) -> None:
        waiting = self.redis.zscore(keys.waiting(QUEUE, 0), job_id) is not None
        parked = self.redis.zscore(keys.parked(LIMIT), job_id) is not None
        phase = record["phase"] if record["status"] == "pending" else ""
        assert waiting == (phase == "queued") and parked == (phase == "parked"), (phase, waiting, parked)

    def teardown(self) -> None:
        """However it was left: with workers that work, everything ends."""
        for _ in range(60):
            if all(seen.ended for seen in getattr(self, "seen", {}).values()):
                return
            for job_id in self.seen:
                self.its_moment_comes(job_id)
            self.the_hold_ends()
            time.sleep(0.002)
            self.sweep(sent=True)
            while self.broker:
                message = self.take(0)
                if claim := self.claim(message):
                    self.seen[message.job_id].epoch = claim.fence
                    self.checked(claim, self.jobs.settle(claim, Status.COMPLETED, outcome="completed"))
            self.watched_and_final()
        raise AssertionError("some jobs never ended")


#: One call in 20 ms and one at a time: claims find no room, and jobs are let go with room kept for them.
QUOTA = {"rpm": 1, "tpm": 0, "rpd": 0, "calls": 1, "guessed": False}
GOVERNED = json.dumps({"window": 20, "arrival": 1, "grant": 5, "longest": 20, "scopes": {LIMIT: QUOTA}})


@pytest.mark.timeout(120)
@pytest.mark.parametrize("policy", ["", GOVERNED], ids=["without limits", "with limits"])
def test_no_interleaving_loses_a_job_or_ends_it_twice(valkey: Valkey, policy: str) -> None:
    machine = type("Lifecycle", (Lifecycle,), {"redis": valkey.client, "policy": policy})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=120, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )  # fmt: skip
