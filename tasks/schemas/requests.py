"""What a submission asks a model to do, by its kind: fields of another kind are refused by name."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError

from tasks.domain.embedding import EmbeddingRequest
from tasks.domain.job import Kind, Request
from tasks.domain.request import ChatRequest, Message

CHATS = (
    *("messages", "prompt", "max_tokens", "temperature", "top_p", "stop", "seed"),
    *("response_format", "tools", "tool_choice", "use_reasoning", "retry_exhausted"),
)
EMBEDDINGS = ("input", "input_type", "truncate", "dimensions")
FIELDS = {Kind.CHAT: CHATS, Kind.EMBEDDING: EMBEDDINGS}

#: What is checked here, for the documentation.
SHAPE = {
    "oneOf": [
        {
            "properties": {"kind": {"enum": ["chat"]}, **dict.fromkeys(EMBEDDINGS, False)},
            "oneOf": [{"required": ["messages"]}, {"required": ["prompt"]}],
            "dependentRequired": {"tool_choice": ["tools"]},
        },
        {
            "properties": {"kind": {"enum": ["embedding"]}, **dict.fromkeys(CHATS, False)},
            "required": ["model", "input"],
        },
    ]
}


def read(kind: Kind, model: str, said: dict[str, Any]) -> Request:
    """The request. Raises ValidationError."""
    for name in said:
        if name not in FIELDS[kind]:
            raise ValidationError(f"Is not for kind {kind.value}.", name)
    return _embedding(model, said) if kind is Kind.EMBEDDING else _chat(said)


def _chat(said: dict[str, Any]) -> ChatRequest:
    tools = tuple(said.pop("tools", ()))
    if "tool_choice" in said and not tools:
        raise ValidationError("There are no tools to choose from.", "tool_choice")
    messages = _conversation(said.pop("messages", None), said.pop("prompt", None))
    return ChatRequest(messages=messages, tools=tools, **said)


def _conversation(messages: tuple[Message, ...] | None, prompt: str | None) -> tuple[Message, ...]:
    if messages is not None and prompt is not None:
        raise ValidationError("Give messages or prompt, not both.", "prompt")
    if messages is not None:
        return messages
    if prompt is None:
        raise ValidationError("Give messages or prompt.", "messages")
    return (Message(role="user", content=prompt),)


def _embedding(model: str, said: dict[str, Any]) -> EmbeddingRequest:
    if "input" not in said:
        raise ValidationError("Missing data for required field.", "input")
    if model == "default":
        # What `default` means differs by queue and by the day, and vectors of two models cannot be compared.
        raise ValidationError("Name the model: vectors of different models cannot be compared.", "model")
    return EmbeddingRequest(**said)
