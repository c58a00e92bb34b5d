"""What did not pass a schema, by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: More than this many field errors help nobody, and a hostile body could cause a million.
FIELDS_SHOWN = 20
#: Of each name in a field's path: names are the client's own where a field is unknown.
LONGEST_NAME_SHOWN = 100


def by_field(messages: Mapping[str, Any]) -> dict[str, list[str]]:
    """marshmallow's trees of messages, each under a name that does not matter, as sentences by dotted field."""
    found: dict[str, list[str]] = {}
    for tree in messages.values():
        _flatten(tree, (), found)
    return found


def _flatten(tree: Any, path: tuple[str, ...], found: dict[str, list[str]]) -> None:
    if len(found) >= FIELDS_SHOWN:
        return
    if isinstance(tree, dict):
        for name, branch in tree.items():
            _flatten(branch, path if name == "_schema" else (*path, str(name)[:LONGEST_NAME_SHOWN]), found)
    else:
        found[".".join(path)] = [str(sentence) for sentence in (tree if isinstance(tree, list) else [tree])]
