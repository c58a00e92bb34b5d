"""The state machine of one small batch: it is read, carried, paused, cancelled, begun anew and erased, while messages
are lost and doubled, workers die, and old hands go on writing.

What happens to single jobs has a machine of its own (lifecycle.py). Time is moved as it is there.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from redis import Redis

from tasks.batches import composition
from tasks.domain.batch import item_id
from tasks.domain.errors import BatchBusy, InvalidRequest
from tasks.domain.job import Status
from tasks.domain.standing import Lesson, State
from tasks.store import keys, places, steps
from tasks.store.batch_parts import NewItem, Plan
from tasks.store.batch_work import BatchWork
from tasks.store.batches import Batches, NewBatch
from tasks.store.claim import Claim, Taker
from tasks.store.due import Due
from tasks.store.jobs import Jobs
from tasks.store.learned import Learned
from tasks.store.message import Message
from tasks.store.places import Place
from tasks.store.steps import Step, Steps
from tasks.store.taken import Taken
from tests.store import batch_model
from tests.store.batch_model import BATCH, CHUNKS, IDS, LINES, OWNER

LEASE_S, TTL_S, LATER_S = 60.0, 60, 7200.0
#: Longer than a test takes.
PATIENCE_S = 600.0
ENGINE, HOSTED = Place("gpu", "vllm", "", "tiny"), Place("api", "upstream", "", "model")
#: Who answers which queue; no worker has both.
SERVINGS = {place.queue: (place.queue, place.provider, place.model) for place in (ENGINE, HOSTED)}
CIRCUIT = f"{HOSTED.provider}:{HOSTED.model}"
PLACES = st.integers(0, 99)
#: One for each place; a script touches one of them at a time.
SHARDS = 2
#: What comes of an attempt: an end, another place, or how it is put back.
OUTCOMES: list[Any] = [
    Status.COMPLETED, Status.COMPLETED, Status.FAILED, "move",
    {}, {"delay_s": 60.0, "charged": True}, {"limit": "upstream", "hold_s": 60.0},
]  # fmt: skip

any_message = precondition(lambda self: bool(self.broker))
any_claim = precondition(lambda self: bool(self.claims))
any_step = precondition(lambda self: bool(self.held))
is_there = precondition(lambda self: not self.seen.forgotten)

#: Where it is at the beginning: what comes while it is read is a small part of what may come.
SO_FAR = ["carried", "read", "read", "accepted"]
ENDS = st.lists(st.sampled_from([Status.COMPLETED, Status.FAILED]), min_size=1, max_size=3)


class BatchLife(RuleBasedStateMachine):
    """A batch of some lines, the last of which says the custom_id of the first."""

    redis: Redis

    @initialize(stop_after=st.sampled_from([None, None, 0.5]), so_far=st.sampled_from(SO_FAR))
    def begin(self, stop_after: float | None, so_far: str) -> None:
        self.redis.flushall()
        self.jobs, self.steps = Jobs(self.redis, ttl_s=TTL_S), Steps(self.redis, ttl_s=TTL_S)
        self.batches, self.work = Batches(self.redis, ttl_s=TTL_S), BatchWork(self.redis, ttl_s=TTL_S)
        self.due = Due(self.redis, lease_s=LEASE_S, ttl_s=TTL_S, patience_s=PATIENCE_S, look_s=0)
        self.stop_after = stop_after
        self.seen = batch_model.Seen()
        self.broker: list[Message] = []
        #: In the hands of workers, rightly or not.
        self.claims: list[Claim] = []
        self.held: list[Step] = []
        #: Moments at which somebody was told that the batch is to lapse.
        self.walks: list[str] = []
        fields = {"owner": OWNER, "total": str(LINES), "lines": str(LINES), "chunks": str(len(CHUNKS)),
                  "metadata": "{}", "options": json.dumps({"on_complete": None})}  # fmt: skip
        for chunk, lines in enumerate(CHUNKS):
            self.batches.keep_lines(BATCH, chunk, [b""] * len(lines))
        self.batches.accept(NewBatch(id=BATCH, owner=OWNER, idempotency_key=None, fingerprint="", message="first",
                                     expires_in_s=LATER_S, fields=fields))  # fmt: skip
        self.redis.delete(steps.QUEUE)  # what the script has sent goes by the test's broker
        self.send([Message(job_id=steps.step_id(BATCH, "expand"), epoch=0, queue=steps.QUEUE, priority=0)])
        if so_far != "accepted":
            self.deliver_all(len(CHUNKS) + SHARDS)
        if so_far == "carried":
            self.deliver_all(1)

    @invariant()
    def look(self) -> None:
        if hasattr(self, "seen"):
            batch_model.check(self.redis, self.batches, self.seen)

    # ---- clients ----

    @is_there
    @rule(
        meanwhile=st.lists(st.sampled_from(OUTCOMES), max_size=3), goes_on=st.booleans(), pieces=st.sampled_from([1, 9])
    )
    def pause(self, meanwhile: list[Any], goes_on: bool, pieces: int) -> None:
        """What was under way comes back meanwhile, and is lined up again."""
        if self.status() != "in_progress":
            self.refused(lambda: self.batches.pause(BATCH, paused=True), BatchBusy)
            return
        self.pause_for(pieces, paused=True)
        for outcome in meanwhile:
            if self.claims:
                self.write_one(self.claims.pop(0), outcome)
        self.deliver_all(2)
        self.look()
        if goes_on:
            self.resume()

    @is_there
    @rule(pieces=st.sampled_from([1, 9]))
    def resume(self, pieces: int = 9) -> None:
        if self.status() == "in_progress":
            self.pause_for(pieces, paused=False)

    def pause_for(self, pieces: int, *, paused: bool) -> None:
        """Shard by shard; whoever does it may die after the first."""
        for start in range(pieces):
            some, more = self.batches.pause_some(BATCH, paused=paused, start=start, most=1)
            self.send(some)
            self.look()
            if not more:
                break

    @is_there
    @rule(often=st.integers(0, 4))
    def cancel(self, often: int) -> None:
        if often == 0:
            self.send(self.batches.cancel(BATCH))

    @is_there
    @rule()
    def retry(self) -> None:
        self.begin_anew()

    @is_there
    @rule(ends=ENDS, often=st.integers(0, 3))
    def end_and_retry(self, ends: list[Status], often: int) -> None:
        """All works for a while. Few batches would come that far else."""
        if often == 0:
            self.let_it_end(ends)
            self.begin_anew()
            self.deliver_all(len(CHUNKS) + SHARDS)

    def begin_anew(self) -> None:
        again = self.seen.unanswered()
        if self.status() not in batch_model.FINAL:
            self.refused(lambda: self.batches.retry(BATCH), BatchBusy)
        elif not again and not self.seen.erased:
            self.refused(lambda: self.batches.retry(BATCH), InvalidRequest)
        elif again:
            self.send(self.batches.retry(BATCH))
            self.seen.concluded = 0

    @is_there
    @rule(often=st.integers(0, 9))
    def forget(self, often: int) -> None:
        if often == 0:  # else few batches would come to their end
            assert self.batches.forget(BATCH, OWNER)
            self.seen.forgotten = True

    @is_there
    @rule(place=PLACES, erase=st.booleans())
    def end_an_item(self, place: int, erase: bool) -> None:
        job_id = IDS[place % len(IDS)]
        if self.redis.exists(keys.job(job_id)) and erase and place < 30:
            self.seen.erase(job_id, str(self.redis.hget(keys.job(job_id), "status")))
            assert self.jobs.erase(job_id, OWNER)
        elif self.redis.exists(keys.job(job_id)) and not erase:
            self.jobs.cancel(job_id, OWNER)

    @staticmethod
    def refused(ask: Any, error: type[Exception]) -> None:
        try:
            ask()
        except error:
            return
        raise AssertionError("it was not refused")

    # ---- the broker ----

    def send(self, messages: Iterable[Message]) -> None:
        self.broker += messages

    @any_message
    @rule(place=PLACES, times=st.integers(0, 2))
    def lose_or_double_a_message(self, place: int, times: int) -> None:
        message = self.broker.pop(place % len(self.broker))
        self.send([message] * times)

    @any_message
    @rule(place=PLACES, pieces=st.integers(0, 8))
    def deliver(self, place: int, pieces: int) -> None:
        """A step goes on for so many pieces; an item is begun."""
        message = self.broker.pop(place % len(self.broker))
        if not steps.is_step(message.job_id):
            self.take([(message.job_id, message.epoch)], message.queue)
        elif step := self.steps.claim(message.job_id, message.epoch, worker="w", lease_s=LEASE_S):
            self.held.append(step)
            for _ in range(pieces):
                if step in self.held:
                    self.work_on(step)

    @any_message
    @rule(pieces=st.integers(1, 4))
    def deliver_all(self, pieces: int) -> None:
        for _ in range(len(self.broker)):
            self.deliver(0, pieces)

    # ---- workers ----

    def take(self, wanted: Sequence[tuple[str, int]], queue: str) -> None:
        taker = Taker(worker="w", lease_s=LEASE_S, may_isolate=True, servings=[SERVINGS[queue]])
        rests = self.redis.hexists(keys.batch(BATCH), "paused")
        for taken in self.jobs.take_each(wanted, taker):
            assert isinstance(taken, Taken)
            self.send(taken.waiters.messages)
            if taken.claim is not None:
                assert not rests, "begun although its batch is paused"
                self.seen.begin(taken.claim)
                self.claims.append(taken.claim)

    @any_claim
    @rule(place=PLACES, outcomes=st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=4), kept=st.booleans())
    def write(self, place: int, outcomes: list[Any], kept: bool) -> None:
        """What came of some attempts. A `kept` claim stays in its hand, and is written under once more."""
        for outcome in outcomes:
            if self.claims:
                claim = self.claims[place % len(self.claims)]
                self.write_one(claim, outcome)
                if not kept:
                    self.claims.remove(claim)

    def write_one(self, claim: Claim, outcome: Any) -> None:
        match outcome:
            case Status():
                self.jobs.settle(claim, outcome, outcome=outcome.value, fields={"result": f'"{claim.fence}"'})
            case "move" if claim.places:
                self.send(places.move(self.jobs, claim, outcome="failed", reason="x") or ())
            case "move":
                self.send(self.jobs.put_back(claim, outcome="released", reason="x") or ())
            case _:
                self.send(self.jobs.put_back(claim, outcome="failed", reason="x", **outcome) or ())

    @any_step
    @rule(place=PLACES, pieces=st.integers(1, 8))
    def go_on(self, place: int, pieces: int) -> None:
        """With a step; its worker may not know that it is not its own any more."""
        for _ in range(pieces):
            if self.held:
                self.work_on(self.held[place % len(self.held)])

    def work_on(self, step: Step) -> None:
        """One piece of it: what a worker does between two moments at which it may die."""
        plan = self.work.plan(BATCH)
        match step.name:
            case "shard":
                self.work_on_shard(step)
            case "finish":
                self.work_on_end(step)
            case _ if plan is None:
                self.done(step)
            case "retry" if plan.reset_lines < LINES:
                self.put_back(plan)
            case "expand" if plan.expanded < len(CHUNKS) and not plan.is_erased:
                self.read(plan)
            case _:
                self.compose(plan.round)
                some, more = self.work.begin_some(BATCH, accept=True, stop_after=self.stop_after, most=1)
                self.send(some)
                if not more:
                    self.done(step)

    def compose(self, number: int) -> None:
        """Its shards; whoever began with it died after the first."""
        for most in (1, None):
            self.work.add_shards(BATCH, 0, composition.shards(self.work.loads(BATCH), number=number)[:most])

    def done(self, step: Step) -> None:
        self.steps.done(step)
        self.held.remove(step)

    def put_back(self, plan: Plan) -> None:
        ids = [item_id(BATCH, n) for n in CHUNKS[plan.reset_lines // len(CHUNKS[0])]]
        self.work.reset_items(BATCH, plan.reset_lines, ids, composition.loads(self.work.unanswered(ids)))
        self.seen.begin_anew(ids)
        for at_ms in self.walks:  # somebody who does not know of this round goes on with the end of the one before
            self.let_lapse(at_ms)

    def read(self, plan: Plan) -> None:
        lines = CHUNKS[plan.expanded]
        for _ in range(2):  # whoever did not get the answer reads them again
            self.expand(plan.expanded, lines)
        self.seen.written |= {item_id(BATCH, n) for n in lines} & set(IDS)

    def expand(self, chunk: int, lines: Sequence[int]) -> None:
        record = {"owner": OWNER, "kind": "chat", "mode": "auto", "model": "default", "request": "{}", "metadata": "{}",
                  "queue": "api", "target": "", "max_tries": "5", "answer_bytes": str(100 + chunk)}  # fmt: skip
        if chunk % 2:  # these wait for an engine, and go elsewhere without one
            elsewhere = places.fields([ENGINE, HOSTED], patience_s=0.0)
            record |= elsewhere | {"queue": "gpu"}
        items = [NewItem(id=item_id(BATCH, n), n=n, custom_id=f"c{n % (LINES - 1)}", fields=record) for n in lines]
        self.work.expand(BATCH, chunk, items, composition.loads((n, record) for n in lines), [])

    def work_on_shard(self, step: Step) -> None:
        left = self.work.unclaimed([item_id(BATCH, n) for n in step.request["numbers"]])
        if left:
            self.take(left[:1], step.queue)
        else:
            self.done(step)

    def work_on_end(self, step: Step) -> None:
        word, *rest = self.work.conclude(BATCH, has_last=False, most=1)
        match word:
            case "ended":
                self.seen.concluded += 1
            case "cancel" | "expire":
                status = "cancelled" if word == "cancel" else "expired"
                left = [i for i in IDS if self.redis.hget(keys.job(i), "status") in ("pending", "processing")]
                ids = [i for i in IDS if i not in left[2:]]  # two of them, and those that are over
                if not self.work.end_items(ids, status=status, why="w"):
                    self.work.write_off(BATCH, 1, status=status)
            case "lapses":
                self.walks.append(rest[0])
                self.let_lapse(rest[0])
            case "erase":
                self.work.erase_items(IDS)
                self.work.erase(BATCH, 99)
            case "more":
                pass
            case "open":
                if self.work.rest(step):
                    self.held.remove(step)
            case _:
                self.done(step)

    def let_lapse(self, at_ms: str) -> None:
        self.work.let_lapse(BATCH, at_ms, IDS[:2])
        self.work.let_lapse(BATCH, at_ms, IDS[2:])
        self.work.let_lapse(BATCH, at_ms, [], is_last=True)

    # ---- deaths and time ----

    @any_step
    @rule(place=PLACES)
    def a_steps_worker_dies(self, place: int) -> None:
        step = self.held.pop(place % len(self.held))
        self.come(step.job_id)

    @any_claim
    @rule(place=PLACES)
    def an_items_worker_dies(self, place: int) -> None:
        self.come(self.claims.pop(place % len(self.claims)).job_id)

    @is_there
    @rule(often=st.integers(0, 4))
    def the_deadline_passes(self, often: int) -> None:
        if often == 0 and self.status() == "in_progress":
            self.redis.hset(keys.batch(BATCH), "expires_at", 1)
            for job_id in self.seen.written - set(self.seen.erased):
                self.redis.hset(keys.job(job_id), "expires_at", 1)
                self.come(job_id)
            self.come(steps.step_id(BATCH, "finish"))

    @rule()
    def the_engine_comes(self) -> None:
        self.redis.hset(keys.READY_AT, "gpu", int(time.time() * 1000) + 3_600_000)

    @rule(tried=st.booleans())
    def the_engine_goes(self, tried: bool) -> None:
        """What waits for it goes on, unless it is only to be tried whether it can."""
        self.redis.hset(keys.READY_AT, "gpu", 1)
        if tried:
            self.a_circuit_opens(until_ms=1)
        self.sweep(due=[], sent=True)

    @rule(often=st.integers(0, 4))
    def a_model_is_retired(self, often: int) -> None:
        if often == 0:
            learned = Learned(self.redis, ttl_s=TTL_S)
            learned.note(HOSTED.provider, HOSTED.model, Lesson(state=State.RETIRED, why="gone"))
            learned.fail_queued(HOSTED.provider, HOSTED.model, queue=HOSTED.queue, is_default=True)

    @rule(until_ms=st.sampled_from([1, 1, int(1e14)]))
    def a_circuit_opens(self, until_ms: int) -> None:
        """For as long as nothing is tried, or for so long that somebody may."""
        self.redis.hset(keys.circuit(CIRCUIT), mapping={"until": until_ms, "opens": 1})
        self.redis.hdel(keys.circuit(CIRCUIT), "probe", "sent_at")

    @rule()
    def all_is_well_again(self) -> None:
        self.redis.delete(keys.circuit(CIRCUIT), keys.retired(HOSTED.provider, HOSTED.model))

    def come(self, record_id: str) -> None:
        """Its moment: a lease has run out, a backoff is over."""
        self.redis.zadd(keys.DUE, {record_id: 1}, xx=True)

    def status(self) -> str:
        return str(self.redis.hget(keys.batch(BATCH), "status"))

    @rule(due=st.lists(PLACES, max_size=3), sent=st.booleans())
    def sweep(self, due: list[int], sent: bool) -> None:
        watched = sorted(str(one) for one in self.redis.zrange(keys.DUE, 0, -1))
        for place in due if watched else ():
            self.come(watched[place % len(watched)])
        self.some_time_passes(watched)
        found = [*self.due.sweep()[1], *self.due.find_lost(), *self.due.let_go()]
        if sent:  # else the sweeping worker dies before it sends
            self.send(found)

    def some_time_passes(self, watched: Sequence[str]) -> None:
        for record_id in watched:
            if self.redis.hget(keys.job(record_id), "phase") == "queued":
                self.redis.hset(keys.job(record_id), "queued_at", 1)
        for limit in (HOSTED.provider, keys.circuit_line(CIRCUIT)):
            self.redis.hset(keys.limit(limit), mapping={"until": 1, "wake_at": 1})
        if self.redis.exists(keys.circuit(CIRCUIT)):
            self.redis.hset(keys.circuit(CIRCUIT), "sent_at", 1)
        for line in self.redis.smembers(keys.LINES):
            queue, priority = str(line).split()
            self.redis.hset(keys.flow(queue, int(priority)), mapping={"busy_at": 1, "mark_at": 1})
        self.redis.hset(keys.SWEEP, mapping={"swept_at": int(time.time() * 1000) + 5000, "grace_until": 0})

    # ---- the end ----

    def teardown(self) -> None:
        """However it was left: with workers that work it ends, once; and erased, it leaves nothing."""
        if not hasattr(self, "seen"):
            return
        if not self.seen.forgotten:
            self.let_it_end([Status.COMPLETED])
            assert self.seen.concluded == 1
            batch_model.check_lapse(self.redis)
            assert self.batches.forget(BATCH, OWNER)
            self.seen.forgotten = True
        self.work_until(lambda: not batch_model.left_of(self.redis))

    def let_it_end(self, ends: Sequence[Status]) -> None:
        self.resume()
        self.all_is_well_again()
        self.work_until(self.is_at_rest, ends)

    def is_at_rest(self) -> bool:
        return self.status() in batch_model.FINAL and not self.redis.hexists(keys.batch(BATCH), "lapses_at")

    def work_until(self, is_so: Any, ends: Sequence[Status] = (Status.COMPLETED,)) -> None:
        turns = itertools.cycle(ends)
        for _ in range(60):
            if is_so():
                return
            for record_id in self.redis.zrange(keys.DUE, 0, -1):
                self.come(str(record_id))
            self.held.clear()
            self.claims.clear()
            self.sweep(due=[], sent=True)
            while self.broker or self.claims:
                if self.broker:
                    self.deliver(0, 30)
                else:
                    self.write_one(self.claims.pop(0), next(turns))
            self.look()
        raise AssertionError(f"it never came to that: {batch_model.left_of(self.redis)}")
