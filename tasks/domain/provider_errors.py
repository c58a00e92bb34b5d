"""What can become of a model call that gives no answer. The branch decides whether the job gets another try.

ProviderError
  TransientError(retry_after_s)   may work later           → put back
    RateLimited ProviderTimeout ProviderOverloaded ConnectionLost(Unreachable)
    EngineLost EngineAway EngineError
  PermanentError(code)            will fail again          → failed
    AuthenticationFailed PaymentRequired AccessDenied ModelNotFound ModelRetired
    ContextTooLong BadRequest InvalidResponse ReasoningExhausted ImageGone ImageUnfit EngineRefused
"""

from __future__ import annotations

from tasks.domain.errors import TandemError
from tasks.domain.result import Usage


class ProviderError(TandemError):
    """A model call that gave no answer. `code` is a stable word that clients may rely on."""

    code = "provider_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class TransientError(ProviderError):
    """May work later. `retry_after_s` is the provider's own hint, if it gave one.

    `is_outage`: it looks as if the provider were away, whatever is asked. A job is charged for that by time, not by
    tries. `may_be_own`: some requests bring it about although all others are answered.
    """

    code = "provider_unavailable"
    is_outage = False
    may_be_own = False
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
    is_outage = True
    may_be_own = True


class Unreachable(ConnectionLost):
    """No connection could be made, so nothing was sent."""

    may_be_own = False


class EngineLost(TransientError):
    """The local engine died or dropped the request. Nobody is charged for it at first."""

    code = "engine_lost"
    charged = False


class EngineAway(TransientError):
    """The local engine is not up: the request never reached it, so it has no part in the engine's death."""

    code = "engine_away"
    charged = False


class EngineError(TransientError):
    """The local engine failed at this request, and lives: the message has the engine's own words."""

    code = "engine_error"


class PermanentError(ProviderError):
    """Will fail again: the job fails with `code`.

    `of_key`: it is our key, or its account, that the provider refuses, whatever is asked. Then the job does not fail:
    all jobs of that provider wait until the key is good again.
    """

    code = "provider_refused"
    of_key = False


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
    """The provider has taken the model out of service (410). `retired_on` is the day it names (YYYY-MM-DD)."""

    code = "model_retired"

    def __init__(self, message: str, *, retired_on: str | None = None) -> None:
        super().__init__(message)
        self.retired_on = retired_on


class ContextTooLong(PermanentError):
    """Prompt and answer do not fit the model's context."""

    code = "context_too_long"


class BadRequest(PermanentError):
    """The provider refused the request's contents (400, 422)."""

    code = "bad_request"


class InvalidResponse(PermanentError):
    """An HTTP success whose body is no answer."""

    code = "invalid_response"


class UnusableAnswer(InvalidResponse):
    """What the model answered came, and cannot be used: that speaks of the prompt and the model, not of the provider's
    state."""


class EmptyAnswer(UnusableAnswer):
    """An answer in good order that says nothing."""


class ReasoningExhausted(PermanentError):
    """The token budget ran out while the model was still thinking; there is no answer, but `usage` was spent."""

    code = "reasoning_exhausted"

    def __init__(self, message: str, *, usage: Usage | None = None) -> None:
        super().__init__(message)
        self.usage = usage


class ImageGone(PermanentError):
    """An image of the job is not stored any more."""

    code = "image_gone"


class ImageUnfit(PermanentError):
    """An image of the job cannot be made to fit the model's endpoint."""

    code = "image_unfit"


class EngineRefused(PermanentError):
    """The local engine failed at this request twice alike, and lived on: it will do so again."""

    code = EngineError.code
