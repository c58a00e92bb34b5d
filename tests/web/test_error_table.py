"""The table of errors in docs/api.md has all that is sent, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from tasks.domain.local_access import FOREIGN_PAGE, WRONG_HOST
from web.errors import REFUSALS
from web.refused_requests import DETAILS, STATUSES

API = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
ROWS = {int(status): words for status, words in re.findall(r"(?m)^\| (\d{3}) \| ([^|]*) \|", API)}
#: What a word's status is, wherever it is said.
WORDS = {word: status for status, word in REFUSALS.values()} | {
    "unavailable": 503,
    WRONG_HOST.word: WRONG_HOST.status,
    FOREIGN_PAGE.word: FOREIGN_PAGE.status,
}
#: Werkzeug's own, which the application lets through: a key, a path, a method, a body, many wrong keys.
PLAIN = {400, 401, 404, 405, 413, 415, 429, 500}


def test_each_word_is_in_the_row_of_its_status_and_no_other_word_is() -> None:
    told = {word: status for status, words in ROWS.items() for word in re.findall(r"`([a-z-]+)`", words)}
    assert told == WORDS


def test_each_status_that_is_sent_has_a_row_and_no_other_has() -> None:
    assert set(ROWS) == {400, *WORDS.values(), *PLAIN, *STATUSES.values(), *DETAILS}


def test_what_is_sent_without_a_word_is_about_blank() -> None:
    assert {status for status, words in ROWS.items() if "about:blank" in words} == PLAIN | {
        *STATUSES.values(),
        *DETAILS,
    }
