"""What is changed, and the tests nearest to it: read from changes.toml and modules.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Change:
    """In `file` the text `old`, which occurs once, becomes `new`. One of `tests` ought to fail then."""

    kind: str
    name: str
    file: str
    old: str
    new: str
    tests: list[str]


@dataclass(frozen=True, kw_only=True)
class Module:
    """A Python file that cosmic-ray changes in all its ways, of which `sample` are tried."""

    file: str
    tests: list[str]
    sample: int


def changes() -> list[Change]:
    """The changes written by hand: Lua has no tool that makes them."""
    said = tomllib.loads((HERE / "changes.toml").read_text())
    return [Change(kind=kind, **one) for kind, rows in said.items() for one in rows]


def modules() -> list[Module]:
    """The files given to cosmic-ray."""
    said = tomllib.loads((HERE / "modules.toml").read_text())
    return [Module(file=file, **rest) for file, rest in said.items()]
