"""auto | gpu | api → a queue, given the fleet and the settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tasks import catalog, serving, settings
from tasks.catalog import DEFAULT, SANDBOX
from tasks.domain.errors import InvalidRequest, Unavailable, UnknownModel
from tasks.domain.job import Mode
from tasks.needs import Needs
from tasks.serving import DEMONSTRATION, GPU, KEY_VARIABLES, LOCAL, Serving
from tasks.settings import Settings
from tasks.store import learned
from tasks.store.fleet import LOADING, READY, Fleet, Worker

#: When to ask again for an engine that nobody runs: about the time a small one takes to load.
ENGINE_RETRY_S = 30.0
ANYTHING = Needs()


@dataclass(frozen=True, kw_only=True)
class Route:
    """Where a job goes. `target` is the model's id there, "" for that provider's default; `model` its id in any case.

    `further` is where it goes, in this order, when it cannot be answered here: only under mode=auto, and never to
    simulated answers.
    """

    queue: str
    provider: str
    target: str
    model: str
    is_simulated: bool = False
    further: tuple[Route, ...] = ()

    @property
    def answered_by(self) -> tuple[str, str] | None:
        """The hosted provider and its id of the model; None for an engine of ours."""
        return None if self.provider == LOCAL else (self.provider, self.model)


def route(mode: Mode, model: str, fleet: Fleet, needs: Needs = ANYTHING, *, simulated: bool = True) -> Route:
    """Decide. Without `simulated` the sandbox is out of the question, even where it would answer new jobs.

    Raises UnknownModel; InvalidRequest when none of those who serve the model can do what is asked; or Unavailable when
    nobody who serves it is up."""
    choice = _Choice(needs, hosted(fleet, simulated=simulated), fleet)
    places = [] if mode is Mode.GPU else choice.hosted(model)
    first = places[0] if places else None
    if mode is Mode.API:
        return first or choice.nobody(model, mode)
    workers = [one for one in _engines(model, fleet) if choice.can(catalog.known_to(LOCAL, one.model))]
    is_real = first is not None and not first.is_simulated
    if _up(workers, settings.get().auto_wait_s if mode is Mode.AUTO and is_real else float("inf")):
        local = _at(workers[0], model)
        return choice.with_further(local, places) if mode is Mode.AUTO else local
    # A simulated answer is not what anybody wants while an engine is only being restarted.
    if mode is Mode.AUTO and first and (is_real or not workers):
        return choice.with_further(first, places[1:])
    local = _at(workers[0], model) if workers else engine(model, fleet)
    is_ours = model == DEFAULT or local.model in catalog.names(model)
    can_wait = mode is Mode.AUTO and is_ours and choice.can(catalog.known_to(LOCAL, local.model))
    if can_wait and fleet.ever_served(local.queue):
        return local
    return choice.nobody(model, mode, is_ours=is_ours)


def hosted(fleet: Fleet, *, simulated: bool = True) -> tuple[Serving, ...]:
    """The hosted providers that new jobs may go to. The sandbox is one only where nobody real is: no worker here has
    a provider of its own, none with an engine ever was here, or the operator wants a demonstration."""
    here = settings.get()
    found = serving.hosted(here)
    if not any(serving.is_simulated(one) for one in found):
        return found
    return found if simulated and stands_in(here, fleet) else ()


def stands_in(here: Settings, fleet: Fleet) -> bool:
    """Whether the sandbox answers new jobs, if it is there."""
    is_alone = not (serving.local_queues(fleet.served()) or any(map(is_real, fleet.lately())))
    return here.sandbox == DEMONSTRATION or is_alone


def simulates(fleet: Fleet) -> bool:
    """Whether a job that is accepted now may be answered by the sandbox."""
    return any(serving.is_simulated(one) for one in hosted(fleet))


def is_real(worker: Worker) -> bool:
    """Whether a worker gives answers that are no simulation."""
    return bool(serving.local_queues(worker.consumes)) or any(name != SANDBOX for name in worker.answers.values())


def engine(model: str, fleet: Fleet) -> Route:
    """The engine of ours that would answer, whether or not it is there."""
    names = () if model == DEFAULT else sorted(catalog.names(model))
    gone = next((name for name in names if fleet.ever_served(serving.further(name))), None)
    own = gone or serving.local_model(settings.get())
    return _local(model, serving.further(gone) if gone else GPU, own)


class _Choice:
    """Passes over those who cannot do what is asked, and remembers why the first could not."""

    def __init__(self, needs: Needs, offered: Sequence[Serving], fleet: Fleet) -> None:
        self._needs = needs
        self._offered = offered
        self._fleet = fleet
        self._why: InvalidRequest | None = None

    def can(self, known: catalog.Model | None) -> bool:
        why = self._needs.unmet_by(known)
        self._why = self._why or why
        return why is None

    def hosted(self, model: str) -> list[Route]:
        routes = [_to(one, target) for one, target in _served(model, self._offered) if self.can(_known(one, target))]
        # Who calls the model just so comes first: `….:free` is meant for OpenRouter, though NIM serves the model too.
        routes.sort(key=lambda route: route.target not in ("", model))
        if len(routes) > 1:
            # The first that has not retired it. Of only one, accept.lua finds out without another question to Redis.
            routes = [route for route in routes if not _is_retired(route)] or routes
        return routes

    def with_further(self, first: Route, places: Sequence[Route]) -> Route:
        """`first`, and where else: for an embedding only the same model, whose vectors alone can be compared."""
        further = [place for place in places if not place.is_simulated]
        if self._needs.ability == "embedding":
            known = catalog.known_to(first.provider, first.model)
            further = [
                one for one in further if known is not None and catalog.known_to(one.provider, one.model) is known
            ]
        return replace(first, further=tuple(further))

    def nobody(self, model: str, mode: Mode, *, is_ours: bool = False) -> Route:
        if self._why is not None:
            raise self._why
        return _nobody(model, mode, self._offered, self._fleet, is_ours=is_ours)


def _served(model: str, offered: Sequence[Serving]) -> list[tuple[Serving, str]]:
    """The hosted providers that serve a model, with what each calls it. One that only they know has their name."""
    found = [(one, target) for one in offered if (target := serving.target(one, model)) is not None]
    if found or catalog.find(model):
        return found
    return [(one, model) for one in offered if model in learned.default().lately_listed(one.provider)]


def _known(one: Serving, target: str) -> catalog.Model | None:
    return catalog.known_to(one.provider, target or one.target)


def _to(one: Serving, target: str) -> Route:
    simulated = serving.is_simulated(one)
    model = target or one.target
    return Route(queue=one.queue, provider=one.provider, target=target, model=model, is_simulated=simulated)


def _is_retired(route: Route) -> bool:
    return learned.default().why_retired(route.provider, route.model) is not None


def _up(workers: Sequence[Worker], patience_s: float) -> bool:
    return any(one.state == READY or (one.state == LOADING and one.ready_in_s <= patience_s) for one in workers)


def _engines(model: str, fleet: Fleet) -> list[Worker]:
    """The gpu workers of a model, whoever is readiest first. Those of `gpu` serve the default one."""
    names = catalog.names(model)
    found = [
        one
        for one in fleet.lately()
        if (GPU in one.consumes if model == DEFAULT else serving.local_queues(one.consumes) and one.model in names)
    ]
    return sorted(found, key=lambda one: (one.state != READY, one.state != LOADING, one.ready_in_s))


def _at(worker: Worker, model: str) -> Route:
    return _local(model, serving.local_queues(worker.consumes)[0], worker.model)


def _local(model: str, queue: str, own: str) -> Route:
    return Route(queue=queue, provider=LOCAL, target="" if model == DEFAULT else own, model=own)


def _nobody(model: str, mode: Mode, offered: Sequence[Serving], fleet: Fleet, *, is_ours: bool) -> Route:
    if (model != DEFAULT and not catalog.find(model) and not is_ours) or (mode is Mode.API and offered):
        listed = {name for one in offered for name in learned.default().lately_listed(one.provider)}
        raise UnknownModel(model, catalog.near(model, listed))
    helpful = [] if offered or mode is Mode.GPU else [one for one in KEY_VARIABLES if _serves(one, model)]
    why = [] if mode is Mode.API else [f"no live gpu worker serves {model}"]
    why += [_no_key(helpful, fleet)] if helpful or mode is Mode.API else []
    raise Unavailable(", and ".join(why), retry_after_s=ENGINE_RETRY_S)


def _serves(provider: str, model: str) -> bool:
    known = catalog.find(model)
    return model == DEFAULT or (known is not None and serving.id_at(provider, known) is not None)


def _no_key(helpful: Sequence[str], fleet: Fleet) -> str:
    """That we have none of these providers' keys, and which to set: above all those that live workers have."""
    there = {name for one in fleet.lately() for name in one.answers.values()}
    said = "no hosted provider is configured"
    if had := [KEY_VARIABLES[one] for one in helpful if one in there]:
        return f"{said} here, though live workers have one: set {' and '.join(had)} for the web server as for them"
    return f"{said}: set {' or '.join(KEY_VARIABLES[one] for one in helpful)}" if helpful else said
