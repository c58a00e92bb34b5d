"""A provider's own list of its models, in whatever dialect: only the ids of it are of use here."""

from __future__ import annotations

from typing import Any, TypeGuard

from tasks.catalog_file import LONGEST_NAME, NAME
from tasks.domain.provider_errors import InvalidResponse

#: More than any provider has; a list longer than this is none.
MOST = 10_000


def ids(body: dict[str, Any]) -> frozenset[str]:
    """The ids in the answer to GET /models; what is no model's name is left out. Raises InvalidResponse."""
    data = body.get("data")
    if not isinstance(data, list) or len(data) > MOST:
        raise InvalidResponse("the provider sent no list of models")
    said = [one.get("id") for one in data if isinstance(one, dict)]
    return frozenset(one for one in said if is_name(one))


def is_name(said: Any) -> TypeGuard[str]:
    """Whether this is a model's name."""
    return isinstance(said, str) and len(said) <= LONGEST_NAME and bool(NAME.fullmatch(said))
