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
from tasks.settings import BadSettings

OURS = Path(__file__).with_name("catalog.toml")
PROVIDERS = ("vllm", "nim", "openrouter")
ABILITIES = ("chat", "vision", "reasoning", "code", "embedding", "tools")

#: The name that means "whatever this installation serves first".
DEFAULT = "default"


@dataclass(frozen=True, kw_only=True)
class Model:
    """A known model. `ids` maps a provider to the id by which it knows the model."""

    id: str
    abilities: frozenset[str]
    ids: Mapping[str, str]


def read(file: Path) -> dict[str, Model]:
    """The models of a file, by id. Raises OSError, and ValueError with what is wrong in it."""
    said = tomllib.loads(file.read_text(encoding="utf-8"))
    entries = said.pop("model", [])
    if said or not isinstance(entries, list):
        raise ValueError("it may hold nothing but [[model]] entries")
    found = (_model(place, entry) for place, entry in enumerate(entries, 1))
    return {model.id: model for model in found}


@cache
def models() -> dict[str, Model]:
    """The models this installation knows, by id; the operator's own entries win. Raises BadSettings."""
    own = settings.get().catalog
    if own is None:
        return read(OURS)
    try:
        return read(OURS) | read(own)
    except OSError as error:
        raise BadSettings(f"TANDEM_CATALOG is not valid: {own} cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise BadSettings(f"TANDEM_CATALOG is not valid: {own}: {error}") from None


def _model(place: int, entry: Any) -> Model:
    if not isinstance(entry, dict) or not _is_name(entry.get("id")):
        raise ValueError(f"entry {place} has no id")
    abilities = entry.get("abilities", ["chat"])
    if not isinstance(abilities, list) or not all(one in ABILITIES for one in abilities):
        raise ValueError(f"entry {place}: abilities must be some of {', '.join(ABILITIES)}")
    ids = {name: text for name, text in entry.items() if name not in ("id", "abilities")}
    for name, text in ids.items():
        if name not in PROVIDERS:
            raise ValueError(f"entry {place}: {name} is none of id, abilities, {', '.join(PROVIDERS)}")
        if not _is_name(text):
            raise ValueError(f"entry {place}: {name} must be the model's name there")
    return Model(id=entry["id"], abilities=frozenset(abilities), ids=ids)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value.strip() != ""


def near(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """At most three ids that look like `name`."""
    return tuple(difflib.get_close_matches(name, list(known), n=3, cutoff=0.5))
