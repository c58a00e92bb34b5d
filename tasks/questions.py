"""What a job asks: jobs that ask the same of the same model may share one answer."""

from __future__ import annotations

import json
from typing import Any

from tasks import catalog, serving, settings, vision
from tasks.domain.embedding import EmbeddingRequest
from tasks.domain.job import Cache, Submission
from tasks.routing import Route
from tasks.serving import GPU, LOCAL
from tasks.store import fleet
from tasks.store.answers import Question

#: Of the scope that all owners are in.
SHARED = "shared"


def of(asked: Submission, request: str, route: Route) -> Question | None:
    """The question of a job that goes by `route`; None when its answer is not to be shared.

    `request` is the request's JSON, its images by their hashes. The order of names within is left as it is: models
    write an object in the order of its schema.
    """
    here = settings.get()
    if not here.cache_ttl_s or not _may_share(asked):
        return None
    provider, model = route.answered_by or (LOCAL, route.target or _own_model())
    asks = {"kind": asked.kind, "provider": provider, "model": model} | _setting(asked, route, provider, model)
    return Question(
        scope=SHARED if here.cache_shared else f"owner:{asked.owner}",
        asks=f"{json.dumps(asks, sort_keys=True)}\n{request}",
        terms=json.dumps({"mode": asked.mode, "model": asked.model}, sort_keys=True),
        asked_of=(provider, model),
        # Nothing is found for longer than the record that holds it.
        keep_s=min(here.cache_ttl_s, here.job_ttl_s),
        cache=asked.cache or Cache.USE,
    )


def _may_share(asked: Submission) -> bool:
    """Whether the client wants it or, if it did not say, the same request is to have the same answer."""
    if asked.cache is not None:
        return asked.cache is not Cache.OFF
    request = asked.request
    return isinstance(request, EmbeddingRequest) or request.temperature == 0 or request.seed is not None


def _setting(asked: Submission, route: Route, provider: str, model: str) -> dict[str, Any]:
    """What of this installation an answer depends on: where it comes from, and what a model is told and shown."""
    said: dict[str, Any] = {}
    if route.answered_by:
        said["url"] = next((one.base_url for one in serving.hosted(settings.get()) if one.queue == route.queue), "")
    if known := catalog.known_to(provider, model):
        own = {"sampling": dict(known.sampling), "reasoning": known.reasoning, "completions": known.completions}
        said["catalog"] = own | {"endpoint": known.endpoints.get(provider)}
    if asked.images:
        frame = vision.frame_of(provider, model)
        said["frame"] = [frame.edge, frame.base64_below]
    return said


def _own_model() -> str:
    """The model that `default` means on the gpu queue: what its workers serve, if they agree."""
    served = {one.model for one in fleet.default().lately() if GPU in one.consumes and one.model}
    return served.pop() if len(served) == 1 else serving.local_model(settings.get())
