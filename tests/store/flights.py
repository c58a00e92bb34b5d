"""Who leads, who follows and what was answered before: the reference of answers that jobs share."""

from __future__ import annotations

from redis import Redis

from tasks.domain.job import Cache
from tasks.store import keys
from tasks.store.answers import Question
from tests.store.elsewhere import API
from tests.store.model import OWNER, Seen


def question(asks: str, cache: Cache) -> Question:
    """What jobs of the state machine ask."""
    return Question(scope=OWNER, asks=asks, terms="", asked_of=("upstream", "model"), keep_s=600, cache=cache)


class Flights:
    """The flights among the jobs that were `seen`."""

    def __init__(self, redis: Redis, seen: dict[str, Seen]) -> None:
        self._redis, self._seen = redis, seen
        self._leaders: dict[str, str] = {}
        self._answers: dict[str, str] = {}

    def board(self, new: Seen) -> bool:
        """It was accepted: whether it is to have another's answer, at once or later."""
        asked = new.new.question
        if asked is None:
            return False
        source, leader = self._answers.get(asked.name), self._leaders.get(asked.flight)
        if asked.cache is Cache.USE and source and not self._seen[source].erased:
            new.result, new.is_cached = self._seen[source].result, True
            new.end("completed")
            return True
        if asked.cache is Cache.USE and leader:
            new.leader = leader
            return True
        self._leaders.setdefault(asked.flight, new.new.job_id)
        return False

    def over(self, one: Seen) -> None:
        """It ended or was erased: an answer is for all who follow, without one the best of them leads."""
        asked, job_id = one.new.question, one.new.job_id
        if asked is None:
            return
        completed = one.ended == "completed" and not one.erased
        is_told = completed or (one.refused and not one.erased)
        # Of the one who was asked, and of nobody else, it is kept.
        if completed and one.leader is None and not one.is_cached and one.places[0] is API:
            self._answers[asked.name] = job_id
        following = [
            seen
            for seen in self._seen.values()
            if seen.is_following and seen.new.question is not None and seen.new.question.flight == asked.flight
        ]
        leads = self._leaders.get(asked.flight) == job_id
        if leads:
            del self._leaders[asked.flight]
        if is_told and (leads or (one.went_along and following)):
            self._leaders.pop(asked.flight, None)
            self._tell(one, following)
        elif leads and following:
            failed = one.ended == "failed" and not (one.quarantined or one.erased)
            self._promote(asked, following, 2 * one.group if failed else 1)

    def _tell(self, one: Seen, following: list[Seen]) -> None:
        for follower in following:
            follower.leader, follower.result = one.new.job_id, one.result
            follower.end("completed" if one.ended == "completed" else "failed")

    def _promote(self, asked: Question, following: list[Seen], group: int) -> None:
        following.sort(key=lambda seen: (int(seen.new.fields["priority"]), self._created_at(seen), seen.new.job_id))
        best, *others = following
        best.leader, best.group = None, group
        self._leaders[asked.flight] = best.new.job_id
        for place, other in enumerate(others, 1):
            other.leader = None if place < group else best.new.job_id
            other.went_along = place < group

    def _created_at(self, seen: Seen) -> int:
        return int(str(self._redis.hget(keys.job(seen.new.job_id), "created_at")))

    def forget_answers(self) -> None:
        """Their time is over."""
        for name in self._answers:
            self._redis.delete(keys.answer(name))
        self._answers.clear()

    def check(self) -> None:
        """Compare the flights and those who follow with what was seen."""
        for seen in self._seen.values():
            if (asked := seen.new.question) is not None:
                followers = {one.new.job_id for one in self._seen.values() if one.is_following}
                assert self._redis.get(keys.flight(asked.flight)) == self._leaders.get(asked.flight), "led wrongly"
                assert set(self._redis.zrange(keys.followers(asked.flight), 0, -1)) == {
                    one
                    for one in followers
                    if self._seen[one].new.question.flight == asked.flight  # type: ignore[union-attr]
                }, "followed wrongly"
