"""Turns `use_reasoning` into the switch that a model knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tasks.catalog import Model, Switch

Body = Mapping[str, Any]


def switched(body: Body, model: Model | None, use: bool | None) -> dict[str, Any]:
    """The body of a chat with the model's switch set, or as it is when `use` is None or there is nothing to set.

    A model that the catalogue does not know gets `enable_thinking`: templates that have such a switch mostly call it
    so, and those that have none ignore it.
    """
    if use is None or (model is not None and model.reasoning is None):
        return dict(body)
    return SETTERS[model.reasoning if model and model.reasoning else Switch.ENABLE_THINKING](body, use)


def _template(body: Body, name: str, value: object) -> dict[str, Any]:
    return {**body, "chat_template_kwargs": {**body.get("chat_template_kwargs", {}), name: value}}


def _first_system(body: Body, words: str) -> dict[str, Any]:
    """The words come first in the system message, which is made where there is none."""
    first, *rest = body["messages"]
    if first["role"] != "system":
        return {**body, "messages": [{"role": "system", "content": words}, first, *rest]}
    said = first["content"]
    content = f"{words}\n{said}" if isinstance(said, str) else [{"type": "text", "text": words}, *said]
    return {**body, "messages": [{**first, "content": content}, *rest]}


SETTERS: Mapping[Switch, Callable[[Body, bool], dict[str, Any]]] = {
    Switch.DETAILED_THINKING: lambda body, use: _first_system(body, f"detailed thinking {'on' if use else 'off'}"),
    Switch.SLASH_THINK: lambda body, use: _first_system(body, "/think" if use else "/no_think"),
    Switch.ENABLE_THINKING: lambda body, use: _template(body, "enable_thinking", use),
    Switch.THINKING: lambda body, use: _template(body, "thinking", use),
    Switch.THINKING_MODE: lambda body, use: _template(body, "thinking_mode", "enabled" if use else "disabled"),
    Switch.REASONING_EFFORT: lambda body, use: {**body, "reasoning_effort": "high"} if use else dict(body),
    Switch.ALWAYS: lambda body, use: dict(body),
}
