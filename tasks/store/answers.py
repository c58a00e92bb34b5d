"""Answers that jobs share: under which names one is kept for others (the cache), and waited for (a flight)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from tasks.domain.job import Cache
from tasks.store import keys


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a job asks, as far as its answer may be shared.

    `asks` is all that an answer depends on, `terms` what the client said of who may answer; both only as texts to be
    hashed. `scope` is who shares. An answer of anybody but `asked_of` (provider, model) is kept for nobody.
    """

    scope: str
    asks: str
    terms: str
    asked_of: tuple[str, str]
    keep_s: int
    cache: Cache = Cache.USE

    @property
    def name(self) -> str:
        """Of its answer."""
        return f"{self.scope}:{_hash(self.asks)}"

    @property
    def flight(self) -> str:
        """Of those who wait for one answer: should their leader be answered elsewhere, they could have been, too."""
        return f"{self.scope}:{_hash(self.asks + self.terms)}"

    def fields(self) -> dict[str, str]:
        """What the record says of it."""
        return {"question": self.name, "asked_of": " ".join(self.asked_of), "cache_for_s": str(self.keep_s)}

    def keys(self) -> list[str]:
        """As the script `accept` takes them."""
        return ["" if self.cache is Cache.REFRESH else keys.answer(self.name), keys.flight(self.flight)]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
