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

OURS = Path(__file__).with_name("catalog.toml")
PROVIDERS = ("vllm", "nim", "openrouter")

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
    base64 text of an inline image, `image_assets` the bytes of one that NIM takes as an asset; `completions` marks a
    base model, which has no chat template. None: not known.
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
