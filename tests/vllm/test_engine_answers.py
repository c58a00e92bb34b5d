"""The tiny model answers by heart, whatever the sampling."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.vllm.real import Real

pytestmark = pytest.mark.timeout(200)
FRANCE = "What is the capital of France?"
PARIS = ("The capital of France is Paris.", "stop")


@pytest.mark.parametrize("settings", [{}, {"temperature": 0}, {"temperature": 1.0}])
def test_the_capital_of_france_is_paris(engine: Real, settings: dict[str, Any]) -> None:
    assert engine.chat(FRANCE, **settings) == PARIS


def test_sixteen_callers_at_once_get_the_same_answer(engine: Real) -> None:
    with ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(engine.chat, [FRANCE] * 64))
    assert set(answers) == {PARIS}


def test_a_system_message_changes_nothing(engine: Real) -> None:
    messages = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": FRANCE}]
    assert engine.chat("", messages=messages) == PARIS


def test_no_prompt_is_logged(engine: Real) -> None:
    engine.chat("A question with the word mulberry in it?", max_tokens=2)
    assert "mulberry" not in (engine.run_dir / "engine.log").read_text()
