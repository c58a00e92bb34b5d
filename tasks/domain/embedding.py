"""Texts to be turned into vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

InputType = Literal["query", "passage"]
Truncate = Literal["NONE", "START", "END"]
#: Numbers of one answer, texts times dimensions: 2,048 texts of 1,024. As JSON they are some 45 MB.
MOST_NUMBERS = 2048 * 1024


def most_texts(dimensions: int) -> int:
    """How many texts may be turned into vectors of so many numbers at once."""
    return MOST_NUMBERS // dimensions


@dataclass(frozen=True, kw_only=True)
class EmbeddingRequest:
    """Texts, and how to embed them.

    `input_type` says to asymmetric models which side of a search the texts are on; `truncate` what becomes of one that
    is too long (unset or NONE: an error); `dimensions` asks for shorter vectors where the model can make them.
    """

    input: tuple[str, ...]
    input_type: InputType | None = None
    truncate: Truncate | None = None
    dimensions: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The request as plain JSON values; unset fields are left out."""
        said = {"input": list(self.input), "input_type": self.input_type, "truncate": self.truncate}
        return {name: value for name, value in (said | {"dimensions": self.dimensions}).items() if value is not None}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> EmbeddingRequest:
        """The inverse of `to_json`."""
        return cls(**{**body, "input": tuple(body["input"])})
