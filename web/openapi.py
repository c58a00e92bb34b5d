"""`python -m web.openapi` writes docs/openapi.json: the document of an installation that asks for keys."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tasks import settings
from web.app import create_app

COMMITTED = Path(__file__).parents[1] / "docs" / "openapi.json"


def document() -> dict[str, Any]:
    """The document, whatever this machine's own settings are."""
    os.environ.update(TANDEM_ENV_FILE=os.devnull, TANDEM_API_KEYS="anybody:key")
    settings.get.cache_clear()
    return dict(create_app().extensions["api"].spec.to_dict())


def text(found: dict[str, Any]) -> str:
    """A document as it is committed."""
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    COMMITTED.write_text(text(document()))
