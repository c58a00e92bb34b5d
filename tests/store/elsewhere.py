"""The state machine's places and circuits: where a job may go, and what must be true of a circuit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks.store.circuits import Breaker, Told
from tasks.store.claim import Claim
from tasks.store.places import Place

if TYPE_CHECKING:
    from tests.store.model import Seen

QUEUE = "api"
#: The limits of API's key, and of its model.
LIMIT = "upstream"
MODEL_LIMIT = f"{LIMIT}:model"
LIMITS = (LIMIT, MODEL_LIMIT)
GPU, API, OTHER = (
    Place("gpu", "vllm", "", "tiny"),
    Place(QUEUE, LIMIT, "", "model"),
    Place("api.other", "other", "", "its"),
)
ALL = (GPU, API, OTHER)
SERVINGS = [(place.queue, place.provider, place.model) for place in ALL]
#: What a job may be: of one place, as those of mode=gpu and mode=api are, or of several.
WAYS: dict[str, tuple[Place, ...]] = {"gpu": (GPU,), "api": (API,), "auto": (API, OTHER), "auto from gpu": ALL}
#: It opens at once, for with more failures few runs would see it open, and stays so for longer than a test takes.
BREAKER = Breaker(failures=1, open_s=3600, longest_s=7200)


def name(place: Place) -> str:
    """The circuit of a place."""
    return f"{place.provider}:{place.model}"


def key_name(place: Place) -> str:
    """The circuit of the key at a place."""
    return f"key:{place.provider}"


#: All circuits that there may be.
NAMES = [its(place) for place in ALL for its in (name, key_name)]


@dataclass
class Circuit:
    """What is known of one. `lapsed`: it is open, and its time is over."""

    failures: int = 0
    is_open: bool = False
    lapsed: bool = False
    probe: Claim | None = None

    def tell(self, claim: Claim, told: Told | None) -> None:
        """A call came to something, and its claim was good."""
        if told is Told.ANSWERED:
            self.failures, self.is_open, self.lapsed, self.probe = 0, False, False, None
        elif told is Told.FAILED and self.is_open:
            if self.probe is claim:
                self.lapsed, self.probe = False, None
        elif told is Told.FAILED:
            self.failures += 1
            self.is_open = self.failures >= BREAKER.failures

    def prove(self, claim: Claim) -> None:
        """The circuit of a key: a call was answered."""
        if self.probe is claim:
            self.tell(claim, Told.ANSWERED)

    def is_free(self, jobs: Mapping[str, Seen]) -> bool:
        """Whether somebody may try it."""
        tries = self.probe is not None and jobs[self.probe.job_id].may_write(self.probe)
        return self.is_open and self.lapsed and not tries

    def lets_in(self, jobs: Mapping[str, Seen]) -> bool:
        """Whether a job that comes now is let through."""
        return not self.is_open or self.is_free(jobs)


@dataclass
class Elsewhere:
    """The circuits of all places, of their models and of our keys there, and whether the model of API is retired."""

    circuits: dict[str, Circuit] = field(default_factory=lambda: {place.queue: Circuit() for place in ALL})
    keys: dict[str, Circuit] = field(default_factory=lambda: {place.queue: Circuit() for place in ALL})
    is_retired: bool = False

    def has_retired(self, place: Place) -> bool:
        """Whether the model is out of service there."""
        return self.is_retired and place is API

    def lets_in(self, jobs: Mapping[str, Seen], place: Place) -> bool:
        """Whether a job that comes there now is let through."""
        return all(one.lets_in(jobs) for one in (self.keys[place.queue], self.circuits[place.queue]))

    def next_place(self, jobs: Mapping[str, Seen], seen: Seen, *, needs_room: bool = True) -> Place | None:
        """Where a job goes that leaves its place: the first that lets it in; else, unless that is needed, any."""
        good = [place for place in seen.places[1:] if not self.has_retired(place)]
        lets_in = [place for place in good if self.lets_in(jobs, place)]
        return next(iter(lets_in if needs_room else [*lets_in, *good]), None)
