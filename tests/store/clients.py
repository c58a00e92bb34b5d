"""The state machine's outside: clients, and a broker that loses and doubles messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from redis import Redis

from tasks.domain.errors import IdempotencyMismatch
from tasks.domain.job import Cache
from tasks.publish import list_of
from tasks.store import keys, places
from tasks.store.answers import Question
from tasks.store.claim import Claim
from tasks.store.due import Due
from tasks.store.jobs import Jobs
from tasks.store.learned import Learned
from tasks.store.message import Message
from tasks.store.new_job import NewJob
from tests.store import model
from tests.store.elsewhere import ALL, BREAKER, GPU, WAYS, Elsewhere
from tests.store.flights import Flights, question
from tests.store.model import BATCH, OWNER, Seen
from tests.store.workers import LEASE_S, Workers

#: A job's time: less and more than the waits that it is given.
SOON_S, LATER_S = 120.0, 7200.0
#: Longer than a test takes: what is not set back is young.
PATIENCE_S = 600.0
#: When the first job was accepted (ms); the others a millisecond later each.
FIRST = 1_000_000
#: What a message looks like that a script sends.
PUSHED = "pushed:"
#: Mostly one question: what is of interest are those who ask the same.
QUESTIONS = st.sampled_from(
    [
        None,
        None,
        question("q", Cache.USE),
        question("q", Cache.USE),
        question("q", Cache.REFRESH),
        question("r", Cache.USE),
    ]
)
KEYS, TIMES, PLACES = st.sampled_from([None, "k1", "k2"]), st.sampled_from([SOON_S, LATER_S]), st.integers(0, 99)

# A rule that would find nothing to do is not drawn: most steps would be idle else.
any_message = precondition(lambda self: bool(self.broker))


class Clients(RuleBasedStateMachine):
    """Clients who accept, cancel and erase, and a broker that cannot be trusted."""

    redis: Redis
    #: What the providers' limits are, as quotas.policy says it, and when a circuit opens.
    policy, breaker = "", BREAKER

    @initialize()
    def begin(self) -> None:
        self.redis.flushdb()
        self.jobs = Jobs(self.redis, ttl_s=600, policy=self.policy, breaker=self.breaker)
        self.elsewhere = Elsewhere()
        self.due = Due(self.redis, lease_s=LEASE_S, ttl_s=600, patience_s=PATIENCE_S, policy=self.policy, look_s=0)
        self.workers = Workers(self.redis)
        self.seen: dict[str, Seen] = {}
        self.flights = Flights(self.redis, self.seen)
        self.broker: list[Message] = []
        #: Claims that a replica had not heard of when it took over.
        self.forgotten: list[Claim] = []
        self.learned = Learned(self.redis, ttl_s=600)
        #: By a clock that stands still unless a rule moves it.
        self.clock_s = self.held_until_s = 0.0
        for way in ("api", "auto", "auto from gpu"):  # whatever hypothesis leaves out of a run, these are there
            self.accept(None, "a", LATER_S, sent=True, asked=None, priority=0, way=way)
        for priority in (BATCH, BATCH, 0):  # a leader, who is lifted, and two who follow
            self.accept(None, "a", LATER_S, sent=True, asked=question("q", Cache.USE), priority=priority, way="auto")

    def unfinished(self) -> list[str]:
        return [job_id for job_id, seen in self.seen.items() if not seen.is_over]

    @property
    def is_held(self) -> bool:
        """Whether a refusal holds everybody."""
        return self.held_until_s > self.clock_s

    def way(self, way: str) -> str:
        """Where a job that may go this way goes."""
        return way

    # ---- what must hold, always ----

    @invariant()
    def look(self) -> None:
        if hasattr(self, "seen"):
            self.collect()
            model.check(self.redis, self.seen)
            self.flights.check()

    # ---- the broker, which has a real list too: the rule for lost messages asks for its length ----

    def send(self, messages: Sequence[Message] | None) -> None:
        for message in messages or ():
            self.broker.append(message)
            self.redis.lpush(list_of(message.queue, message.priority), message.job_id)

    def take(self, place: int) -> Message:
        message = self.broker.pop(place % len(self.broker))
        self.redis.rpop(list_of(message.queue, message.priority))
        return message

    def collect(self) -> None:
        """Messages that scripts have sent themselves."""
        for queue, priority in [(place.queue, priority) for place in ALL for priority in (0, BATCH)]:
            line = list_of(queue, priority)
            for text in self.redis.lrange(line, 0, -1):
                if str(text).startswith(PUSHED):
                    self.redis.lrem(line, 1, str(text))
                    job_id = str(text).removeprefix(PUSHED)
                    self.send([Message(job_id=job_id, epoch=0, queue=queue, priority=priority)])

    # ---- clients ----

    @precondition(lambda self: len(self.unfinished()) < 6)
    @rule(
        key=KEYS, payload=st.sampled_from("ab"), expires_in_s=TIMES, sent=st.booleans(), asked=QUESTIONS,
        priority=st.sampled_from([0, BATCH]), way=st.sampled_from(list(WAYS)),
    )  # fmt: skip
    def accept(
        self, key: str | None, payload: str, expires_in_s: float, sent: bool, asked: Question | None, priority: int,
        way: str,
    ) -> None:  # fmt: skip
        way = self.way(way)
        new = new_job(len(self.seen), key, payload, expires_in_s, asked, priority, way)
        first = next((s.new for s in self.seen.values() if key and s.new.idempotency_key == key and not s.erased), None)
        if first is not None and first.fingerprint != payload:
            with pytest.raises(IdempotencyMismatch):
                self.jobs.accept(new)
            return
        accepted = self.jobs.accept(new)
        if first is not None:
            assert (accepted.job_id, accepted.replayed) == (first.job_id, True), "one key made two jobs"
            return
        assert accepted.job_id == new.job_id
        self.number(new)
        seen = self.seen[new.job_id] = Seen(new=new, places=WAYS[way], over=self.flights.over)
        assert accepted.shares == self.flights.board(seen)
        if sent:  # else the web server dies before it sends
            self.send([*accepted.lifted])
            self.send([first_message(new)] if asked is None else [])

    def number(self, new: NewJob) -> None:
        """Jobs' order must not depend on how many are accepted in a millisecond."""
        created_at = FIRST + len(self.seen)
        self.redis.hset(keys.job(new.job_id), "created_at", created_at)
        if new.question is not None:
            place = int(new.fields["priority"]) * 10**13 + created_at
            self.redis.zadd(keys.followers(new.question.flight), {new.job_id: place}, xx=True)

    @rule(place=PLACES, ask=st.sampled_from(["accept again", "be a stranger", "cancel", "erase"]))
    def ask(self, place: int, ask: str) -> None:
        job_id = list(self.seen)[place % len(self.seen)]
        match ask:
            case "accept again":
                self.accept_again(self.seen[job_id])
            case "be a stranger":
                assert not self.jobs.cancel(job_id, "stranger")
                assert not self.jobs.erase(job_id, "stranger")
            case "cancel":
                self.cancel(job_id)
            case _:
                self.cut(self.seen[job_id])
                assert self.jobs.erase(job_id, OWNER), "asked again, it is answered the same"
                self.seen[job_id].erase()

    def accept_again(self, seen: Seen) -> None:
        """As when the answer was lost."""
        if not seen.erased:
            again = self.jobs.accept(seen.new)
            assert again.job_id == seen.new.job_id
            self.send([first_message(seen.new)])

    def cut(self, seen: Seen) -> None:
        """A job is about to be ended from outside, perhaps while it is in somebody's hands."""

    def cancel(self, job_id: str) -> None:
        seen = self.seen[job_id]
        self.cut(seen)
        assert self.jobs.cancel(job_id, OWNER) == (not seen.erased)
        if not seen.is_over:
            seen.end("cancelled")

    @rule()
    def answers_are_forgotten(self) -> None:
        self.flights.forget_answers()

    # ---- the broker's faults ----

    @any_message
    @rule(place=PLACES, times=st.integers(0, 3))
    def lose_or_double_a_message(self, place: int, times: int) -> None:
        self.send([self.take(place)] * times)


