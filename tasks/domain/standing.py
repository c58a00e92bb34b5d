"""What was learned of a model at a provider, beside what the catalogue knows of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    """Whether a provider answers with a model. The better ones come first."""

    CALLABLE = "callable"
    OVERLOADED = "overloaded"
    UNKNOWN = "unknown"
    NOT_ENTITLED = "not_entitled"  # 404: no such model, or not for this account
    RETIRED = "retired"  # 410

    @property
    def rank(self) -> int:
        """0 for the best."""
        return list(State).index(self)


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What one call told. `why` is what a client of a retired model is told, and holds nothing of the account."""

    state: State
    retired_on: str | None = None
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What is known of a model at a provider by now; `retired_on` is the day that the provider named, if it did."""

    state: State = State.UNKNOWN
    checked_at: datetime | None = None
    retired_on: str | None = None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The models that a provider lists, and when it said so. Being listed does not mean being callable."""

    ids: frozenset[str]
    at: datetime
