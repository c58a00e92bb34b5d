"""What a provider says instead of an answer, turned into our errors without giving its secrets away.

| HTTP | error | retried |
|---|---|---|
| 401 | AuthenticationFailed | once the key is good again, uncharged |
| 402 | PaymentRequired | the same; no when it says that a smaller request could be paid |
| 403 | AccessDenied, or BadRequest when its moderation flagged the prompt | the same; no when it speaks of the model |
| 404 | ModelNotFound | no |
| 410 | ModelRetired | no |
| 429 | RateLimited(retry_after_s) | yes, uncharged |
| 408, 425, 5xx | ProviderOverloaded(retry_after_s) | yes |
| other 4xx | BadRequest, or ContextTooLong when it says so | no |
| anything else | InvalidResponse | no |
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from tasks.domain.provider_errors import (
    AccessDenied,
    AuthenticationFailed,
    BadRequest,
    ContextTooLong,
    InvalidResponse,
    ModelNotFound,
    ModelRetired,
    PaymentRequired,
    PermanentError,
    ProviderError,
    ProviderOverloaded,
    RateLimited,
)
from tasks.providers import received
from tasks.providers.transport import Answer

#: An upstream message is passed on up to this many characters, and looked at so far: what looks for secrets in it
#: begins anew at each word, and a hostile message is one of half a million words.
MESSAGE_MAX, LOOKED_AT = 300, 1000
#: No hint is believed beyond a day: the longest window that a provider counts in.
RETRY_AFTER_MAX_S = 86_400.0
#: Client errors that time may cure.
TRANSIENT_4XX = frozenset({408, 425})

#: How vLLM, TensorRT-LLM (NIM), OpenRouter and OpenAI say that prompt and answer do not fit.
TOO_LONG = re.compile(
    r"context[ _](length|window)|max(imum)?[ _](model|input|sequence|seq)[ _]len|longer than the max|"
    r"(prompt|input|message)s? (is|are) too (long|large)|exceeds? (the )?(model'?s )?max\w* .{0,30}(token|length)",
    re.IGNORECASE,
)

#: Keys by their prefixes, ids by their prefixes (only with a digit in them: `user-provided` is a word), UUIDs,
#: whatever is introduced as an account or a bearer, and long words of mixed letters and digits.
SECRETS = re.compile(
    r"\b(?:nvapi|sk)-[\w-]{4,}"
    r"|\b(?:org|user|acct|account|team|proj)[-_](?=[\w-]*\d)[\w-]{4,}"
    r"|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"
    r"|(?<=\baccount )['\"]?[\w+/=-]+['\"]?"
    r"|(?<=\bbearer )\S+"
    r"|\b(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{32,}",
    re.IGNORECASE,
)
#: An error's own word, such as `invalid_api_key`.
WORD = re.compile("[A-Za-z][A-Za-z0-9_.-]{0,39}|[0-9]{1,6}")
#: How OpenRouter says that the credit left does for a smaller request, so that others may well be answered.
TOO_DEAR = re.compile(r"can only afford|fewer max_tokens", re.IGNORECASE)
OF_MODEL = re.compile(r"\bmodels?\b", re.IGNORECASE)
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def refusal(answer: Answer, *, provider: str, model: str, has_key: bool = False) -> ProviderError:
    """The error that an unsuccessful answer stands for. Its message is fit for a client.

    `has_key`: the request carried a key of ours, or should have.
    """
    status = answer.status
    if status == 429:
        return RateLimited(f"{provider} asks to slow down", retry_after_s=retry_after_s(answer.headers))
    if status >= 500 or status in TRANSIENT_4XX:
        hint_s = retry_after_s(answer.headers)
        busy = ProviderOverloaded(f"{provider} cannot serve now (HTTP {status})", retry_after_s=hint_s)
        busy.is_outage, busy.may_be_own = status >= 500, status == 500
        return busy
    if status == 403 and _is_moderated(answer.body):
        return BadRequest(f"{provider}'s moderation refused the request")
    if status in ABOUT_ACCOUNT:
        kind, text = ABOUT_ACCOUNT[status]
        error = kind(text.format(provider=provider, model=model))
        error.of_key = has_key and concerns_key(answer)
        return error
    said = message(answer.body)
    if status == 410:
        found = DATE.search(said)
        when = found.group() if found else None
        text = f"{provider} has retired model {model!r}" + (f" on {when}" if when else "")
        return ModelRetired(text, retired_on=when)
    if 400 <= status < 500:
        kind = ContextTooLong if TOO_LONG.search(said) else BadRequest
        return kind(f"{provider} refused the request: {masked(said)}" if said else f"{provider} refused the request")
    return InvalidResponse(f"{provider} sent HTTP {status} where an answer was expected")


#: Their bodies speak of the operator's account, so nothing of them is passed on.
ABOUT_ACCOUNT: Mapping[int, tuple[type[PermanentError], str]] = {
    401: (AuthenticationFailed, "{provider} does not accept the configured key"),
    402: (PaymentRequired, "{provider} wants credit that the configured key does not have"),
    403: (AccessDenied, "the configured key may not do this at {provider}"),
    404: (ModelNotFound, "{provider} does not serve model {model!r} to the configured key"),
}


def message(body: bytes) -> str:
    """How what an error body says begins, in any of the shapes in use; empty when it is no JSON."""
    try:
        said = received.loads(body)
    except ValueError:
        return ""
    return _text(said, deepest=received.DEEPEST)[:LOOKED_AT]


def code(answer: Answer) -> str:
    """The word that a provider has for its refusal; "" where it says none, or something that is no word."""
    try:
        body = received.loads(answer.body)
    except ValueError:
        return ""
    error = body.get("error") if isinstance(body, dict) else None
    said = error if isinstance(error, dict) else body if isinstance(body, dict) else {}
    words = (str(said.get(name) or "") for name in ("code", "type"))
    return next((word for word in words if WORD.fullmatch(word) and not SECRETS.search(word)), "")


def concerns_key(answer: Answer) -> bool:
    """Whether a refusal is of our key or its account, so that nothing else would be answered either.

    A 402 or 403 that does not say what it is about counts as one of the key: to wait loses nothing.
    """
    match answer.status:
        case 401:
            return True
        case 402:
            return not TOO_DEAR.search(message(answer.body))
        case 403:
            return not OF_MODEL.search(message(answer.body)) and not _is_moderated(answer.body)
    return False


def _is_moderated(body: bytes) -> bool:
    """Whether a 403 speaks of what was asked: OpenRouter's moderation says what it flagged."""
    try:
        return "flagged_input" in received.loads(body)["error"]["metadata"]
    except (ValueError, KeyError, TypeError):
        return False


