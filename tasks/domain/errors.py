"""Every error of the project begins here. The branch an error sits on is the policy that applies to it.

TandemError
  RequestError                 the caller can fix it         → 4xx, never retried
    InvalidRequest ConflictingKeys JobNotFound BatchNotFound UnknownModel ModelGone
    IdempotencyMismatch BatchTooLarge BatchBusy
  Unavailable(retry_after_s)   nothing here can take it now  → 503
  ProviderError                a call gave no answer         → provider_errors.py says what follows
  CallCut                      we ended the call ourselves   → whoever cut it knows what follows
  BadSettings LaunchError InstallError                       → one sentence for the operator, and the end
"""

from __future__ import annotations


class TandemError(Exception):
    """The root: whatever this project raises on purpose."""


# ---- the caller can fix it ------------------------------------------------------------------


class RequestError(TandemError):
    """A request that cannot be granted as it stands. `field` names the part at fault, if one is; `code` is a word."""

    code = "invalid_request"

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


class BatchNotFound(RequestError):
    """No such batch for this owner, or its record has expired."""


class BatchTooLarge(RequestError):
    """More items, or more bytes, than one batch may have."""


class BatchBusy(RequestError):
    """The batch is not in a state in which this can be done."""


class UnknownModel(RequestError):
    """No provider configured here serves the model. `near` holds ids that look alike."""

    code = "unknown_model"

    def __init__(self, model: str, near: tuple[str, ...] = ()) -> None:
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        super().__init__(f"no model {model!r} is served here{hint}", field="model")
        self.near = near


class ModelGone(RequestError):
    """The model has been taken out of service. `why` is what the provider said, without its account."""

    code = "model_retired"

    def __init__(self, model: str, why: str) -> None:
        super().__init__(f"model {model!r} is retired: {why}", field="model")


class IdempotencyMismatch(RequestError):
    """This idempotency key was used with another payload."""


# ---- nothing here can take it now -----------------------------------------------------------


class Unavailable(TandemError):
    """The service cannot take this now; it may in `retry_after_s` seconds."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s


class NoRoom(Unavailable):
    """Redis has no room for more."""


# ---- we ended it ourselves ------------------------------------------------------------------


class CallCut(TandemError):
    """A running call was ended from our side. `why` says by what."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the call was cut: {why}")
        self.why = why
