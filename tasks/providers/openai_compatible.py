"""A client of anything that speaks OpenAI's chat completions over HTTP. The providers here are kinds of it."""

from __future__ import annotations

import json
from typing import Any, Required, TypedDict, Unpack

import structlog

from tasks import catalog
from tasks.domain.provider_errors import ProviderError
from tasks.domain.request import ChatRequest
from tasks.domain.result import Completion
from tasks.providers import answers, reasoning, refusals
from tasks.providers.base import Call
from tasks.providers.transport import Answer, Transport

CONCURRENCY, CONNECT_TIMEOUT_S = 64, 5.0

log = structlog.get_logger()


class Access(TypedDict, total=False):
    """How a provider is reached. Every kind of it takes these, and hands them on as they are."""

    #: Ends in `/v1` or the like.
    base_url: Required[str]
    api_key: str | None
    #: How many threads one instance serves.
    concurrency: int
    connect_timeout_s: float
    #: In place of the usual certificate authorities.
    ca_file: str | None


class OpenAICompatible:
    """A provider at `base_url`. One instance serves `concurrency` threads.

    `complete` sends one request, in answer to which nothing is streamed. It raises a ProviderError as refusals.py
    and answers.py say, ConnectionLost or ProviderTimeout when there is no whole answer, or CallCut.
    """

    name = "openai"

    def __init__(self, **access: Unpack[Access]) -> None:
        self._base_url = access["base_url"].rstrip("/")
        self._headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "tandem"}
        if api_key := access.get("api_key"):
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._transport = Transport(
            concurrency=access.get("concurrency", CONCURRENCY),
            connect_timeout_s=access.get("connect_timeout_s", CONNECT_TIMEOUT_S),
            ca_file=access.get("ca_file"),
        )

    def complete(self, model: str, request: ChatRequest, call: Call) -> Completion:
        """Answer `request` with `model`."""
        body = json.dumps(self.payload(model, request)).encode()
        answer = self.ask(body, call)
        if answer.status != 200:
            self._note(answer, model, call)
            raise self.refusal(answer, model)
        return self.read(answer, model)

    def payload(self, model: str, request: ChatRequest) -> dict[str, Any]:
        """What is asked, as JSON values."""
        said = request.to_json()
        known = catalog.known_to(self.name, model)
        for name, value in (known.sampling if known else {}).items():
            said.setdefault(name, value)
        use = said.pop("use_reasoning", None)
        return reasoning.switched({"model": model, **said}, known, use)

    def ask(self, body: bytes, call: Call) -> Answer:
        """Send the request and read the answer, whatever its status."""
        url = f"{self._base_url}/chat/completions"
        return self._transport.send("POST", url, headers=self.headers(call), body=body, call=call)

    def headers(self, call: Call) -> dict[str, str]:
        """The headers of every request of `call`."""
        return {**self._headers, "X-Request-Id": call.request_id}

    def refusal(self, answer: Answer, model: str) -> ProviderError:
        """What an answer with another status than 200 means."""
        return refusals.refusal(answer, provider=self.name, model=model)

    def read(self, answer: Answer, model: str) -> Completion:
        """The completion in an answer with status 200, which may also hold an error."""
        body = answers.parsed(answer.body)
        if refused := error_in_success(body):
            raise self.refusal(refused, model)
        return answers.completion(body, model=model)

    def _note(self, answer: Answer, model: str, call: Call) -> None:
        if answer.status in refusals.ABOUT_ACCOUNT:
            # The operator must see what the client may not.
            said = refusals.masked(refusals.message(answer.body))
            where = {"provider": self.name, "model": model, "request_id": call.request_id}
            log.warning("provider.refused", status=answer.status, detail=said, **where)

    def close(self) -> None:
        """Let go of the connections."""
        self._transport.close()


def error_in_success(body: dict[str, Any]) -> Answer | None:
    """The error that a 200 carries, in its body or its first choice, as the answer it should have been."""
    choices = body.get("choices")
    inner = choices[0].get("error") if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
    error = body.get("error") or inner
    if not error:
        return None
    details = error if isinstance(error, dict) else {"message": str(error)}
    code = str(details.get("code"))
    status = int(code) if code.isdecimal() and 400 <= int(code) < 600 else 502
    metadata = details.get("metadata")
    headers = metadata.get("headers") if isinstance(metadata, dict) else None
    said = {str(k): str(v) for k, v in headers.items()} if isinstance(headers, dict) else {}
    return Answer(status=status, headers=said, body=json.dumps({"error": details}).encode())
