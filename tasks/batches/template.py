"""The job that is run over a batch's results: its texts are filled in as Mustache would, with less to go wrong.

`{{total}}`, `{{completed}}`, `{{failed}}`, `{{cancelled}}` and `{{expired}}` are counts. `{{#results}}…{{/results}}` is
repeated for each item that has ended, with its `{{custom_id}}`, `{{status}}`, `{{content}}` and `{{error}}`. Such a
part holds no other one, so a template takes no longer than its result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tasks.domain.batch import ENDS

#: A result to fill in: {custom_id, status, content, error}.
Result = Mapping[str, str]

SECTION = re.compile(r"\{\{#results\}\}(.*?)\{\{/results\}\}", re.DOTALL)
WORD = re.compile(r"\{\{(\w+)\}\}")


class TooLong(ValueError):
    """What comes of a template is longer than it may be."""


def filled(request: Mapping[str, Any], results: Sequence[Result], counts: Mapping[str, int], *, most: int) -> Any:
    """The request with its texts filled in. Raises TooLong when they have more than `most` characters together."""
    left = most
    words = {name: str(count) for name, count in counts.items()}

    def section(found: re.Match[str]) -> str:
        nonlocal left
        parts = []
        for result in results:
            parts.append(_words(found[1], {**words, **result}))
            left -= len(parts[-1])
            if left < 0:
                raise TooLong
        return "".join(parts)

    def text(value: str) -> str:
        # Between the parts only: what an item answered is no template.
        pieces, at = [], 0
        for found in SECTION.finditer(value):
            pieces += [_words(value[at : found.start()], words), section(found)]
            at = found.end()
        return "".join([*pieces, _words(value[at:], words)])

    return {name: _changed(value, text) if name in TEXTS else value for name, value in request.items()}


#: Fields of a job whose texts are templates.
TEXTS = ("prompt", "messages", "input")


def _words(text: str, words: Mapping[str, str]) -> str:
    return WORD.sub(lambda found: words.get(found[1], found[0]), text)


def _changed(value: Any, text: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, list):
        return [_changed(one, text) for one in value]
    if isinstance(value, dict):
        return {name: _changed(one, text) if name in ("content", "text") else one for name, one in value.items()}
    return value


def counted(results: Iterable[Result]) -> dict[str, int]:
    """How many results there are in all, and of each kind."""
    statuses = [result["status"] for result in results]
    return {"total": len(statuses), **{end.value: statuses.count(end.value) for end in ENDS}}
