"""The job that is run over a batch's results: its texts are filled in as Mustache would, with less to go wrong.

`{{total}}`, `{{completed}}`, `{{failed}}`, `{{cancelled}}` and `{{expired}}` are counts. `{{#results}}…{{/results}}` is
repeated for each item that has ended, with its `{{custom_id}}`, `{{status}}`, `{{content}}` and `{{error}}`. Such a
part holds no other one, so a template takes no longer than its result.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

#: A result to fill in: {custom_id, status, content, error}.
Result = Mapping[str, str]

SECTION = re.compile(r"\{\{#results\}\}(.*?)\{\{/results\}\}", re.DOTALL)
WORD = re.compile(r"\{\{(\w+)\}\}")


class TooLong(ValueError):
    """What comes of a template is longer than it may be."""


def filled(request: Mapping[str, Any], results: Iterable[Result], counts: Mapping[str, int], *, most: int) -> Any:
    """The request with its texts filled in. Raises TooLong when the parts have more than `most` characters together.

    The results are gone through once for all parts, no further than that, and not at all where no text has any.
    """
    words = {name: str(count) for name, count in counts.items()}
    bodies = Counter[str]()

    def look(value: str) -> str:
        bodies.update(found[1] for found in SECTION.finditer(value) if found[1])
        return value

    _each(request, look)
    parts = _parts(bodies, results, words, most) if bodies else {}

    def text(value: str) -> str:
        # Between the parts only: what an item answered is no template.
        pieces, at = [], 0
        for found in SECTION.finditer(value):
            pieces += [_words(value[at : found.start()], words), parts.get(found[1], "")]
            at = found.end()
        return "".join([*pieces, _words(value[at:], words)])

    return _each(request, text)


def _parts(bodies: Mapping[str, int], results: Iterable[Result], words: Mapping[str, str], most: int) -> dict[str, str]:
    """What comes of each part's text, of which there are so many alike."""
    parts: dict[str, list[str]] = {body: [] for body in bodies}
    for result in results:
        said = {**words, **result}
        for body, times in bodies.items():
            parts[body].append(_words(body, said))
            # One that comes to nothing takes its time, too.
            most -= times * max(1, len(parts[body][-1]))
            if most < 0:
                raise TooLong
    return {body: "".join(some) for body, some in parts.items()}


#: Fields of a job whose texts are templates.
TEXTS = ("prompt", "messages", "input")


def _each(request: Mapping[str, Any], text: Callable[[str], str]) -> dict[str, Any]:
    return {name: _changed(value, text) if name in TEXTS else value for name, value in request.items()}


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
