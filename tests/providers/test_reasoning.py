"""`use_reasoning` becomes the switch that a model knows."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.catalog import Model, Switch
from tasks.providers.reasoning import switched

ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
RULED = {"model": "m", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]}


def model(switch: Switch | None) -> Model:
    return Model(id="m", abilities=frozenset({"chat", "reasoning"}), ids={}, reasoning=switch)


@pytest.mark.parametrize(
    ("switch", "on", "off"),
    [
        (Switch.ENABLE_THINKING, {"enable_thinking": True}, {"enable_thinking": False}),
        (Switch.THINKING, {"thinking": True}, {"thinking": False}),
        (Switch.THINKING_MODE, {"thinking_mode": "enabled"}, {"thinking_mode": "disabled"}),
    ],
)
def test_switches_of_the_template(switch: Switch, on: dict[str, Any], off: dict[str, Any]) -> None:
    assert switched(ASK, model(switch), True) == {**ASK, "chat_template_kwargs": on}
    assert switched(ASK, model(switch), False) == {**ASK, "chat_template_kwargs": off}


@pytest.mark.parametrize(
    ("switch", "on", "off"),
    [
        (Switch.DETAILED_THINKING, "detailed thinking on", "detailed thinking off"),
        (Switch.SLASH_THINK, "/think", "/no_think"),
    ],
)
def test_switches_in_the_first_system_message(switch: Switch, on: str, off: str) -> None:
    for use, words in ((True, on), (False, off)):
        assert switched(ASK, model(switch), use)["messages"][0] == {"role": "system", "content": words}
        assert switched(RULED, model(switch), use)["messages"][0]["content"] == f"{words}\nBe brief."
        assert len(switched(RULED, model(switch), use)["messages"]) == 2
    assert RULED["messages"][0]["content"] == "Be brief."  # type: ignore[index]


def test_a_system_message_of_parts_keeps_them() -> None:
    parts = [{"type": "text", "text": "Be brief."}]
    asked = {"model": "m", "messages": [{"role": "system", "content": parts}]}
    said = switched(asked, model(Switch.SLASH_THINK), True)["messages"][0]["content"]
    assert said == [{"type": "text", "text": "/think"}, *parts]


def test_effort_is_named_only_when_wanted() -> None:
    assert switched(ASK, model(Switch.REASONING_EFFORT), True) == {**ASK, "reasoning_effort": "high"}
    assert switched(ASK, model(Switch.REASONING_EFFORT), False) == ASK


def test_nothing_is_set_where_nothing_was_asked_or_can_be() -> None:
    for switch in (*Switch, None):
        assert switched(ASK, model(switch), None) == ASK
    for switch in (Switch.ALWAYS, None):
        assert switched(ASK, model(switch), True) == ASK


def test_a_model_nobody_knows_gets_the_most_common_switch() -> None:
    assert switched(ASK, None, True)["chat_template_kwargs"] == {"enable_thinking": True}
