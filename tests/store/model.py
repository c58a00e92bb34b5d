"""What must be true of a job after all that happened to it: the reference that the real scripts are compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from redis import Redis

from tasks.domain.job import Status
from tasks.store import keys
from tasks.store.claim import Claim
from tasks.store.new_job import NewJob
from tasks.store.places import Place
from tests.store.elsewhere import ALL, GPU, LIMITS
from tests.store.elsewhere import NAMES as CIRCUITS

OWNER = "owner"
#: A line that is served after the others.
BATCH = 5
FINAL = {"completed", "failed", "cancelled", "expired"}


@dataclass
class Seen:
    """What the outside knows of a job. `holder` is the fence of the claim that may write, if one may.

    `places` begins with the one where it is. `leader` is the job whose answer it waits for or was given; `over` is told
    of its end. `refused`: for its question alone. `group`: how many set off at once with it, one of which leads, and
    the others of which `went_along`.
    """

    new: NewJob
    places: tuple[Place, ...]
    over: Callable[[Seen], None] = lambda _: None
    ended: str | None = None
    erased: bool = False
    overdue: bool = False
    quarantined: bool = False
    refused: bool = False
    group: int = 1
    went_along: bool = False
    epoch: int = 0
    holder: int | None = None
    suspect: bool = False
    crashes: int = 0
    tries: int = 0
    engine_losses: int = 0
    losses: int = 0
    result: str | None = None
    leader: str | None = None
    is_cached: bool = False
    claims: list[Claim] = field(default_factory=list)
    #: By whom each of the claims was made.
    workers: list[str] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether nothing may happen to it any more."""
        return self.erased or self.ended is not None

    @property
    def is_following(self) -> bool:
        """Whether it waits for another's answer."""
        return self.leader is not None and not self.is_over

    def begin(self, claim: Claim, worker: str) -> None:
        """It was claimed."""
        assert not self.is_over, "claimed after its end"
        assert self.holder is None, "claimed over the head of its holder"
        assert all(claim.fence > earlier.fence for earlier in self.claims), "a fence was given twice"
        assert claim.suspect == self.suspect
        here = self.places[0]
        assert (claim.queue, claim.provider, claim.target) == (here.queue, here.provider, here.model), "not its place"
        assert claim.places == len(self.places) - 1
        assert (claim.tries, claim.crashes, claim.engine_losses) == (self.tries, self.crashes, self.engine_losses)
        self.claims.append(claim)
        self.workers.append(worker)
        self.holder = claim.fence

    def lose(self, at_once: bool) -> None:
        """Its worker fell silent with it: the second time it is a suspect, whatever happened."""
        self.losses += 1
        self.suspect = self.suspect or at_once or self.losses > 1

    def leave(self) -> None:
        """Nobody holds it any more."""
        self.holder = None

    def move(self, place: Place) -> None:
        """It went on to another place, where its tries begin anew."""
        assert place in self.places[1:], "went back, or where it may not be"
        self.places = self.places[self.places.index(place) :]
        self.tries = 0
        self.leave()

    def end(self, status: str) -> None:
        """It ended."""
        assert not self.is_over, "ended twice"
        self.ended = status
        self.leave()
        self.over(self)

    def erase(self) -> None:
        """Its record is gone."""
        was_over, self.erased = self.is_over, True
        self.leave()
        if not was_over:
            self.over(self)

    def crash(self, most: int) -> None:
        """It was charged with a death; after so many it is quarantined."""
        self.crashes += 1
        if self.crashes >= most:
            self.quarantined = True
            self.end("failed")
        else:
            self.suspect = True
            self.leave()

    def claims_of(self, worker: str) -> list[Claim]:
        """Its claims by one worker."""
        return [claim for claim, by in zip(self.claims, self.workers, strict=True) if by == worker]

    def may_write(self, claim: Claim) -> bool:
        """Whether a write under this claim's fence must be let through; any other must not be."""
        return self.holder == claim.fence