def _text(said: Any, *, deepest: int) -> str:
    if isinstance(said, str):
        return said
    if deepest == 0:
        return ""
    if isinstance(said, list):  # FastAPI's: one entry for each field at fault
        return "; ".join(filter(None, (_text(one, deepest=deepest - 1) for one in said)))
    if not isinstance(said, dict):
        return ""
    raw = said["metadata"].get("raw") if isinstance(said.get("metadata"), dict) else None
    if isinstance(raw, str):  # OpenRouter's: the body of the provider behind it
        return message(raw.encode()) or raw
    for name in ("error", "message", "detail", "msg", "title"):
        if said.get(name):
            return _text(said[name], deepest=deepest - 1)
    return ""


def masked(text: str) -> str:
    """Text with keys and account ids blanked, cut to MESSAGE_MAX characters."""
    if len(text) >= LOOKED_AT:
        # Without its last word: half of a secret looks like none.
        text = text[:LOOKED_AT]
        text = text.rpartition(" ")[0] or text
    clean = SECRETS.sub("***", text)
    return clean if len(clean) <= MESSAGE_MAX else clean[: MESSAGE_MAX - 1] + "…"


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds until the provider wants to be asked again, from Retry-After (seconds or an HTTP date)."""
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    try:
        wait_s = float(value)
    except ValueError:
        try:
            wait_s = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return min(max(wait_s, 0.0), RETRY_AFTER_MAX_S) if math.isfinite(wait_s) else None
