"""Our own engine: one `vllm serve`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tasks.domain.embedding import EmbeddingRequest
from tasks.domain.provider_errors import (
    ConnectionLost,
    EngineAway,
    EngineLost,
    ProviderError,
    ProviderOverloaded,
    Unreachable,
)
from tasks.providers.base import Call
from tasks.providers.openai_compatible import OpenAICompatible
from tasks.providers.transport import Answer

#: vLLM's queue is full (--max-num-queued-reqs): the engine lives.
QUEUE_FULL = 503


class VLLM(OpenAICompatible):
    """vLLM's server. Whatever an engine's death looks like from here is an EngineLost, which charges nobody:
    a broken connection, a 500 (a dying or draining engine's), an answer cut off or without an end. Where no connection
    could be made it is EngineAway: the request was not in the engine when it died."""

    name = "vllm"

    def ask(self, path: str, body: bytes, call: Call) -> Answer:
        """Send the request. Raises EngineLost or EngineAway where others say ConnectionLost."""
        try:
            return super().ask(path, body, call)
        except Unreachable as error:
            raise EngineAway(error.message) from error
        except ConnectionLost as error:
            raise EngineLost(error.message) from error

    def refusal(self, answer: Answer, model: str) -> ProviderError:
        """EngineLost for every 5xx but a full queue's."""
        error = super().refusal(answer, model)
        if answer.status >= 500 and answer.status != QUEUE_FULL:
            return EngineLost("the engine died or is going down")
        return error

    def reading(self) -> AbstractContextManager[None]:
        """An answer that is not whole is a dying engine's."""
        return whole()

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
    """Raise EngineLost in place of what an engine's death looks like in an answer."""
    try:
        yield
    except (ConnectionLost, ProviderOverloaded) as error:
        raise EngineLost(error.message) from error
