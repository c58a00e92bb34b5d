"""A model that thought its tokens away is asked once more: with how many, and what is told in the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks import attempt
from tasks.attempt import Outcome, Refused
from tasks.domain.provider_errors import ReasoningExhausted
from tasks.domain.request import ChatRequest, Message
from tasks.serving import Serving
from tests.conftest import forget_caches
from tests.providers.wire import Line, Wire
from tests.support import attempts
from tests.support.valkey import Valkey

CATALOG = """
[[model]]
id = "acme/thinker"
abilities = ["chat", "reasoning"]
context = 200
most_tokens = 150
"""
USED = {"prompt_tokens": 80, "completion_tokens": 30, "total_tokens": 110}
THOUGHTS = {"choices": [{"finish_reason": "length", "message": {"content": None, "reasoning": "hm"}}], "usage": USED}
TOO_LARGE = {"error": {"message": "max_tokens is too large", "code": 400}}


class Thinker:
    """A server that gives each call the next answer, the last one for ever; and the budgets it was asked with."""

    def __init__(self, wire: Wire) -> None:
        self.answers: list[tuple[int, dict[str, Any]]] = [(200, THOUGHTS)]
        self.budgets: list[int] = []
        self.url = wire.url
        wire.handler = self._serve

    def _serve(self, line: Line) -> None:
        while asked := line.request():
            self.budgets.append(json.loads(asked.partition(b"\r\n\r\n")[2])["max_tokens"])
            status, said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            body = json.dumps(said).encode()
            line.send(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)

    def ask(self, max_tokens: int) -> Outcome:
        by = Serving(queue="api", provider="sandbox", target="acme/thinker", base_url=self.url)
        request = ChatRequest(
            messages=(Message(role="user", content="hi"),), max_tokens=max_tokens, retry_exhausted=True
        )
        claim = attempts.claim(attempts.submit(request, model="acme/thinker"))
        return attempt.run(claim, by, attempt.new_call(claim))


@pytest.fixture
def thinker(valkey: Valkey, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Thinker]:
    (tmp_path / "catalog.toml").write_text(CATALOG)
    monkeypatch.setenv("TANDEM_CATALOG", str(tmp_path / "catalog.toml"))
    attempts.set_up(monkeypatch)
    with Wire() as wire:
        yield Thinker(wire)
    forget_caches()


def spent(outcome: Outcome) -> int:
    assert isinstance(outcome, Refused)
    assert isinstance(outcome.error, ReasoningExhausted)
    assert outcome.error.usage is not None
    return outcome.error.usage.total_tokens


def test_both_calls_are_told_of_when_the_second_budget_runs_out_too(thinker: Thinker) -> None:
    assert spent(thinker.ask(30)) == 220
    assert thinker.budgets == [30, 120]


def test_the_second_budget_is_no_more_than_the_model_has_room_for(thinker: Thinker) -> None:
    """150 tokens in an answer, and 200 with a prompt that took 80."""
    thinker.ask(40)
    assert thinker.budgets == [40, 120]


def test_a_model_that_has_no_more_to_give_is_not_asked_again(thinker: Thinker) -> None:
    thinker.answers = [(200, {**THOUGHTS, "usage": {**USED, "completion_tokens": 120, "total_tokens": 200}})]
    assert spent(thinker.ask(120)) == 200
    assert thinker.budgets == [120]


def test_a_second_budget_that_is_refused_leaves_the_first_outcome(thinker: Thinker) -> None:
    thinker.answers = [(200, THOUGHTS), (400, TOO_LARGE)]
    assert spent(thinker.ask(30)) == 110
    assert thinker.budgets == [30, 120]
