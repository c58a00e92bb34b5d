"""The body of a successful embeddings call, judged; and the calls that a long list of texts is split into."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from tasks.domain.embedding import most_texts
from tasks.domain.provider_errors import BadRequest, InvalidResponse
from tasks.domain.result import Completion, EmbeddingResult, Usage
from tasks.providers.answers import named, usage_of

Vector = tuple[float, ...]


def split(texts: Iterable[str], size: int) -> Iterator[tuple[str, ...]]:
    """The texts in runs of `size`, in order."""
    rest = iter(texts)
    while run := tuple(islice(rest, size)):
        yield run


def vectors(body: dict[str, Any], *, count: int) -> list[Vector]:
    """The `count` vectors of an answer, in the order of the texts. Raises InvalidResponse unless they are all there."""
    data = body.get("data")
    found = {one["index"]: one.get("embedding") for one in data or () if isinstance(one, dict) and "index" in one}
    if not isinstance(data, list) or len(data) != count or set(found) != set(range(count)):
        raise InvalidResponse(f"the provider did not send one vector for each of {count} texts")
    return [_vector(found[place]) for place in range(count)]


def check_size(count: int, dimensions: int) -> None:
    """Raise BadRequest when so many vectors are too much for one answer: not known before the first where nobody has
    said how long they are."""
    if count > (most := most_texts(dimensions)):
        raise BadRequest(f"the model's vectors have {dimensions} numbers: {most} texts at once at the most")


def joined(
    runs: Sequence[list[Vector]], bodies: Sequence[dict[str, Any]], *, model: str
) -> Completion[EmbeddingResult]:
    """One answer of several. Raises InvalidResponse when their vectors are of different lengths."""
    all_of_them = tuple(vector for run in runs for vector in run)
    lengths = {len(vector) for vector in all_of_them}
    if len(lengths) != 1:
        raise InvalidResponse("the provider sent vectors of different lengths")
    return Completion(
        result=EmbeddingResult(embeddings=all_of_them, dimensions=lengths.pop()),
        usage=_total([usage_of(body.get("usage")) for body in bodies]),
        model=named(bodies[0], model),
    )


def _vector(said: Any) -> Vector:
    if not isinstance(said, list) or not said or not all(type(number) in (int, float) for number in said):
        raise InvalidResponse("the provider sent something that is no vector")
    try:
        vector = tuple(float(number) for number in said)
    except OverflowError as error:  # an integer beyond all floating-point numbers
        raise InvalidResponse("the provider sent a vector with numbers that are none") from error
    if not all(map(math.isfinite, vector)):
        raise InvalidResponse("the provider sent a vector with numbers that are none")
    return vector


def _total(usages: Sequence[Usage | None]) -> Usage | None:
    told = [usage for usage in usages if usage is not None]
    if not told:
        return None
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in told),
        completion_tokens=0,
        total_tokens=sum(usage.total_tokens for usage in told),
    )
