"""A client of anything that speaks OpenAI's chat completions over HTTP. The providers here are kinds of it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Required, TypedDict, Unpack

import structlog

from tasks import catalog
from tasks.catalog import Model
from tasks.domain.embedding import EmbeddingRequest
from tasks.domain.network import Network
from tasks.domain.provider_errors import ProviderError
from tasks.domain.request import ChatRequest
from tasks.domain.result import ChatResult, Completion, EmbeddingResult
from tasks.providers import answers, base_models, embeddings, lists, reasoning, refusals
from tasks.providers.base import Call
from tasks.providers.transport import ANSWER_MAX_BYTES, Answer, Transport

CONCURRENCY, CONNECT_TIMEOUT_S = 64, 5.0
#: Texts per call. NVIDIA's endpoints take more of some models and fewer of others.
EMBEDDING_BATCH = 64

HTTP_ERROR = re.compile("[45][0-9]{2}")

log = structlog.get_logger()


class Access(TypedDict, total=False):
    """How a provider is reached. Every kind of it takes these, and hands them on as they are."""

    #: Ends in `/v1` or the like.
    base_url: Required[str]
    api_key: str | None
    #: How many threads one instance serves.
    concurrency: int
    connect_timeout_s: float
    #: How many texts one embeddings call carries.
    embedding_batch: int
    #: In place of the usual certificate authorities.
    ca_file: str | None
    #: The longest answer, unpacked.
    answer_max_bytes: int
    #: Where a provider may name places, besides the public internet.
    networks: Sequence[Network]


class OpenAICompatible:
    """A provider at `base_url`. One instance serves `concurrency` threads.

    `complete` sends one request, in answer to which nothing is streamed. It raises a ProviderError as refusals.py
    and answers.py say, ConnectionLost or ProviderTimeout when there is no whole answer, or CallCut.
    """

    name = "openai"
    #: Whether it asks for a key of ours, which it may refuse.
    has_key = False

    def __init__(self, **access: Unpack[Access]) -> None:
        self._base_url = access["base_url"].rstrip("/")
        self._headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "tandem"}
        if api_key := access.get("api_key"):
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._embedding_batch = access.get("embedding_batch", EMBEDDING_BATCH)
        self._transport = Transport(
            concurrency=access.get("concurrency", CONCURRENCY),
            connect_timeout_s=access.get("connect_timeout_s", CONNECT_TIMEOUT_S),
            answer_max_bytes=access.get("answer_max_bytes", ANSWER_MAX_BYTES),
            networks=access.get("networks", ()),
            ca_file=access.get("ca_file"),
        )

    def complete(self, model: str, request: ChatRequest, call: Call) -> Completion[ChatResult]:
        """Answer `request` with `model`."""
        known = catalog.known_to(self.name, model)
        if known is not None and known.completions:
            answer = self._answered("/completions", base_models.payload(model, request), call)
            with self.reading():
                return answers.completion(base_models.as_chat(self._body(answer, model)), model=model)
        answer = self._answered(self.endpoint(known) or "/chat/completions", self.payload(model, request, known), call)
        with self.reading():
            return answers.completion(self._body(answer, model), model=model)

    def embed(self, model: str, request: EmbeddingRequest, call: Call) -> Completion[EmbeddingResult]:
        """Turn texts into vectors; many of them in several calls, one after another, within `call`'s one time."""
        bodies: list[dict[str, Any]] = []
        vectors = []
        for run in embeddings.split(request.input, self._embedding_batch):
            if bodies:
                call.await_room()
            answer = self._answered("/embeddings", self.embedding_payload(model, run, request), call)
            with self.reading():
                bodies.append(self._body(answer, model))
                vectors.append(embeddings.vectors(bodies[-1], count=len(run)))
                embeddings.check_size(len(request.input), len(vectors[0][0]))
        return embeddings.joined(vectors, bodies, model=model)

    def endpoint(self, known: Model | None) -> str | None:
        """The URL that takes a model's chats in place of the provider's own path, if there is one."""
        return known.endpoints.get(self.name) if known else None

    def reading(self) -> AbstractContextManager[None]:
        """Around the judging of an answer with status 200: what its faults mean at this provider."""
        return nullcontext()

    def payload(self, model: str, request: ChatRequest, known: Model | None) -> dict[str, Any]:
        """What is asked, as JSON values."""
        said = {**(known.sampling if known else {}), **request.to_json()}
        said.pop("retry_exhausted", None)
        use = said.pop("use_reasoning", None)
        return reasoning.switched({"model": model, **said}, known, use)

    def embedding_payload(self, model: str, texts: Sequence[str], request: EmbeddingRequest) -> dict[str, Any]:
        """What is asked of some of the texts, as JSON values."""
        return {"model": model, "encoding_format": "float", **request.to_json(), "input": list(texts)}

    def ranked(self, payload: dict[str, Any], call: Call) -> dict[str, Any]:
        """The payload with the call's priority, at a provider that knows such a thing."""
        return payload

    def _answered(self, path: str, payload: dict[str, Any], call: Call) -> Answer:
        """The answer, if it has status 200."""
        answer = self.ask(path, json.dumps(self.ranked(payload, call)).encode(), call)
        if answer.status != 200:
            model = str(payload["model"])
            self._note(answer, model, call)
            raise self.refusal(answer, model)
        return answer

    def models(self, call: Call) -> frozenset[str]:
        """The ids that the provider lists."""
        url = f"{self._base_url}/models"
        answer = self._transport.send("GET", url, headers=self.headers(call), body=None, call=call)
        if answer.status != 200:
            raise self.refusal(answer, "")
        return lists.ids(answers.parsed(answer.body))

    def check_key(self, call: Call) -> None:
        """Ask for something that costs nothing. Raises as `complete` does, with `of_key` where the key is refused."""
        self.models(call)

    def _body(self, answer: Answer, model: str) -> dict[str, Any]:
        """The JSON object of an answer. One that says that it is an error is refused like any other."""
        body = answers.parsed(answer.body)
        if refused := error_in_success(body):
            raise self.refusal(refused, model)
        return body

    def ask(self, path: str, body: bytes, call: Call) -> Answer:
        """Send a request to a path of the provider's, or to a URL, and read the answer, whatever its status."""
        url = path if "://" in path else self._base_url + path
        return self._transport.send("POST", url, headers=self.headers(call), body=body, call=call)

    def headers(self, call: Call) -> dict[str, str]:
        """The headers of every request of `call`."""
        return {**self._headers, "X-Request-Id": call.request_id}

    def refusal(self, answer: Answer, model: str) -> ProviderError:
        """What an answer with another status than 200 means."""
        return refusals.refusal(answer, provider=self.name, model=model, has_key=self.has_key)

    def _note(self, answer: Answer, model: str, call: Call) -> None:
        if answer.status in refusals.ABOUT_ACCOUNT:
            # The operator must see that it is the account. Not in the provider's words: they may repeat what was asked.
            where = {"provider": self.name, "model": model, "request_id": call.request_id}
            log.warning("provider.refused", status=answer.status, code=refusals.code(answer), **where)

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
    status = int(code) if HTTP_ERROR.fullmatch(code) else 502
    metadata = details.get("metadata")
    headers = metadata.get("headers") if isinstance(metadata, dict) else None
    said = {str(k): str(v) for k, v in headers.items()} if isinstance(headers, dict) else {}
    return Answer(status=status, headers=said, body=json.dumps({"error": details}).encode())
