"""What each hosted provider lets us do per minute, per day and at a time, by the settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any

from tasks import settings
from tasks.domain.errors import InvalidRequest
from tasks.settings import Settings

PROVIDERS = ("nim", "openrouter", "sandbox")
#: A call may reach its provider so much later than it was sent: a sixtieth of the window (a second of a minute), and
#: with the short windows of tests at least what a busy machine needs to read it.
ARRIVAL_SHARE, ARRIVAL_LEAST_S = 1 / 60, 0.1
#: Room that is kept for a job which was let go, until its message has come through: a quarter of the window.
GRANT_SHARE, GRANT_LEAST_S = 1 / 4, 2.0


@dataclass(frozen=True, kw_only=True)
class Quota:
    """Requests and tokens per minute, requests per day (UTC), calls at a time; 0 is no limit.

    `guessed`: nobody published `rpm`, so more is tried once it is used up.
    """

    rpm: int = 0
    tpm: int = 0
    rpd: int = 0
    calls: int = 0
    guessed: bool = False

    @property
    def is_limited(self) -> bool:
        """Whether there is anything to keep to."""
        return any((self.rpm, self.tpm, self.rpd, self.calls))


class BadLimits(ValueError):
    """TANDEM_MODEL_LIMITS is not what it should be; the message says what is wrong with it."""


def scope(provider: str, model: str = "") -> str:
    """The name of what a quota holds for: a provider's key, or one model there."""
    return f"{provider}:{model}" if model else provider


def quotas(here: Settings) -> dict[str, Quota]:
    """The quotas by scope; a scope without limits is left out. Raises BadLimits."""
    guessed = {name.strip() for name in here.guessed_limits.split(",")}
    present = _present(here)
    found = {name: _of_provider(here, name, name in guessed) for name in present}
    found |= {name: quota for name, quota in _of_models(here.model_limits).items() if name.partition(":")[0] in present}
    return {name: quota for name, quota in found.items() if quota.is_limited}


def _present(here: Settings) -> list[str]:
    """The providers that may be called; claims carry no quotas of others."""
    has_key = {
        "nim": bool(here.nvidia_api_key.get_secret_value() or here.nvidia_base_url),
        "openrouter": bool(here.openrouter_api_key.get_secret_value()),
    }
    return [name for name in PROVIDERS if has_key.get(name, not any(has_key.values()))]


def _of_provider(here: Settings, name: str, guessed: bool) -> Quota:
    numbers = {field: getattr(here, f"{name}_{field}") for field in ("rpm", "tpm", "rpd", "calls")}
    return Quota(**numbers, guessed=guessed)


def _of_models(text: str) -> dict[str, Quota]:
    if not text:
        return {}
    try:
        said = json.loads(text)
        return {name: _quota(name, numbers) for name, numbers in said.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise BadLimits(f"TANDEM_MODEL_LIMITS: {error}") from error


def _quota(name: str, numbers: Mapping[str, Any]) -> Quota:
    if name.partition(":")[0] not in PROVIDERS or not name.partition(":")[2]:
        raise ValueError(f"{name!r} is not provider:model, with one of {', '.join(PROVIDERS)}")
    known = {field.name for field in fields(Quota)}
    if unknown := numbers.keys() - known:
        raise ValueError(f"{name!r} has an unknown limit {sorted(unknown)[0]!r}")
    if any(not isinstance(number, int) or number < 0 for number in numbers.values()):
        raise ValueError(f"{name!r} has a limit that is no whole number")
    return Quota(**numbers)


def policy(here: Settings) -> str:
    """The quotas and times as the scripts take them (JSON, milliseconds); "" when there are no limits at all."""
    found = quotas(here)
    if not found:
        return ""
    window_s = here.limit_window_s
    times = {
        "window": window_s,
        "arrival": max(ARRIVAL_LEAST_S, window_s * ARRIVAL_SHARE),
        "grant": max(GRANT_LEAST_S, window_s * GRANT_SHARE),
        "longest": here.call_timeout_s,
    }
    in_ms = {name: int(seconds * 1000) for name, seconds in times.items()}
    return json.dumps({**in_ms, "scopes": {name: asdict(quota) for name, quota in found.items()}})


def check(provider: str, model: str, *, prompt_tokens: int, most_tokens: int) -> None:
    """Raise InvalidRequest for a request that is larger than a whole minute's tokens: it could never be sent."""
    limited = default()
    for name in (scope(provider), scope(provider, model)):
        quota = limited.get(name)
        if quota and quota.tpm and prompt_tokens + most_tokens > quota.tpm:
            raise InvalidRequest(
                f"about {prompt_tokens} tokens of prompt and {most_tokens} of answer are more than the {quota.tpm} "
                f"tokens per minute of {name}",
                field="max_tokens" if prompt_tokens <= quota.tpm and most_tokens else "messages",
            )


@cache
def default() -> dict[str, Quota]:
    """The quotas of this process' settings."""
    return quotas(settings.get())
