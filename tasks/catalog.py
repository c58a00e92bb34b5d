"""Which models are known, and what each provider calls them. The data is in catalog.toml."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from tasks import settings
from tasks.catalog_file import DEFAULT, PROVIDERS, CatalogError, entries
from tasks.domain.job import SIMULATOR
from tasks.settings import BadSettings

__all__ = ["DEFAULT", "PROVIDERS", "CatalogError", "Model", "Switch", "find", "models", "names", "near", "read"]

OURS = Path(__file__).with_name("catalog.toml")

#: It stands in for any of the providers, under the models' own ids.
SANDBOX = SIMULATOR


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
    the provider's own. `context` is in tokens, and so is `most_tokens`, the longest answer; `dimensions` are those of
    an embedding; `image_base64` is the longest base64 text of an inline image, `image_assets` the
    bytes of one that NIM takes as an asset; `completions` marks a base model, which
    has no chat template. None: not known.
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
    image_assets: int | None = None
    completions: bool = False
    reasoning: Switch | None = None
    sampling: Mapping[str, float] = field(default_factory=dict)

    def can(self, ability: str) -> bool:
        """Whether the model has `ability`: chat, vision, reasoning, code, embedding or tools."""
        return ability in self.abilities


def _model(entry: Mapping[str, Any]) -> Model:
    plain = (
        "context",
        "most_tokens",
        "dimensions",
        "asymmetric",
        "image_base64",
        "image_assets",
        "completions",
        "sampling",
        "endpoints",
    )
    return Model(
        id=str(entry["id"]),
        abilities=frozenset(entry.get("abilities", ["chat"])),
        ids={provider: str(entry[provider]) for provider in PROVIDERS if provider in entry},
        aliases=tuple(entry.get("aliases", ())),
        reasoning=Switch(entry["reasoning"]) if "reasoning" in entry else None,
        **{name: entry[name] for name in plain if name in entry},
    )


def read(*files: Path) -> dict[str, Model]:
    """The models of the files, by id; a later file's entry replaces an earlier one's. Raises CatalogError."""
    return {model.id: model for file in files for model in map(_model, entries(file))}


@cache
def models() -> dict[str, Model]:
    """The models this installation knows, by id; the operator's own entries win. Raises BadSettings."""
    own = settings.get().catalog
    try:
        return read(OURS, own) if own else read(OURS)
    except CatalogError as error:
        raise BadSettings(f"TANDEM_CATALOG is not valid: {error}") from None


@cache
def index() -> dict[str, Model]:
    """The same by every name: an id is nobody else's, then come aliases, then what the providers call it.

    Of two models with one alias the later file's has it: the operator's.
    """
    found: dict[str, Model] = {}
    for model in models().values():
        found |= dict.fromkeys(model.ids.values(), model)
    for model in models().values():
        found |= dict.fromkeys(model.aliases, model)
    return found | models()


def find(name: str) -> Model | None:
    """The model of this id, alias, or provider's id."""
    return index().get(name)


def known_to(provider: str, its_id: str) -> Model | None:
    """The model that a provider knows by `its_id`."""
    return _by_provider().get((provider, its_id)) or (models().get(its_id) if provider == SANDBOX else None)


@cache
def _by_provider() -> dict[tuple[str, str], Model]:
    return {(provider, its_id): model for model in models().values() for provider, its_id in model.ids.items()}


def names(name: str) -> frozenset[str]:
    """All names of the model that has this one; of an unknown one, just this."""
    model = find(name)
    return frozenset({name, model.id, *model.aliases, *model.ids.values()}) if model else frozenset({name})


def near(name: str, known: Iterable[str] = ()) -> tuple[str, ...]:
    """At most three names that look like `name`, of the catalogue's and of those `known` besides."""
    return tuple(difflib.get_close_matches(name, {*index(), *known}, n=3, cutoff=0.5))
