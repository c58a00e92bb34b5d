"""Our own engine: one `vllm serve`."""

from __future__ import annotations

from tasks.domain.provider_errors import (
    ConnectionLost,
    EngineAway,
    EngineLost,
    ProviderError,
    ProviderOverloaded,
    Unreachable,
)
from tasks.domain.result import Completion
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

    def ask(self, body: bytes, call: Call) -> Answer:
        """Send the request. Raises EngineLost or EngineAway where others say ConnectionLost."""
        try:
            return super().ask(body, call)
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

    def read(self, answer: Answer, model: str) -> Completion:
        """The completion. Raises EngineLost when it is not whole."""
        try:
            return super().read(answer, model)
        except (ConnectionLost, ProviderOverloaded) as error:
            raise EngineLost(error.message) from error
