"""OpenRouter: many providers behind one address; only the free variants, unless told otherwise."""

from __future__ import annotations

import re
import time
from typing import Unpack

from tasks.domain.embedding import EmbeddingRequest
from tasks.domain.provider_errors import PaymentRequired, PermanentError, ProviderError, RateLimited
from tasks.domain.request import ChatRequest
from tasks.domain.result import ChatResult, Completion, EmbeddingResult
from tasks.providers import answers, received
from tasks.providers.base import Call
from tasks.providers.openai_compatible import Access, OpenAICompatible
from tasks.providers.refusals import RETRY_AFTER_MAX_S
from tasks.providers.transport import Answer

#: How OpenRouter learns which application calls; it shows them in its rankings.
APPLICATION = {"HTTP-Referer": "https://github.com/tandem-jobs/tandem", "X-OpenRouter-Title": "Tandem"}
FREE = ":free"
MILLISECONDS = re.compile("[0-9]{1,15}")
#: The numbers that `GET /key` may tell: credit in dollars, and whether any was ever bought.
KEY_SAYS = ("limit", "limit_remaining", "usage", "usage_daily", "usage_weekly", "usage_monthly", "is_free_tier")


class OpenRouter(OpenAICompatible):
    """OpenRouter. Without `allow_paid` a model that does not end in `:free` is PaymentRequired, and nothing is sent."""

    name = "openrouter"
    has_key = True

    def __init__(self, *, allow_paid: bool = False, **access: Unpack[Access]) -> None:
        super().__init__(**access)
        self._headers |= APPLICATION
        self._allow_paid = allow_paid

    def complete(self, model: str, request: ChatRequest, call: Call) -> Completion[ChatResult]:
        """Answer `request` with `model`, if that costs nothing or may cost."""
        self._raise_if_paid(model)
        return super().complete(model, request, call)

    def embed(self, model: str, request: EmbeddingRequest, call: Call) -> Completion[EmbeddingResult]:
        """Turn texts into vectors, if that costs nothing or may cost."""
        self._raise_if_paid(model)
        return super().embed(model, request, call)

    def _raise_if_paid(self, model: str) -> None:
        if not (self._allow_paid or model.endswith(FREE)):
            raise PaymentRequired(f"model {model!r} is a paid variant, and paid models are not allowed here")

    def models(self, call: Call) -> frozenset[str]:
        """The ids it lists, as far as they may be called here."""
        return frozenset(one for one in super().models(call) if self._allow_paid or one.endswith(FREE))

    def check_key(self, call: Call) -> None:
        """As everywhere; OpenRouter shows its models to anybody, so it is asked about the key."""
        self.key(call)

    def key(self, call: Call) -> dict[str, float | bool | str]:
        """What OpenRouter says of our key: its credit, what is left of it, and its requests per interval.

        Raises a ProviderError. The key's label, which shows a part of it, is left out.
        """
        answer = self._transport.send("GET", f"{self._base_url}/key", headers=self.headers(call), body=None, call=call)
        if answer.status != 200:
            raise self.refusal(answer, "")
        data = answers.parsed(answer.body).get("data")
        said = data if isinstance(data, dict) else {}
        rate = said.get("rate_limit")
        found = {name: said[name] for name in KEY_SAYS if isinstance(said.get(name), bool | int | float)}
        if isinstance(rate, dict) and isinstance(rate.get("requests"), int):
            found |= {"requests": rate["requests"], "interval": str(rate.get("interval"))[:20]}
        return found

    def refusal(self, answer: Answer, model: str) -> ProviderError:
        """As everywhere; a rate limit of OpenRouter's own tells its end in X-RateLimit-Reset.

        What a provider behind OpenRouter refuses, it does not refuse to our key.
        """
        error = super().refusal(answer, model)
        if isinstance(error, PermanentError) and refused_upstream(answer.body):
            error.of_key = False
        if isinstance(error, RateLimited):
            error.of_model = refused_upstream(answer.body)
            if error.retry_after_s is None:
                error.retry_after_s = until_reset_s(answer.headers.get("X-RateLimit-Reset", ""))
        return error


def refused_upstream(body: bytes) -> bool:
    """Whether it was a provider behind OpenRouter who refused: that concerns one model, not our key."""
    try:
        return bool(received.loads(body)["error"]["metadata"]["provider_name"])
    except (ValueError, KeyError, TypeError):
        return False


def until_reset_s(reset: str) -> float | None:
    """Seconds until `reset`, which is in milliseconds since the epoch."""
    if not MILLISECONDS.fullmatch(reset):
        return None
    return min(max(int(reset) / 1000 - time.time(), 0.0), RETRY_AFTER_MAX_S)
