"""Every error of the project. The branch an error sits on is the policy that applies to it.

TandemError
  RequestError                 the caller can fix it         → 4xx, never retried
    InvalidRequest JobNotFound UnknownModel IdempotencyMismatch
  Unavailable(retry_after_s)   nothing here can take it now  → 503
  ProviderError
    TransientError(retry_after_s)   may work later           → put back
      RateLimited ProviderTimeout ProviderOverloaded ConnectionLost(Unreachable)
      EngineLost EngineAway
    PermanentError(code)            will fail again          → failed
      AuthenticationFailed PaymentRequired AccessDenied ModelNotFound ModelRetired
      ContextTooLong BadRequest InvalidResponse ReasoningExhausted
  CallCut                      we ended the call ourselves   → whoever cut it knows what follows
"""

from __future__ import annotations


class TandemError(Exception):
    """The root: whatever this project raises on purpose."""


# ---- the caller can fix it ------------------------------------------------------------------


class RequestError(TandemError):
    """A request that cannot be granted as it stands. `field` names the part at fault, if one is."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class InvalidRequest(RequestError):
    """The request is well-formed but asks for something that cannot be."""


class ConflictingKeys(RequestError):
    """The Idempotency-Key header and the body's `idempotency_key` differ."""


class JobNotFound(RequestError):
    """No such job for this owner, or its record has expired."""


class UnknownModel(RequestError):
    """No provider configured here serves the model. `near` holds ids that look alike."""

    def __init__(self, model: str, near: tuple[str, ...] = ()) -> None:
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        super().__init__(f"no model {model!r} is served here{hint}", field="model")
        self.near = near


class IdempotencyMismatch(RequestError):
    """This idempotency key was used with another payload."""


# ---- nothing here can take it now -----------------------------------------------------------


class Unavailable(TandemError):
    """The service cannot take this now; it may in `retry_after_s` seconds."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s


# ---- a provider's answer --------------------------------------------------------------------


class ProviderError(TandemError):
    """A model call that gave no answer. `code` is a stable word that clients may rely on."""

    code = "provider_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class TransientError(ProviderError):
    """May work later. `retry_after_s` is the provider's own hint, if it gave one."""

    code = "provider_unavailable"
    #: Whether the job's own budget of tries pays for it.
    charged = True

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimited(TransientError):
    """The provider refused for its rate limit (429). The job waits; it is not charged.

    `of_model`: only this model is out of room, not the key.
    """

    code = "rate_limited"
    charged = False
    of_model = False


class ProviderTimeout(TransientError):
    """No answer within the call's time."""

    code = "provider_timeout"


class ProviderOverloaded(TransientError):
    """The provider says that it cannot serve now (408, 5xx, 529)."""

    code = "provider_overloaded"


class ConnectionLost(TransientError):
    """The connection could not be made, or broke before the answer was whole."""

    code = "connection_lost"


class Unreachable(ConnectionLost):
    """No connection could be made, so nothing was sent."""


class EngineLost(TransientError):
    """The local engine died or dropped the request. Nobody is charged for it at first."""

    code = "engine_lost"
    charged = False


class EngineAway(TransientError):
    """The local engine is not up: the request never reached it, so it has no part in the engine's death."""

    code = "engine_away"
    charged = False


class PermanentError(ProviderError):
    """Will fail again: the job fails with `code`."""

    code = "provider_refused"


class AuthenticationFailed(PermanentError):
    """The provider does not know the key (401)."""

    code = "authentication_failed"


class PaymentRequired(PermanentError):
    """The provider wants credit (402)."""

    code = "payment_required"


class AccessDenied(PermanentError):
    """The key may not do this (403)."""

    code = "access_denied"


class ModelNotFound(PermanentError):
    """The provider has no such model, or not for this key (404)."""

    code = "model_not_found"


class ModelRetired(PermanentError):
    """The provider has taken the model out of service (410)."""

    code = "model_retired"


class ContextTooLong(PermanentError):
    """Prompt and answer do not fit the model's context."""

    code = "context_too_long"


class BadRequest(PermanentError):
    """The provider refused the request's contents (400, 422)."""

    code = "bad_request"


class InvalidResponse(PermanentError):
    """An HTTP success whose body is no answer."""

    code = "invalid_response"


class ReasoningExhausted(PermanentError):
    """The token budget ran out while the model was still thinking; there is no answer."""

    code = "reasoning_exhausted"


# ---- we ended it ourselves ------------------------------------------------------------------


class CallCut(TandemError):
    """A running call was ended from our side. `why` says by what."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the call was cut: {why}")
        self.why = why
