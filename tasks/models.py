"""The door for models: which are known, what was learned of them, who serves them. `web` enters here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from tasks import catalog, routing, serving
from tasks.domain.errors import UnknownModel
from tasks.domain.job import from_ms
from tasks.domain.known_model import KnownModel, LiveWorker, Offer
from tasks.domain.standing import Listing, Standing
from tasks.serving import Serving
from tasks.store import fleet, learned


def list_models() -> list[KnownModel]:
    """All models: the catalogue's, NIM's first, then what providers list and workers serve besides.

    Raises Unavailable.
    """
    now = _Now()
    known = sorted(catalog.models().values(), key=lambda model: "nim" not in model.ids)
    return [now.of(model) for model in known] + [now.of_stranger(name) for name in sorted(now.strangers())]


def find(name: str) -> KnownModel:
    """The model of this id or alias. Raises UnknownModel, with those that look alike, and Unavailable."""
    now = _Now()
    if model := catalog.find(name):
        return now.of(model)
    if name in now.strangers() or any(name in place.standings for place in now.places):
        return now.of_stranger(name)
    raise UnknownModel(name, catalog.near(name, now.strangers()))


@dataclass(frozen=True, kw_only=True)
class _Place:
    """What is known of one hosted provider's models."""

    serving: Serving
    standings: dict[str, Standing]
    listing: Listing | None

    def offer(self, model_id: str) -> Offer:
        standing = self.standings.get(model_id, Standing())
        times = [time for time in (standing.checked_at, self.listing and self.listing.at) if time]
        return Offer(
            provider=self.serving.provider,
            id=model_id,
            state=standing.state,
            last_checked=max(times, default=None),
            retired_on=standing.retired_on,
            listed=model_id in self.listing.ids if self.listing else None,
        )

    def knows(self, model_id: str) -> bool:
        return model_id in self.standings or bool(self.listing and model_id in self.listing.ids)


class _Now:
    """One look at Redis, for one answer."""

    def __init__(self) -> None:
        here = learned.default()
        self.places = [
            _Place(serving=one, standings=here.standings(one.provider), listing=here.listing(one.provider))
            for one in routing.hosted(fleet.default())
        ]

    @cached_property
    def workers(self) -> dict[str, list[LiveWorker]]:
        found: dict[str, list[LiveWorker]] = {}
        for one in fleet.default().lately():
            seen_at = from_ms(one.seen_at)
            if serving.local_queues(one.consumes) and one.model and seen_at:
                worker = LiveWorker(name=one.name, state=one.state, device=one.device, seen_at=seen_at)
                found.setdefault(one.model, []).append(worker)
        return found

    def strangers(self) -> set[str]:
        """Names that the catalogue does not have: what providers list, and what workers serve."""
        listed = {name for place in self.places if place.listing for name in place.listing.ids}
        return {name for name in listed | set(self.workers) if catalog.find(name) is None}

    def of(self, model: catalog.Model) -> KnownModel:
        offers = [(place, serving.id_at(place.serving.provider, model)) for place in self.places]
        return KnownModel(
            id=model.id,
            aliases=tuple(sorted(catalog.names(model.id) - {model.id})),
            abilities=tuple(sorted(model.abilities)),
            context=model.context,
            most_tokens=model.most_tokens,
            dimensions=model.dimensions,
            asymmetric=model.asymmetric,
            image_base64=model.image_base64,
            completions=model.completions,
            reasoning=model.reasoning,
            sampling=model.sampling,
            providers=tuple(place.offer(its_id) for place, its_id in offers if its_id is not None),
            workers=tuple(self._serving(catalog.names(model.id))),
        )

    def of_stranger(self, name: str) -> KnownModel:
        return KnownModel(
            id=name,
            providers=tuple(place.offer(name) for place in self.places if place.knows(name)),
            workers=tuple(self._serving({name})),
        )

    def _serving(self, names: frozenset[str] | set[str]) -> Iterator[LiveWorker]:
        for name in sorted(names):
            yield from self.workers.get(name, ())
