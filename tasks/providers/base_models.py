"""Base models, which continue a text and know no roles: a chat goes to `/completions` as its texts, in a row."""

from __future__ import annotations

from typing import Any

from tasks.domain.request import ChatRequest, Text

#: What `/completions` takes of a chat's parameters.
TAKEN = ("max_tokens", "temperature", "top_p", "seed", "stop")


def payload(model: str, request: ChatRequest) -> dict[str, Any]:
    """The body of `POST /completions`."""
    said = request.to_json()
    prompt = "\n\n".join(_text(message.content) for message in request.messages)
    return {"model": model, "prompt": prompt} | {name: said[name] for name in TAKEN if name in said}


def as_chat(body: dict[str, Any]) -> dict[str, Any]:
    """The answer of `/completions` in the form of a chat's."""
    choices = body.get("choices")
    if not isinstance(choices, list):
        return body
    turned = [{**one, "message": {"content": one.get("text")}} if isinstance(one, dict) else one for one in choices]
    return {**body, "choices": turned}


def _text(content: object) -> str:
    parts = content if isinstance(content, tuple) else ()
    return content if isinstance(content, str) else "\n".join(part.text for part in parts if isinstance(part, Text))
