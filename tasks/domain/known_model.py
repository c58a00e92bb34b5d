"""A model as clients are shown it: what the catalogue knows, what was learned, and who serves it now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tasks.domain.standing import State


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A model at a hosted provider.

    `id` is the provider's name for it; `listed` is None while the provider's list is not known.
    """

    provider: str
    id: str
    state: State
    last_checked: datetime | None
    retired_on: str | None
    listed: bool | None


@dataclass(frozen=True, kw_only=True)
class LiveWorker:
    """A gpu worker that serves, or is about to serve, a model."""

    name: str
    state: str
    device: str
    seen_at: datetime


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """A model. Without abilities it is one that the catalogue lacks: a provider lists it, or a worker serves it.

    `state` is the best there is: that of a ready worker of ours, else of the provider who would be asked.
    """

    id: str
    aliases: tuple[str, ...] = ()
    abilities: tuple[str, ...] = ()
    context: int | None = None
    most_tokens: int | None = None
    dimensions: int | None = None
    asymmetric: bool = False
    image_base64: int | None = None
    completions: bool = False
    reasoning: str | None = None
    sampling: Mapping[str, float] = field(default_factory=dict)
    providers: tuple[Offer, ...] = ()
    workers: tuple[LiveWorker, ...] = ()

    @property
    def state(self) -> State:
        """Whether it can be called, as far as is known."""
        if any(one.state == "ready" for one in self.workers):
            return State.CALLABLE
        return min((offer.state for offer in self.providers), key=lambda state: state.rank, default=State.UNKNOWN)

    @property
    def last_checked(self) -> datetime | None:
        """When something was last learned of it: from a call, a provider's list, or a worker's heartbeat."""
        times = [one.last_checked for one in self.providers] + [one.seen_at for one in self.workers]
        return max((time for time in times if time is not None), default=None)

    @property
    def retired_on(self) -> str | None:
        """The day on which it was retired, if that is its state and the provider named the day."""
        days = [offer.retired_on for offer in self.providers if offer.state is State.RETIRED]
        return next(filter(None, days), None) if self.state is State.RETIRED else None
