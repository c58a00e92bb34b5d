"""NVIDIA NIM, hosted or in a container of one's own."""

from __future__ import annotations

import re
import time
from typing import Unpack
from urllib.parse import urlsplit

from tasks.catalog import Model
from tasks.domain.provider_errors import InvalidResponse, ProviderOverloaded
from tasks.domain.request import ChatRequest
from tasks.domain.result import ChatResult, Completion
from tasks.providers import named_place
from tasks.providers.assets import Assets
from tasks.providers.base import Call
from tasks.providers.openai_compatible import Access, OpenAICompatible
from tasks.providers.transport import Answer

#: How long one status request may be held open upstream.
POLL_HOLD_S = 30
#: An inline image's base64 must be shorter, by NVIDIA's samples.
INLINE_BELOW = 180_000
#: The pause between two status requests, should the host not hold them.
POLL_PAUSE_S = 0.5
REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


class NIM(OpenAICompatible):
    """NIM. A call that NVIDIA queues (202 with NVCF-REQID) is polled at `nvcf_url` until its answer is there; a large
    result (302) is fetched from where it lies, without our key if that is another host, which must be a public one."""

    name = "nim"
    has_key = True

    def __init__(self, *, nvcf_url: str, inline_below: int = INLINE_BELOW, **access: Unpack[Access]) -> None:
        super().__init__(**access)
        self._nvcf_url = nvcf_url.rstrip("/")
        own = (self._nvcf_url, self._base_url)
        self._assets = Assets(self._transport, nvcf_url=self._nvcf_url, own=own, inline_below=inline_below)
        #: The assets that a running call refers to, by its request id.
        self._referred: dict[str, list[str]] = {}

    def complete(self, model: str, request: ChatRequest, call: Call) -> Completion[ChatResult]:
        """Answer `request` with `model`; images too long to be inline are uploaded for as long as that takes."""
        with self._assets.uploaded(request, model=model, headers=self.headers(call), call=call) as (shown, ids):
            if not ids:
                return super().complete(model, shown, call)
            self._referred[call.request_id] = ids
            try:
                return super().complete(model, shown, call)
            finally:
                del self._referred[call.request_id]

    def headers(self, call: Call) -> dict[str, str]:
        """As everywhere, and the assets that the call refers to."""
        ids = self._referred.get(call.request_id)
        return super().headers(call) | ({"NVCF-INPUT-ASSET-REFERENCES": ",".join(ids)} if ids else {})

    def ask(self, path: str, body: bytes, call: Call) -> Answer:
        """Send the request and wait for its answer, however NVIDIA delivers it."""
        answer = super().ask(path, body, call)
        if answer.status == 202:
            answer = self._poll(answer, call)
        if answer.status == 302:
            answer = self._fetch(answer.headers.get("Location", ""), call)
        return answer

    def check_key(self, call: Call) -> None:
        """As everywhere; NVIDIA shows its models to anybody, so there our key's own assets are asked for."""
        if not is_nvidias(self._base_url):
            super().check_key(call)
            return
        url = f"{self._nvcf_url}/v2/nvcf/assets"
        answer = self._transport.send("GET", url, headers=self.headers(call), body=None, call=call)
        if answer.status != 200:
            raise self.refusal(answer, "")

    def endpoint(self, known: Model | None) -> str | None:
        """The model's own URL. NVIDIA's are not for those who named a NIM of their own: their prompts stay there."""
        url = super().endpoint(known)
        return None if url and is_nvidias(url) and not is_nvidias(self._base_url) else url

    def _poll(self, answer: Answer, call: Call) -> Answer:
        url = f"{self._nvcf_url}/v2/nvcf/pexec/status/{request_id(answer)}"
        while answer.status == 202:
            asked_at = time.monotonic()
            headers = {**self.headers(call), "NVCF-POLL-SECONDS": str(poll_hold_s(call))}
            answer = self._transport.send("GET", url, headers=headers, body=None, call=call)
            if answer.status == 202:
                call.pause(until=asked_at + POLL_PAUSE_S)
        if answer.status == 404:
            raise ProviderOverloaded("nim has lost the queued request")
        return answer

    def _fetch(self, location: str, call: Call) -> Answer:
        place = named_place.place(location, base=self._nvcf_url, own=(self._nvcf_url, self._base_url))
        headers = self.headers(call)
        if not place.is_its_own:
            headers.pop("Authorization", None)
        answer = self._transport.send(
            "GET", place.url, headers=headers, body=None, call=call, anywhere=place.is_its_own
        )
        if answer.status != 200:
            # What the place says, a storage's 403 or 404, is about the result and says nothing of model or key.
            raise ProviderOverloaded(f"nim has lost the result (HTTP {answer.status})")
        return answer


def request_id(answer: Answer) -> str:
    """The id of a queued request. Raises InvalidResponse when it is none: it becomes part of a URL."""
    said = answer.headers.get("NVCF-REQID", "")
    if not REQUEST_ID.fullmatch(said):
        raise InvalidResponse("nim queued the request without saying where to ask for it")
    return said


def poll_hold_s(call: Call) -> int:
    """Whole seconds that the next status request may be held: never beyond the call's time."""
    return max(1, min(POLL_HOLD_S, int(call.remaining_s())))


def is_nvidias(url: str) -> bool:
    """Whether a URL is on one of NVIDIA's own hosts."""
    return (urlsplit(url).hostname or "").endswith(".nvidia.com")
