"""The contract: what each failure of a provider is called, what a client reads, and whether the job is tried again.

By the sandbox's grammar (sandbox/behaviour.py); test_failures.py sees to it that no word of it is forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tasks.domain import provider_errors as errors
from tasks.domain.provider_errors import ProviderError
from tests.providers.clients import MAKERS

#: Words that end in an answer, and those of NVIDIA's queue, which elsewhere are a model that nobody knows.
ANSWERED = ("echo", "thoughts", "think-tags", "tools")
QUEUED = ("nvcf-202", "nvcf-302")
#: Words that end when somebody's patience does.
ENDLESS = ("hang", "drip")
#: Words that change a call or a failure, and are none by themselves: told in sandbox/test_control.py.
MANNERS = ("slow-1000ms", "tokens-50", "times-2")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One failure. `says` is the job's error message, with {name} and {model}; `own` has what one provider adds."""

    kind: type[ProviderError]
    code: str
    tried_again: bool
    says: str
    charged: bool = True
    after_s: float | None = None
    own: Mapping[str, str] = field(default_factory=dict)
    #: What it is at our own engine, which is asked whether it lives, and answers that in the same way.
    engine: Failure | None = None

    def at(self, name: str) -> Failure:
        """The same at one provider."""
        if name == "vllm" and self.engine is not None:
            return self.engine
        return replace(self, says=self.own.get(name, self.says))


def permanent(kind: type[ProviderError], code: str, says: str, **own: str) -> Failure:
    return Failure(kind=kind, code=code, tried_again=False, says=says, own=own)


ENGINE_LOST = Failure(
    kind=errors.EngineLost, code="engine_lost", tried_again=True, charged=False,
    says="the engine died or is going down",
)  # fmt: skip


def engine_failed(says: str) -> Failure:
    says = f"the engine failed at this request: {says}"
    return Failure(kind=errors.EngineError, code="engine_error", tried_again=True, says=says)


def overloaded(status: int, *, after_s: float | None = None, engine: Failure | None = None) -> Failure:
    return Failure(
        kind=errors.ProviderOverloaded, code="provider_overloaded", tried_again=True, after_s=after_s,
        says=f"{{name}} cannot serve now (HTTP {status})", engine=engine,
    )  # fmt: skip


def unfinished(says: str) -> Failure:
    return Failure(
        kind=errors.ProviderOverloaded, code="provider_overloaded", tried_again=True, says=says,
        engine=engine_failed(says),
    )  # fmt: skip


def broken(says: str, engine: Failure) -> Failure:
    return Failure(kind=errors.ConnectionLost, code="connection_lost", tried_again=True, says=says, engine=engine)


SHORT = "the connection broke before the answer was whole"
LIMITED = Failure(
    kind=errors.RateLimited, code="rate_limited", tried_again=True, charged=False, says="{name} asks to slow down"
)
UNPAID = permanent(errors.PaymentRequired, "payment_required",
                   "{name} wants credit that the configured key does not have")  # fmt: skip
NO_MODEL = permanent(errors.ModelNotFound, "model_not_found",
                     "{name} does not serve model '{model}' to the configured key")  # fmt: skip
LONG = "{name} refused the request: This model's maximum context length is 1024 tokens. However, "
NVIDIA_LONG = LONG + "your messages resulted in 1026 tokens."

FAILURES: dict[str, Failure] = {
    "status-400": permanent(
        errors.BadRequest, "bad_request", "{name} refused the request: simulated Bad Request for {model}",
        vllm="{name} refused the request: Bad Request",
        nim="{name} refused the request: Inference error for account ***, key ***",
        openrouter="{name} refused the request: Bad Request (***, key ***)"),
    "status-401": permanent(errors.AuthenticationFailed, "authentication_failed",
                            "{name} does not accept the configured key"),
    "status-402": UNPAID,
    "status-403": permanent(errors.AccessDenied, "access_denied", "the configured key may not do this at {name}"),
    "status-404": NO_MODEL,
    "status-408": overloaded(408),
    "status-410": permanent(errors.ModelRetired, "model_retired", "{name} has retired model '{model}'",
                            nim="{name} has retired model '{model}' on 2025-11-30"),
    "status-422": permanent(
        errors.BadRequest, "bad_request", "{name} refused the request: simulated Unprocessable Entity for {model}",
        vllm="{name} refused the request: Unprocessable Entity",
        nim="{name} refused the request: Field required",
        openrouter="{name} refused the request: Unprocessable Entity (***, key ***)"),
    "status-429": LIMITED,
    "status-429-after-2": replace(LIMITED, after_s=2.0),
    "status-500": overloaded(500, engine=ENGINE_LOST),
    "status-502": overloaded(502, engine=ENGINE_LOST),
    "status-503": overloaded(503),
    "status-503-after-2": overloaded(503, after_s=2.0),
    "status-504": overloaded(504, engine=ENGINE_LOST),
    "status-529": overloaded(529, engine=ENGINE_LOST),
    "too-long": permanent(
        errors.ContextTooLong, "context_too_long", LONG + "you requested 1026.",
        vllm=LONG + "your request has 1026 input tokens.", nim=NVIDIA_LONG, openrouter=NVIDIA_LONG),
    "error-in-200": overloaded(502, engine=engine_failed("Bad Gateway")),
    "error-in-200-429": LIMITED,
    "error-in-200-402": UNPAID,
    "drop": broken(SHORT, ENGINE_LOST),
    "cut": broken(SHORT, ENGINE_LOST),
    "broken-json": broken("the answer is not whole JSON", engine_failed("the answer is not whole JSON")),
    "no-choice": unfinished("the provider sent no choice"),
    "no-finish": unfinished("the provider broke the answer off"),
    "abort": unfinished("the provider broke the answer off"),
    "filter": permanent(errors.BadRequest, "bad_request", "the provider's content filter stopped the answer"),
    "null-content": permanent(errors.EmptyAnswer, "invalid_response",
                              "the provider sent an answer without content"),
    "exhausted": permanent(errors.ReasoningExhausted, "reasoning_exhausted",
                           "the token budget ran out while the model was still thinking; raise max_tokens"),
    "no-such-word": NO_MODEL,
}  # fmt: skip

#: Every failure at every provider.
MATRIX: dict[tuple[str, str], Failure] = {
    (name, words): failure.at(name) for words, failure in FAILURES.items() for name in MAKERS
} | {(name, words): NO_MODEL for words in QUEUED for name in MAKERS if name != "nim"}