def check(redis: Redis, jobs: dict[str, Seen]) -> None:
    """Compare all records, watchers and lines with what was seen. Takes the epochs over."""
    pipe = redis.pipeline(transaction=False)
    queues = [place.queue for place in ALL]
    lines = [*LIMITS, *map(keys.circuit_line, CIRCUITS)]
    waits = [keys.waiting(queue, priority) for queue in queues for priority in (0, BATCH)]
    for index in (keys.DUE, keys.owner_jobs(OWNER), *waits, *map(keys.parked, lines)):
        pipe.zrange(index, 0, -1, withscores=True)
    for job_id in jobs:
        pipe.hgetall(keys.job(job_id))
    due, listed, *found = pipe.execute()
    waiting, parked, records = found[: len(waits)], found[len(waits) :][: len(lines)], found[len(waits + lines) :]
    assert set(dict(due)) == {job_id for job_id, seen in jobs.items() if not seen.is_over}, "watched wrongly"
    for record, (job_id, seen) in zip(records, jobs.items(), strict=True):
        if seen.erased:
            assert not record, "an erased record came back"
        else:
            _check_record(record, seen)
        if record.get("status") == "pending":
            assert dict(due)[job_id] <= float(record["expires_at"]), f"{record['phase']}, looked at after its deadline"
    phases = {job_id: record.get("phase") for record, job_id in zip(records, jobs, strict=True)}
    for nth, queue in enumerate(queues):
        first, batch = (set(dict(line)) for line in waiting[2 * nth :][:2])
        here = {job_id for job_id, seen in jobs.items() if phases[job_id] == "queued" and seen.places[0].queue == queue}
        assert not first & batch, "in two lines"
        assert first | batch == here, "in line wrongly"
    limits = {job_id: record.get("limit") for record, job_id in zip(records, jobs, strict=True)}
    for limit, line in zip(lines, parked, strict=True):
        here = {job_id for job_id in jobs if phases[job_id] == "parked" and limits[job_id] == limit}
        assert set(dict(line)) == here, "parked wrongly"
    following = {job_id for job_id, seen in jobs.items() if seen.is_following}
    assert {job_id for job_id in jobs if phases[job_id] == "following"} == following, "following wrongly"
    assert set(dict(listed)) == {job_id for job_id, seen in jobs.items() if not seen.erased}, "listed wrongly"
    unfinished = {job_id: seen for job_id, seen in jobs.items() if not seen.is_over}
    _check_room(redis, {job_id: int(seen.new.fields["answer_bytes"]) for job_id, seen in unfinished.items()})
    _check_lists(redis, jobs, dict(listed))


def _check_room(redis: Redis, unfinished: dict[str, int]) -> None:
    """Room is kept for the answer of each unfinished job, and for no other."""
    kept = {str(job_id): int(size) for job_id, size in redis.hgetall(keys.RESERVED).items()}
    assert kept == {job_id: size for job_id, size in unfinished.items() if size}, "room is kept wrongly"
    assert int(redis.get(keys.RESERVED_BYTES) or 0) == sum(kept.values()), "the room that is kept does not add up"


def _check_lists(redis: Redis, jobs: dict[str, Seen], listed: dict[str, float]) -> None:
    """Each job is in the list of those that stand as it does, and in no other."""
    states = [status for status in Status if status is not Status.PROCESSING]  # in one list with those that wait
    pipe = redis.pipeline(transaction=False)
    for status in states:
        pipe.zrange(keys.owner_jobs_in(OWNER, status), 0, -1, withscores=True)
    for status, entries in zip(states, pipe.execute(), strict=True):
        here = {job_id for job_id, seen in jobs.items() if not seen.erased and (seen.ended or "pending") == status}
        assert dict(entries) == {job_id: listed[job_id] for job_id in here}, f"listed wrongly as {status}"


def _check_record(record: dict[str, str], seen: Seen) -> None:
    assert record["queue"] == seen.places[0].queue, "not where it should be"
    assert record["mode"] != "gpu" or record["queue"] == GPU.queue, "it left the house"
    unfinished = "pending" if seen.holder is None else "processing"
    assert record["status"] == (seen.ended or unfinished), "not in the state it was left in"
    assert (record["phase"] == "") == (record["status"] != "pending"), f"{record['status']}, {record['phase']!r}"
    assert int(record["epoch"]) >= seen.epoch, "an epoch went back"
    seen.epoch = int(record["epoch"])
    if record["status"] == "pending":
        assert all(claim.fence < seen.epoch for claim in seen.claims), "given up without a new epoch"
    assert seen.holder in (None, seen.epoch), "the holder's fence is not the record's"
    if seen.ended == "completed":
        assert record.get("result") == seen.result, "another answer than its own or its leader's"
        assert (record.get("cached") == "1") == seen.is_cached
    if seen.is_following or seen.ended == "completed":
        assert record.get("coalesced_with") == seen.leader
    assert (record.get("error_code") == "quarantined") == seen.quarantined
    if not seen.is_over:
        assert (record.get("suspect") == "1") == seen.suspect, "suspected wrongly"
    charged = {name: int(record[name]) for name in ("crashes", "tries", "engine_losses")}
    assert int(record.get("losses", 0)) == seen.losses
    assert charged == {"crashes": seen.crashes, "tries": seen.tries, "engine_losses": seen.engine_losses}
