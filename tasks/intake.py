"""Takes the images of a submission in: fetched or decoded, looked at, stored; the request then only refers to them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from ipaddress import ip_network

from tasks import settings
from tasks.domain.errors import InvalidRequest
from tasks.domain.job import Submission
from tasks.domain.request import ChatRequest, Image
from tasks.images import data_url, reading
from tasks.images.fetch import Fetcher, NotFetched
from tasks.images.reading import UnreadableImage
from tasks.store import capacity, media

#: More would not fit any model's context, and each has to be fetched, decoded and kept.
MOST_IMAGES = 16
#: An image is kept for so long beyond the time of fetching until all of its job are there: a job that is refused for
#: another image leaves none behind.
WHILE_TAKEN_IN_S = 120.0


def has_images(asked: Submission) -> bool:
    """Whether there is anything to see in it."""
    return isinstance(asked.request, ChatRequest) and bool(asked.request.images())


def take_in(asked: Submission) -> Submission:
    """The submission with its images stored, references in place of their URLs, and a receipt of each.

    Raises InvalidRequest for an image that cannot be had or read, and Unavailable when there is no room for it.
    """
    request = asked.request
    if not isinstance(request, ChatRequest) or not (images := request.images()):
        return asked
    if len(images) > MOST_IMAGES:
        raise InvalidRequest(f"at most {MOST_IMAGES} images in a job", field="messages")
    ends_at = time.monotonic() + settings.get().image_fetch_s
    kept: dict[str, tuple[str, list[int]]] = {}
    for place, url in _places(request):
        if url not in kept:
            try:
                kept[url] = _kept(_bytes(url, ends_at))
            except (UnreadableImage, NotFetched) as error:
                raise InvalidRequest(str(error), field=f"{place}.image_url.url") from error
    media.default().prolong(
        (reference for reference, _ in kept.values()), for_s=asked.expires_in_s + settings.get().job_ttl_s
    )
    receipts = tuple({"in": kept[image.url][1], "out": None} for image in images)
    stored = request.with_images(lambda image: replace(image, url=kept[image.url][0]))
    return replace(asked, request=stored, images=receipts)


def _places(request: ChatRequest) -> Iterator[tuple[str, str]]:
    """Where each image stands, and its URL."""
    for n, message in enumerate(request.messages):
        for m, part in enumerate(message.content if isinstance(message.content, tuple) else ()):
            if isinstance(part, Image):
                yield f"messages.{n}.content.{m}", part.url


def _bytes(url: str, ends_at: float) -> bytes:
    if url[: len(data_url.SCHEME)].lower() == data_url.SCHEME:
        return data_url.decoded(url, most_bytes=settings.get().image_max_bytes)
    return fetcher().fetch(url, ends_at=ends_at)


def _kept(data: bytes) -> tuple[str, list[int]]:
    found = reading.read(data)
    capacity.default().reserve(len(data))
    for_s = settings.get().image_fetch_s + WHILE_TAKEN_IN_S
    return media.default().keep(data, for_s=for_s), [found.width, found.height, len(data)]


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
