"""What may be asked of a provider, or of one model there, per minute, per day and at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

#: Those that a quota can be set for. An engine of our own has none.
PROVIDERS = ("nim", "openrouter", "sandbox")


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
    """The limits of models are not what they should be; the message says what is wrong with them."""


def scope(provider: str, model: str = "") -> str:
    """The name of what a quota holds for: a provider's key, or one model there."""
    return f"{provider}:{model}" if model else provider


def of_models(text: str) -> dict[str, Quota]:
    """The quotas of `{"provider:model": {"rpm": 5, …}, …}`, JSON. Raises BadLimits."""
    if not text:
        return {}
    try:
        said = json.loads(text)
        return {name: _quota(name, numbers) for name, numbers in said.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise BadLimits(f"no limits of models: {error}") from error


def _quota(name: str, numbers: Mapping[str, Any]) -> Quota:
    if name.partition(":")[0] not in PROVIDERS or not name.partition(":")[2]:
        raise ValueError(f"{name!r} is not provider:model, with one of {', '.join(PROVIDERS)}")
    known = {field.name for field in fields(Quota)}
    if unknown := numbers.keys() - known:
        raise ValueError(f"{name!r} has an unknown limit {sorted(unknown)[0]!r}")
    if any(not isinstance(number, int) or number < 0 for number in numbers.values()):
        raise ValueError(f"{name!r} has a limit that is no whole number")
    return Quota(**numbers)
