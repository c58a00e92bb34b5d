"""Takes the images of a submission in: fetched or decoded, looked at, stored; the request then only refers to them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from ipaddress import ip_network
from typing import Any

from tasks import catalog, serving, settings
from tasks.catalog import Model
from tasks.domain.errors import InvalidRequest
from tasks.domain.job import Submission
from tasks.images import data_url, reading
from tasks.images.fetch import Fetcher, NotFetched
from tasks.images.reading import UnreadableImage
from tasks.serving import GPU
from tasks.store import capacity, fleet, media

#: More would not fit any model's context, and each has to be fetched, decoded and kept.
MOST_IMAGES = 16


def has_images(asked: Submission) -> bool:
    """Whether there is anything to see in it."""
    return bool(_places(asked.request))


def sees(queue: str, target: str) -> bool:
    """Whether the model that will answer there takes images; one that the catalogue does not know may.

    `target` "" is the default of the queue.
    """
    model = _model(queue, target)
    return model is None or model.can("vision")


def take_in(asked: Submission, *, queue: str, target: str) -> Submission:
    """The submission with its images stored, references in place of their URLs, and a receipt of each.

    Raises InvalidRequest for a model that takes no images and for an image that cannot be had or read; Unavailable
    when there is no room for it.
    """
    places = _places(asked.request)
    if not places:
        return asked
    if not sees(queue, target):
        raise InvalidRequest("the model that would answer takes no images", field="model")
    if len(places) > MOST_IMAGES:
        raise InvalidRequest(f"at most {MOST_IMAGES} images in a job", field="messages")
    ends_at = time.monotonic() + settings.get().image_fetch_s
    keep_s = asked.expires_in_s + settings.get().job_ttl_s
    kept: dict[str, tuple[str, list[int]]] = {}
    for (n, m), url in places.items():
        if url not in kept:
            try:
                kept[url] = _kept(_bytes(url, ends_at), keep_s)
            except (UnreadableImage, NotFetched) as error:
                raise InvalidRequest(str(error), field=f"messages.{n}.content.{m}.image_url.url") from error
    receipts = tuple({"in": kept[url][1], "out": None} for url in places.values())
    references = {place: kept[url][0] for place, url in places.items()}
    return replace(asked, request=_referring(asked.request, references), images=receipts)


def _model(queue: str, target: str) -> Model | None:
    if queue.startswith(GPU):
        live = (one.model for one in fleet.default().lately() if one.serves(queue) and one.model)
        name, provider = target or next(live, serving.local_model(settings.get())), "vllm"
    else:
        one = next(one for one in serving.hosted(settings.get()) if one.queue == queue)
        name, provider = target or one.target, one.provider
    known = catalog.models()
    return known.get(name) or next((model for model in known.values() if model.ids.get(provider) == name), None)


def _places(request: Mapping[str, Any]) -> dict[tuple[int, int], str]:
    """The URL of each image, by the places of its message and of its part."""
    found = {}
    for n, message in enumerate(request.get("messages", ())):
        parts = message.get("content")
        for m, part in enumerate(parts if isinstance(parts, list) else ()):
            if part["type"] == "image_url":
                found[n, m] = str(part["image_url"]["url"])
    return found


def _bytes(url: str, ends_at: float) -> bytes:
    if url[: len(data_url.SCHEME)].lower() == data_url.SCHEME:
        return data_url.decoded(url, most_bytes=settings.get().image_max_bytes)
    return fetcher().fetch(url, ends_at=ends_at)


def _kept(data: bytes, keep_s: float) -> tuple[str, list[int]]:
    found = reading.read(data)
    capacity.default().reserve(len(data))
    return media.default().keep(data, for_s=keep_s), [found.width, found.height, len(data)]


def _referring(request: dict[str, Any], references: Mapping[tuple[int, int], str]) -> dict[str, Any]:
    messages = [dict(message) for message in request["messages"]]
    for (n, m), reference in references.items():
        parts = list(messages[n]["content"])
        parts[m] = parts[m] | {"image_url": parts[m]["image_url"] | {"url": reference}}
        messages[n]["content"] = parts
    return request | {"messages": messages}


@cache
def fetcher() -> Fetcher:
    """What fetches images for this process."""
    here = settings.get()
    return Fetcher(
        networks=[ip_network(word) for word in settings.words(here.image_networks)],
        ports=[int(word) for word in settings.words(here.image_ports)],
        nameserver=here.image_nameserver,
        most_bytes=here.image_max_bytes,
    )
