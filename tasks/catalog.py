"""Which models are known, and what each provider calls them. The data is in catalog.toml."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from tasks import settings
from tasks.settings import BadSettings

OURS = Path(__file__).with_name("catalog.toml")
PROVIDERS = ("vllm", "nim", "openrouter")
ABILITIES = ("chat", "vision", "reasoning", "code", "embedding", "tools")

#: It stands in for any of them, under the models' own ids.
SANDBOX = "sandbox"

#: The name that means "whatever this installation serves first".
DEFAULT = "default"


class Switch(StrEnum):
    """How a model is told to think or not to. The names are those of what is set."""

    DETAILED_THINKING = "detailed thinking"  # first system message "detailed thinking on" | "off"
    SLASH_THINK = "/think"  # system "/think" | "/no_think"
    ENABLE_THINKING = "enable_thinking"  # chat_template_kwargs, a bool
    THINKING = "thinking"  # chat_template_kwargs, a bool
    THINKING_MODE = "thinking_mode"  # chat_template_kwargs, "enabled" | "disabled"
    REASONING_EFFORT = "reasoning_effort"  # "high" | left out
    ALWAYS = "always"  # thinks whatever it is told


@dataclass(frozen=True, kw_only=True)
class Model:
    """A known model.

    `ids` maps a provider to the id by which it knows the model, `endpoints` to a URL that takes its calls in place of
    the provider's own. `context` is in tokens; `dimensions` are those of an embedding; `image_base64` is the longest
    base64 text of an inline image; `completions` marks a base model, which has no chat template. None: not known.
    """

    id: str
    abilities: frozenset[str]
    ids: Mapping[str, str]
    aliases: tuple[str, ...] = ()
    endpoints: Mapping[str, str] = field(default_factory=dict)
    context: int | None = None
    most_tokens: int | None = None
    dimensions: int | None = None
    asymmetric: bool = False
    image_base64: int | None = None
    completions: bool = False
    reasoning: Switch | None = None
    sampling: Mapping[str, float] = field(default_factory=dict)

    def can(self, ability: str) -> bool:
        """Whether the model has `ability`: chat, vision, reasoning, code, embedding or tools."""
        return ability in self.abilities


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


PLAIN = ("context", "most_tokens", "dimensions", "asymmetric", "image_base64", "completions", "sampling", "endpoints")
FIELDS = ("id", "abilities", "aliases", "reasoning", *PROVIDERS, *PLAIN)


def _model(place: int, entry: Any) -> Model:
    if not isinstance(entry, dict) or not _is_name(entry.get("id")):
        raise ValueError(f"entry {place} has no id")
    abilities = entry.get("abilities", ["chat"])
    if not isinstance(abilities, list) or not all(one in ABILITIES for one in abilities):
        raise ValueError(f"entry {place}: abilities must be some of {', '.join(ABILITIES)}")
    ids = {name: entry[name] for name in PROVIDERS if name in entry}
    for name in entry:
        if name not in FIELDS:
            raise ValueError(f"entry {place}: {name} is none of {', '.join(FIELDS)}")
    for name, text in ids.items():
        if not _is_name(text):
            raise ValueError(f"entry {place}: {name} must be the model's name there")
    return Model(
        id=entry["id"],
        abilities=frozenset(abilities),
        ids=ids,
        aliases=tuple(entry.get("aliases", ())),
        reasoning=Switch(entry["reasoning"]) if "reasoning" in entry else None,
        **{name: entry[name] for name in PLAIN if name in entry},
    )


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value.strip() != ""


def known_to(provider: str, its_id: str) -> Model | None:
    """The model that a provider knows by `its_id`."""
    return _by_provider().get((provider, its_id)) or (models().get(its_id) if provider == SANDBOX else None)


@cache
def _by_provider() -> dict[tuple[str, str], Model]:
    return {(provider, its_id): model for model in models().values() for provider, its_id in model.ids.items()}


def near(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """At most three ids that look like `name`."""
    return tuple(difflib.get_close_matches(name, list(known), n=3, cutoff=0.5))
