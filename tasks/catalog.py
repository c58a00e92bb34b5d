"""Which models are known, and what each provider calls them. The data is in catalog.toml."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tasks import settings

OURS = Path(__file__).with_name("catalog.toml")
PROVIDERS = ("vllm", "nim", "openrouter")

#: The name that means "whatever this installation serves first".
DEFAULT = "default"


@dataclass(frozen=True, kw_only=True)
class Model:
    """A known model. `ids` maps a provider to the id by which it knows the model."""

    id: str
    abilities: frozenset[str]
    ids: Mapping[str, str]


def _model(entry: Mapping[str, Any]) -> Model:
    ids = {provider: str(entry[provider]) for provider in PROVIDERS if provider in entry}
    return Model(id=str(entry["id"]), abilities=frozenset(entry.get("abilities", ["chat"])), ids=ids)


def read(*files: Path) -> dict[str, Model]:
    """The models of the files, by id; a later file wins. Raises OSError, tomllib.TOMLDecodeError or KeyError."""
    found: dict[str, Model] = {}
    for file in files:
        for entry in tomllib.loads(file.read_text()).get("model", []):
            found[str(entry["id"])] = _model(entry)
    return found


@cache
def models() -> dict[str, Model]:
    """The models this installation knows, by id."""
    own = settings.get().catalog
    return read(OURS, own) if own else read(OURS)


def near(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """At most three ids that look like `name`."""
    return tuple(difflib.get_close_matches(name, list(known), n=3, cutoff=0.5))
