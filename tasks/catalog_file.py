"""The form of a catalogue file, checked field by field: what is wrong in one is said in one sentence."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ABILITIES = ("chat", "vision", "reasoning", "code", "embedding", "tools")
PROVIDERS = ("vllm", "nim", "openrouter")
SWITCHES = (
    "detailed thinking", "/think", "enable_thinking", "thinking", "thinking_mode", "reasoning_effort", "always",
)  # fmt: skip
#: The parameters a model's own defaults can be given for, and what each may be.
SAMPLING: Mapping[str, tuple[float, float]] = {"temperature": (0.0, 2.0), "top_p": (0.0, 1.0)}
#: Parts between slashes, as all providers name their models; no spaces. It is part of a URL here.
NAME = re.compile(r"[^\s/\x00-\x1f]+(/[^\s/\x00-\x1f]+)*")
LONGEST_NAME = 200
#: The name that means "whatever this installation serves first", so no model's own.
DEFAULT = "default"


class CatalogError(ValueError):
    """A catalogue file cannot be used. The message is one sentence that names the file, the entry and the field."""


def entries(file: Path) -> list[dict[str, Any]]:
    """The entries of a catalogue file, each checked. Raises CatalogError."""
    said = _load(file)
    if unknown := said.keys() - {"model"}:
        raise CatalogError(f"{file}: {min(unknown)!r} is no part of a catalogue, whose entries begin with [[model]]")
    models = said.get("model", [])
    if not isinstance(models, list) or not all(isinstance(entry, dict) for entry in models):
        raise CatalogError(f"{file}: every entry must begin with [[model]]")
    taken: set[str] = set()
    for place, entry in enumerate(models, 1):
        _check(entry, f"{file}: entry {place}", taken)
    return models


def _load(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CatalogError(f"{file} cannot be read ({error.strerror or type(error).__name__})") from None
    except UnicodeDecodeError:
        raise CatalogError(f"{file}: the catalogue is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise CatalogError(f"{file}: the catalogue is not TOML: {error}") from None


def _check(entry: dict[str, Any], where: str, taken: set[str]) -> None:
    if "id" not in entry:
        raise CatalogError(f"{where} has no id")
    where = f"{where} ({entry['id']!r})"
    for field, value in entry.items():
        if field not in FIELDS:
            raise CatalogError(f"{where}: {field!r} is no field of a model")
        wanted, fits = FIELDS[field]
        if not fits(value):
            raise CatalogError(f"{where}: {field} must be {wanted}")
    for name in (entry["id"], *entry.get("aliases", ())):
        if name in taken:
            raise CatalogError(f"{where}: the name {name!r} is used twice in this file")
        taken.add(name)


# ---- what a field may hold ------------------------------------------------------------------


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_NAME and value != DEFAULT and bool(NAME.fullmatch(value))


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_name, value))


def _are_abilities(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(one in ABILITIES for one in value)


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_switch(value: Any) -> bool:
    return value in SWITCHES


def _are_endpoints(value: Any) -> bool:
    return isinstance(value, dict) and all(
        provider in PROVIDERS and isinstance(url, str) and re.fullmatch(r"https?://[^\s/]+\S*", url)
        for provider, url in value.items()
    )


def _is_sampling(value: Any) -> bool:
    return isinstance(value, dict) and all(
        name in SAMPLING and type(number) in (int, float) and SAMPLING[name][0] <= number <= SAMPLING[name][1]
        for name, number in value.items()
    )


ID = ("a name without spaces, 200 characters at most", _is_name)
COUNT = ("a whole number above 0", _is_count)
FLAG = ("true or false", _is_flag)
#: Every field of an entry: what it must be, in words and as a test.
FIELDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "id": ID,
    **dict.fromkeys(PROVIDERS, ID),
    "aliases": ("a list of such names as an id is", _are_names),
    "abilities": (f"a list of some of {', '.join(ABILITIES)}", _are_abilities),
    **dict.fromkeys(("context", "most_tokens", "dimensions", "image_base64", "image_assets"), COUNT),
    **dict.fromkeys(("asymmetric", "completions"), FLAG),
    "reasoning": (f"one of {', '.join(SWITCHES)}", _is_switch),
    "endpoints": ("a table of URLs by provider", _are_endpoints),
    "sampling": ("a table of temperature (0 to 2) and top_p (0 to 1)", _is_sampling),
}
