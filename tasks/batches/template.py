"""The job that is run over a batch's results: its texts are filled in as Mustache would, with less to go wrong.

`{{total}}`, `{{completed}}`, `{{failed}}`, `{{cancelled}}` and `{{expired}}` are counts. `{{#results}}…{{/results}}` is
repeated for each item that has ended, with its `{{custom_id}}`, `{{status}}`, `{{content}}` and `{{error}}`. Such a
part holds no other one. Time grows with the template and with what comes of it, and has a limit.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

#: A result to fill in: {custom_id, status, content, error}.
Result = Mapping[str, str]

BEGIN, END = "{{#results}}", "{{/results}}"
WORD = re.compile(r"\{\{(\w+)\}\}")
#: Seconds of CPU that the parts may take: a hundred times what 50,000 results take in a template of ten parts.
MOST_CPU_S = 30.0


class TooLong(ValueError):
    """What comes of a template is longer than it may be, or takes longer to fill in."""


def filled(request: Mapping[str, Any], results: Iterable[Result], counts: Mapping[str, int], *, most: int) -> Any:
    """The request with its texts filled in. Raises TooLong when the parts have more than `most` characters together, or
    take more than MOST_CPU_S. A word in a part counts as a character at least, for each result.

    The results are gone through once for all parts, no further than that, and not at all where no text has any.
    """
    words = {name: str(count) for name, count in counts.items()}
    bodies = Counter[str]()

    def look(value: str) -> str:
        bodies.update(body for _, body in _split(value) if body)
        return value

    _each(request, look)
    parts = _parts(bodies, results, words, most) if bodies else {}

    def text(value: str) -> str:
        # Between the parts only: what an item answered is no template.
        return "".join(_words(between, words) + parts.get(body, "") for between, body in _split(value))

    return _each(request, text)


def _split(text: str) -> Iterator[tuple[str, str]]:
    """What stands before each part, and the part's own text; at last what stands behind them all, and ""."""
    at = 0
    # Looked for one after the other: an expression for both would look for the end of a part behind each beginning.
    while (begin := text.find(BEGIN, at)) >= 0 and (end := text.find(END, begin + len(BEGIN))) >= 0:
        yield text[at:begin], text[begin + len(BEGIN) : end]
        at = end + len(END)
    yield text[at:], ""


def _parts(bodies: Mapping[str, int], results: Iterable[Result], words: Mapping[str, str], most: int) -> dict[str, str]:
    """What comes of each part's text, of which there are so many alike."""
    parts: dict[str, list[str]] = {body: [] for body in bodies}
    # Words that come to nothing take their time, too.
    least = {body: max(1, sum(1 for _ in WORD.finditer(body))) for body in bodies}
    left_s = MOST_CPU_S
    for result in results:
        said = {**words, **result}
        began = time.thread_time()
        for body, times in bodies.items():
            parts[body].append(_words(body, said))
            most -= times * max(least[body], len(parts[body][-1]))
            if most < 0:
                raise TooLong
        left_s -= time.thread_time() - began
        if left_s < 0:
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
