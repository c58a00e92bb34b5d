"""auto | gpu | api → a queue, given the fleet and the settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks import catalog, serving, settings
from tasks.catalog import DEFAULT
from tasks.domain.errors import Unavailable, UnknownModel
from tasks.domain.job import Mode
from tasks.serving import GPU, SANDBOX, Serving
from tasks.store import learned
from tasks.store.fleet import Fleet, Worker

#: When to ask again for an engine that nobody runs: about the time a small one takes to load.
ENGINE_RETRY_S = 30.0
READY, LOADING = "ready", "loading"


@dataclass(frozen=True, kw_only=True)
class Route:
    """Where a job goes. `target` is the model's id there; "" for that provider's default.

    `answered_by` is a hosted provider and its id of the model, the default's too; None for an engine of ours.
    """

    queue: str
    target: str
    is_simulated: bool = False
    answered_by: tuple[str, str] | None = None


def route(mode: Mode, model: str, fleet: Fleet) -> Route:
    """Decide. Raises UnknownModel, or Unavailable when nobody who serves the model is up."""
    names = catalog.names(model)
    workers = [one for one in fleet.lately() if one.serves(GPU) and (model == DEFAULT or one.model in names)]
    hosted = _hosted(model)
    if mode is Mode.API:
        return hosted or _nobody(model, mode)
    local = Route(queue=GPU, target=_local_id(model, workers))
    if _up(workers, settings.get().auto_wait_s if mode is Mode.AUTO and hosted else float("inf")):
        return local
    if mode is Mode.AUTO and hosted and not (hosted.is_simulated and _back_soon(workers)):
        return hosted
    if mode is Mode.AUTO and fleet.ever_served(GPU) and _ours(model):
        return local
    return _nobody(model, mode)


def _up(workers: Sequence[Worker], patience_s: float) -> bool:
    return any(one.state == READY or (one.state == LOADING and one.ready_in_s <= patience_s) for one in workers)


def _back_soon(workers: Sequence[Worker]) -> bool:
    """Whether an engine is only being restarted: a simulated answer meanwhile is not what anybody wants."""
    return any(one.state != LOADING for one in workers)


def _local_id(model: str, workers: Sequence[Worker]) -> str:
    """What the engine calls the model; "" for its default."""
    if model == DEFAULT:
        return ""
    return workers[0].model if workers else serving.local_model(settings.get())


def _hosted(model: str) -> Route | None:
    served = [(one, serving.target(one, model)) for one in serving.hosted(settings.get())]
    routes = [_to(one, target) for one, target in served if target is not None]
    if not routes and not catalog.find(model):
        routes = [_to(one, model) for one, _ in served if model in learned.default().lately_listed(one.provider)]
    # Who calls the model just so comes first: `….:free` is meant for OpenRouter, though NIM serves the model too.
    routes.sort(key=lambda route: route.target not in ("", model))
    if len(routes) > 1:
        # The first that has not retired it. Of only one, accept.lua finds that out without another question to Redis.
        routes = [route for route in routes if not _is_retired(route)] or routes
    return routes[0] if routes else None


def _to(one: Serving, target: str) -> Route:
    answered_by = (one.provider, target or one.target)
    return Route(queue=one.queue, target=target, is_simulated=one.provider == SANDBOX, answered_by=answered_by)


def _is_retired(route: Route) -> bool:
    return route.answered_by is not None and learned.default().why_retired(*route.answered_by) is not None


def _ours(model: str) -> bool:
    return model == DEFAULT or serving.local_model(settings.get()) in catalog.names(model)


def _nobody(model: str, mode: Mode) -> Route:
    hosted = serving.hosted(settings.get())
    if (model != DEFAULT and not catalog.find(model) and not _ours(model)) or (mode is Mode.API and hosted):
        listed = {name for one in hosted for name in learned.default().lately_listed(one.provider)}
        raise UnknownModel(model, catalog.near(model, listed))
    if mode is Mode.API:
        raise Unavailable("no hosted provider is configured", retry_after_s=ENGINE_RETRY_S)
    raise Unavailable(f"no live gpu worker serves {model}", retry_after_s=ENGINE_RETRY_S)
