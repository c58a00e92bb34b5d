"""What each hosted provider lets us do per minute, per day and at a time, by the settings."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache

from tasks import settings
from tasks.domain.errors import InvalidRequest
from tasks.domain.quota import PROVIDERS, Quota, of_models, scope
from tasks.settings import Settings

#: A call may reach its provider so much later than it was sent: a sixtieth of the window (a second of a minute), and
#: with the short windows of tests at least what a busy machine needs to read it.
ARRIVAL_SHARE, ARRIVAL_LEAST_S = 1 / 60, 0.1
#: Room that is kept for a job which was let go, until its message has come through: a quarter of the window.
GRANT_SHARE, GRANT_LEAST_S = 1 / 4, 2.0


def quotas(here: Settings) -> dict[str, Quota]:
    """The quotas by scope; a scope without limits is left out."""
    guessed = {name.strip() for name in here.guessed_limits.split(",")}
    present = _present(here)
    found = {name: _of_provider(here, name, name in guessed) for name in present}
    found |= {name: quota for name, quota in of_models(here.model_limits).items() if name.partition(":")[0] in present}
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


def arrival_s(here: Settings) -> float:
    """How much later than it was sent a call may reach its provider."""
    return max(ARRIVAL_LEAST_S, here.limit_window_s * ARRIVAL_SHARE)


def policy(here: Settings) -> str:
    """The quotas and times as the scripts take them (JSON, milliseconds); "" when there are no limits at all."""
    found = quotas(here)
    if not found:
        return ""
    window_s = here.limit_window_s
    times = {
        "window": window_s,
        "arrival": arrival_s(here),
        "grant": max(GRANT_LEAST_S, window_s * GRANT_SHARE),
        "longest": here.call_timeout_s,
    }
    in_ms = {name: int(seconds * 1000) for name, seconds in times.items()}
    return json.dumps({**in_ms, "scopes": {name: asdict(quota) for name, quota in found.items()}})


def check(provider: str, model: str, *, prompt: str, prompt_tokens: int, most_tokens: int) -> None:
    """Raise InvalidRequest for a request that is larger than a whole minute's tokens: it could never be sent.

    `prompt` is the field that the prompt is in.
    """
    limited = default()
    for name in (scope(provider), scope(provider, model)):
        quota = limited.get(name)
        if quota and quota.tpm and prompt_tokens + most_tokens > quota.tpm:
            raise InvalidRequest(
                f"about {prompt_tokens} tokens of prompt and {most_tokens} of answer are more than the {quota.tpm} "
                f"tokens per minute of {name}",
                field="max_tokens" if prompt_tokens <= quota.tpm and most_tokens else prompt,
            )


@cache
def default() -> dict[str, Quota]:
    """The quotas of this process' settings."""
    return quotas(settings.get())
