"""auto | gpu | api → a queue, given the fleet and the settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks import catalog, serving, settings
from tasks.catalog import DEFAULT
from tasks.domain.errors import InvalidRequest, Unavailable, UnknownModel
from tasks.domain.job import Mode
from tasks.needs import Needs
from tasks.serving import GPU, LOCAL
from tasks.store.fleet import Fleet, Worker

#: When to ask again for an engine that nobody runs: about the time a small one takes to load.
ENGINE_RETRY_S = 30.0
READY, LOADING = "ready", "loading"
ANYTHING = Needs()


@dataclass(frozen=True, kw_only=True)
class Route:
    """Where a job goes. `target` is the model's id there; "" for that provider's default."""

    queue: str
    target: str
    is_simulated: bool = False


def route(mode: Mode, model: str, fleet: Fleet, needs: Needs = ANYTHING) -> Route:
    """Decide. Raises UnknownModel; InvalidRequest when none of those who serve the model can do what is asked; or
    Unavailable when nobody who serves it is up."""
    choice = _Choice(needs)
    hosted = choice.hosted(model)
    if mode is Mode.API:
        return hosted or choice.nobody(model, mode)
    workers = [one for one in fleet.lately() if one.serves(GPU) and model in (DEFAULT, one.model)]
    workers = [one for one in workers if choice.can(catalog.known_to(LOCAL, one.model))]
    local = Route(queue=GPU, target="" if model == DEFAULT else model)
    if _up(workers, settings.get().auto_wait_s if mode is Mode.AUTO and hosted else float("inf")):
        return local
    if mode is Mode.AUTO and hosted and not (hosted.is_simulated and _back_soon(workers)):
        return hosted
    if mode is Mode.AUTO and fleet.ever_served(GPU) and _ours(model) and choice.can(_our_model()):
        return local
    return choice.nobody(model, mode)


class _Choice:
    """Passes over those who cannot do what is asked, and remembers why the first could not."""

    def __init__(self, needs: Needs) -> None:
        self._needs = needs
        self._why: InvalidRequest | None = None

    def can(self, known: catalog.Model | None) -> bool:
        why = self._needs.unmet_by(known)
        self._why = self._why or why
        return why is None

    def hosted(self, model: str) -> Route | None:
        for one in serving.hosted(settings.get()):
            target = serving.target(one, model)
            if target is not None and self.can(catalog.known_to(one.provider, target or one.target)):
                return Route(queue=one.queue, target=target, is_simulated=serving.is_simulated(one))
        return None

    def nobody(self, model: str, mode: Mode) -> Route:
        if self._why is not None:
            raise self._why
        return _nobody(model, mode)


def _up(workers: Sequence[Worker], patience_s: float) -> bool:
    return any(one.state == READY or (one.state == LOADING and one.ready_in_s <= patience_s) for one in workers)


def _back_soon(workers: Sequence[Worker]) -> bool:
    """Whether an engine is only being restarted: a simulated answer meanwhile is not what anybody wants."""
    return any(one.state != LOADING for one in workers)


def _ours(model: str) -> bool:
    return model in (DEFAULT, serving.local_model(settings.get()))


def _our_model() -> catalog.Model | None:
    return catalog.known_to(LOCAL, serving.local_model(settings.get()))


def _nobody(model: str, mode: Mode) -> Route:
    if model != DEFAULT and model not in catalog.models() and not _ours(model):
        raise UnknownModel(model, catalog.near(model, catalog.models()))
    if mode is Mode.API:
        if serving.hosted(settings.get()):
            raise UnknownModel(model, catalog.near(model, catalog.models()))
        raise Unavailable("no hosted provider is configured", retry_after_s=ENGINE_RETRY_S)
    raise Unavailable(f"no live gpu worker serves {model}", retry_after_s=ENGINE_RETRY_S)
