"""NVIDIA's assets: images too long to be inline, uploaded before a call and deleted after it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

import structlog

from tasks.domain.errors import CallCut
from tasks.domain.provider_errors import InvalidResponse, ProviderError
from tasks.domain.request import ChatRequest, Image
from tasks.providers import answers, named_place, refusals
from tasks.providers.base import Call
from tasks.providers.transport import Answer, Transport

ASSET_ID = re.compile(r"[0-9A-Fa-f-]{36}")
#: What NVIDIA shows of an asset, and signs the upload with.
DESCRIPTION = "tandem"
#: How long the deletion may take: the call's own time may be over, and a drain waits for it.
DELETE_S = 2.0

log = structlog.get_logger()


class Assets:
    """The assets at `nvcf_url`; `own` are URLs on the hosts that the operator named. Images whose base64 is not shorter
    than `inline_below` become one; 0: none does."""

    def __init__(self, transport: Transport, *, nvcf_url: str, own: Collection[str], inline_below: int) -> None:
        self._transport = transport
        self._url = f"{nvcf_url}/v2/nvcf/assets"
        self._base, self._own = nvcf_url, tuple(own)
        self._inline_below = inline_below

    @contextmanager
    def uploaded(
        self, request: ChatRequest, *, model: str, headers: dict[str, str], call: Call
    ) -> Iterator[tuple[ChatRequest, list[str]]]:
        """The request with its long images uploaded, and their ids; they are deleted when the block ends."""
        ids: list[str] = []

        def shown(image: Image) -> Image:
            if not self._is_long(image.url):
                return image
            head, _, text = image.url.partition(",")
            media_type = head.removeprefix("data:").partition(";")[0]
            ids.append(self._upload(base64.b64decode(text), media_type, model=model, headers=headers, call=call))
            return replace(image, url=f"data:{media_type};asset_id,{ids[-1]}")

        try:
            yield request.with_images(shown), ids
        finally:
            for asset_id in ids:
                self._delete(asset_id, headers, call)

    def _is_long(self, url: str) -> bool:
        return bool(self._inline_below) and len(url.partition(",")[2]) >= self._inline_below

    def _upload(self, data: bytes, media_type: str, *, model: str, headers: dict[str, str], call: Call) -> str:
        said = json.dumps({"contentType": media_type, "description": DESCRIPTION}).encode()
        made = answers.parsed(self._sent("POST", self._url, headers, said, model, call, has_key=True).body)
        asset_id, where = made.get("assetId"), made.get("uploadUrl")
        if not isinstance(asset_id, str) or not ASSET_ID.fullmatch(asset_id) or not isinstance(where, str):
            raise InvalidResponse("nim made an asset without saying where it is to be put")
        # The URL is signed; our key is none of that host's business.
        signed = {"Content-Type": media_type, "x-amz-meta-nvcf-asset-description": DESCRIPTION}
        try:
            place = named_place.place(where, base=self._base, own=self._own)
            self._sent("PUT", place.url, signed, data, model, call, anywhere=place.is_its_own)
        except BaseException:
            self._delete(asset_id, headers, call)
            raise
        return asset_id

    def _sent(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes,
        model: str,
        call: Call,
        *,
        has_key: bool = False,
        anywhere: bool = True,
    ) -> Answer:
        answer = self._transport.send(method, url, headers=headers, body=body, call=call, anywhere=anywhere)
        if answer.status not in (200, 201, 204):
            raise refusals.refusal(answer, provider="nim", model=model, has_key=has_key)
        return answer

    def _delete(self, asset_id: str, headers: dict[str, str], call: Call) -> None:
        """Never raises: what is left NVIDIA deletes by itself, later."""
        last = Call(request_id=call.request_id, timeout_s=DELETE_S)
        try:
            answer = self._transport.send("DELETE", f"{self._url}/{asset_id}", headers=headers, body=None, call=last)
            left = answer.status not in (200, 204, 404)
        except (ProviderError, CallCut):
            left = True
        if left:
            log.warning("asset.left", request_id=call.request_id)
