"""Shows a job's images to a model: loads them, fits them to its endpoint, and notes what became of each."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from tasks import catalog, settings
from tasks.catalog import SANDBOX
from tasks.domain.errors import Unavailable
from tasks.domain.provider_errors import ImageGone, ImageUnfit
from tasks.domain.request import ChatRequest, Image
from tasks.images import data_url, fitting
from tasks.images.fitting import Fitted, Frame
from tasks.images.reading import UnreadableImage
from tasks.providers.base import Call
from tasks.store import media

#: How often a call that waits for Redis looks again.
PAUSE_S = 0.5
#: Providers whose endpoints bound an inline image; the sandbox stands in for the first of them.
NIM = "nim"
BOUNDED = (NIM, SANDBOX)

Receipt = dict[str, Any]


def prepared(request: ChatRequest, *, provider: str, model: str, call: Call) -> tuple[ChatRequest, list[Receipt]]:
    """The request with its images inline, as `model` at `provider` takes them, and a receipt of each.

    Raises ImageGone, ImageUnfit, or CallCut when the call was ended meanwhile.
    """
    frame = frame_of(provider, model)
    receipts: list[Receipt] = []

    def shown(image: Image) -> Image:
        data = _load(image.url, call)
        fitted, receipt = _fit(data, frame)
        receipts.append(receipt)
        return replace(image, url=data_url.encoded(fitted.data, fitted.media_type))

    return request.with_images(shown), receipts


def frame_of(provider: str, model: str) -> Frame:
    """What images an endpoint takes: the catalogue knows some models' own limit."""
    here = settings.get()
    known = catalog.known_to(provider, model)
    own = known.image_base64 if known else None
    if known and known.image_assets and provider == NIM:
        # Such images are uploaded as bytes; the client does that with whatever is too long to be inline.
        own = known.image_assets // 3 * 4 + 1
    below = own or (here.image_chars if provider in BOUNDED else 0)
    return Frame(edge=here.image_edge, base64_below=below or None)


def _load(reference: str, call: Call) -> bytes:
    """The image. While Redis is away the call waits for it, as long as it may."""
    while True:
        call.raise_if_cut()
        try:
            data = media.default().find(reference)
        except Unavailable:
            threading.Event().wait(PAUSE_S)
            continue
        if data is None:
            raise ImageGone("an image of this job is not kept any more")
        return data


def _fit(data: bytes, frame: Frame) -> tuple[Fitted, Receipt]:
    try:
        fitted = fitting.fit(data, frame)
    except UnreadableImage as error:
        raise ImageUnfit(str(error)) from error
    return fitted, {
        "in": [*fitted.given, len(data)],
        "out": [fitted.width, fitted.height, len(fitted.data), fitted.quality],
    }
