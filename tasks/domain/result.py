"""What a model answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens that an answer took."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None

    def to_json(self) -> dict[str, int]:
        """The usage as the API shows it; counts the provider did not tell are left out."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def __add__(self, other: Usage) -> Usage:
        """Both together; a count that one of them does not tell is the other's."""
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            total_tokens=self.total_tokens + other.total_tokens,
            cached_tokens=_sum(self.cached_tokens, other.cached_tokens),
            reasoning_tokens=_sum(self.reasoning_tokens, other.reasoning_tokens),
        )

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Usage:
        """The inverse of `to_json`."""
        return cls(**body)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else (one or 0) + (other or 0)


@dataclass(frozen=True, kw_only=True)
class ChatResult:
    """The answer to a chat."""

    content: str | None
    reasoning: str | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    finish_reason: str
    #: In the model's own words, why it does not answer.
    refusal: str | None = None

    @property
    def is_silent(self) -> bool:
        """Whether it says nothing at all."""
        return not (self.tool_calls or self.refusal or (self.content and not self.content.isspace()))

    def to_json(self) -> dict[str, Any]:
        """The result as the API shows it; `refusal` only where there is one."""
        said = {
            "content": self.content,
            "reasoning": self.reasoning,
            "tool_calls": list(self.tool_calls),
            "finish_reason": self.finish_reason,
        }
        return said if self.refusal is None else said | {"refusal": self.refusal}


@dataclass(frozen=True, kw_only=True)
class EmbeddingResult:
    """One vector per text, in the order of the texts, all of `dimensions` numbers."""

    embeddings: tuple[tuple[float, ...], ...]
    dimensions: int

    def to_json(self) -> dict[str, Any]:
        """The result as the API shows it."""
        return {"embeddings": [list(one) for one in self.embeddings], "dimensions": self.dimensions}


Result = TypeVar("Result", ChatResult, EmbeddingResult, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Completion(Generic[Result]):
    """One finished model call: the answer, what it took, and which model gave it."""

    result: Result
    usage: Usage | None
    model: str
