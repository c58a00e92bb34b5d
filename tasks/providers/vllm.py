"""Our own engine: one `vllm serve`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tasks.domain.embedding import EmbeddingRequest
from tasks.domain.provider_errors import (
    ConnectionLost,
    EngineAway,
    EngineError,
    EngineLost,
    ProviderError,
    ProviderOverloaded,
    ProviderTimeout,
    Unreachable,
)
from tasks.domain.request import ChatRequest
from tasks.domain.result import ChatResult, Completion, EmbeddingResult
from tasks.providers import refusals
from tasks.providers.base import Call
from tasks.providers.openai_compatible import OpenAICompatible
from tasks.providers.transport import Answer

#: vLLM's queue is full (--max-num-queued-reqs): the engine lives.
QUEUE_FULL = 503
#: So long an engine may take to show that it lives. A dead or draining one answers, or breaks off, at once.
LOOK_S = 5.0
FAILED, DIED = "the engine failed at this request", "the engine died or is going down"


class VLLM(OpenAICompatible):
    """vLLM's server.

    A broken connection, a 5xx, an answer cut off or without an end may be the engine's death or this request's fault.
    So the engine is asked whether it lives: if it does, EngineError says what it failed at; if not, EngineLost charges
    nobody. Where no connection could be made it is EngineAway: the request was not in the engine when it died.
    """

    name = "vllm"

    def complete(self, model: str, request: ChatRequest, call: Call) -> Completion[ChatResult]:
        """Answer `request` with `model`. Raises EngineError, EngineLost or EngineAway beside what others raise."""
        with self._judged("/completions", {"model": model, "prompt": "1", "max_tokens": 1}):
            return super().complete(model, request, call)

    def embed(self, model: str, request: EmbeddingRequest, call: Call) -> Completion[EmbeddingResult]:
        """Turn texts into vectors. Raises the same."""
        with self._judged("/embeddings", {"model": model, "input": "1"}):
            return super().embed(model, request, call)

    def ask(self, path: str, body: bytes, call: Call) -> Answer:
        """Send the request. Raises EngineAway or EngineError where others say ConnectionLost."""
        try:
            return super().ask(path, body, call)
        except Unreachable as error:
            raise EngineAway(error.message) from error
        except ConnectionLost as error:
            raise failed_at(error.message) from error

    def refusal(self, answer: Answer, model: str) -> ProviderError:
        """EngineError for every 5xx but a full queue's."""
        if answer.status < 500 or answer.status == QUEUE_FULL:
            return super().refusal(answer, model)
        said = refusals.masked(refusals.message(answer.body))
        return failed_at(said) if said else EngineError(f"{FAILED} (HTTP {answer.status})")

    def reading(self) -> AbstractContextManager[None]:
        """An answer that is not whole is the engine's failure."""
        return whole()

    @contextmanager
    def _judged(self, path: str, question: dict[str, Any]) -> Iterator[None]:
        """Raise EngineLost in place of an EngineError when the engine does not answer a small question either."""
        try:
            yield
        except EngineError as error:
            if not self._lives(path, json.dumps(question).encode()):
                raise EngineLost(DIED) from error
            raise

    def _lives(self, path: str, question: bytes) -> bool:
        """Whether the engine takes work. /health is not enough: while it drains it says 200 there, and refuses work."""
        root = self._base_url.removesuffix("/v1")
        try:
            healthy = self._look("GET", root + "/health", None) == 200
            return healthy and self._look("POST", self._base_url + path, question) in (200, QUEUE_FULL)
        except ProviderTimeout:
            return True  # a busy one lets the question wait
        except ConnectionLost:
            return False

    def _look(self, method: str, url: str, body: bytes | None) -> int:
        call = Call(request_id="", timeout_s=LOOK_S)
        return self._transport.send(method, url, headers=self._headers, body=body, call=call).status

    def ranked(self, payload: dict[str, Any], call: Call) -> dict[str, Any]:
        """What waits in the engine waits by its priority (--scheduling-policy priority), the lower the sooner."""
        return payload | {"priority": call.priority} if call.priority else payload

    def embedding_payload(self, model: str, texts: Sequence[str], request: EmbeddingRequest) -> dict[str, Any]:
        """vLLM's own words for a text that is too long; its models have no two sides of a search."""
        said = super().embedding_payload(model, texts, request)
        said.pop("input_type", None)
        if said.pop("truncate", "NONE") != "NONE":
            said |= {
                "truncate_prompt_tokens": -1,
                "truncation_side": "left" if request.truncate == "START" else "right",
            }
        return said


@contextmanager
def whole() -> Iterator[None]:
    """Raise EngineError for what is not a whole answer."""
    try:
        yield
    except (ConnectionLost, ProviderOverloaded) as error:
        raise failed_at(error.message) from error


def failed_at(what: str) -> EngineError:
    """The engine failed at a request, in its own words."""
    return EngineError(f"{FAILED}: {what}")
