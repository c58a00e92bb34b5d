"""Pages of lists, written as OpenAI writes them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from marshmallow import Schema, fields


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some of what is listed, and whether there are more."""

    found: Sequence[Any]
    has_more: bool


class PageSchema(Schema):
    """A page. What kind it is says the field `data`, and `shown` how each of what was found is written."""

    object = fields.String(required=True, metadata={"const": "list"})
    first_id = fields.String(required=True, allow_none=True)
    last_id = fields.String(required=True, allow_none=True)
    has_more = fields.Boolean(required=True)

    @abstractmethod
    def shown(self, one: Any) -> dict[str, Any]:
        """One of them as a client sees it; it has an `id`."""

    def dump(self, obj: Page, *, many: bool | None = None) -> Any:
        """The page as JSON values."""
        data = [self.shown(one) for one in obj.found]
        first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": obj.has_more}