def new_job(
    number: int, key: str | None, payload: str, expires_in_s: float, asked: Question | None, priority: int, way: str
) -> NewJob:
    """A job as the web would hand it over. Where its answer may be shared, scripts send its message themselves.

    One that may leave the gpu has no patience left from the beginning.
    """
    where, mode = WAYS[way], way.partition(" ")[0]
    record = {"owner": OWNER, "kind": "chat", "mode": mode, "model": "default", "request": '{"messages":[]}',
              "metadata": "{}", "priority": str(priority), "target": "", "max_tries": "5",
              "prompt_tokens": "10", "most_tokens": str((20, 30, 10, 0)[number % 4]),
              "answer_bytes": str((80, 120, 40, 0)[number % 4])}  # fmt: skip
    record |= {"queue": where[0].queue} | places.fields(where, patience_s=0.0 if where[0] is GPU else None)
    asked = asked and replace(asked, terms=mode)
    return NewJob(
        job_id=f"job_{number}", owner=OWNER, idempotency_key=key,
        fingerprint=payload, expires_in_s=expires_in_s, list_age_s=LATER_S, fields=record, question=asked,
        message=f"{PUSHED}job_{number}" if asked else "",
    )  # fmt: skip


def first_message(new: NewJob) -> Message:
    """The message that goes with an accepted job."""
    return Message(job_id=new.job_id, epoch=0, queue=new.fields["queue"], priority=int(new.fields["priority"]))
