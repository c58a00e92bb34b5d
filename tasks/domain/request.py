"""What a client asks for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, kw_only=True)
class Text:
    """A passage of text among images."""

    text: str

    def to_json(self) -> dict[str, Any]:
        """As OpenAI's chat API has it."""
        return {"type": "text", "text": self.text}


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image, by where it is: a data: or http(s) URL as the client gave it, `media:<sha256>` once it is stored."""

    url: str
    detail: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As OpenAI's chat API has it."""
        said = {"url": self.url} | ({"detail": self.detail} if self.detail else {})
        return {"type": "image_url", "image_url": said}


Part = Text | Image


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of a conversation. An assistant's turn may call tools; a tool's turn answers the call `tool_call_id`."""

    role: Role
    content: str | tuple[Part, ...] | None
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    tool_call_id: str | None = None

    def images(self) -> tuple[Image, ...]:
        """Its images, in order."""
        parts = self.content if isinstance(self.content, tuple) else ()
        return tuple(part for part in parts if isinstance(part, Image))

    def with_images(self, change: Callable[[Image], Image]) -> Message:
        """The same with each image as `change` makes it, in order."""
        if not isinstance(self.content, tuple):
            return self
        return replace(self, content=tuple(change(p) if isinstance(p, Image) else p for p in self.content))

    def to_json(self) -> dict[str, Any]:
        """As OpenAI's chat API has it."""
        content = [part.to_json() for part in self.content] if isinstance(self.content, tuple) else self.content
        said: dict[str, Any] = {"role": self.role, "content": content}
        if self.tool_calls:
            said["tool_calls"] = [dict(call) for call in self.tool_calls]
        if self.tool_call_id is not None:
            said["tool_call_id"] = self.tool_call_id
        return said

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Message:
        """The inverse of `to_json`."""
        content = said["content"]
        return cls(
            role=said["role"],
            content=tuple(_part(part) for part in content) if isinstance(content, list) else content,
            tool_calls=tuple(said.get("tool_calls", ())),
            tool_call_id=said.get("tool_call_id"),
        )


def _part(said: Mapping[str, Any]) -> Part:
    if said["type"] == "text":
        return Text(text=said["text"])
    return Image(url=said["image_url"]["url"], detail=said["image_url"].get("detail"))


#: How much larger the second budget of a model is that thought through its first.
MORE = 4
#: What is passed on by value: a number, or an object whose shape the provider knows.
PLAIN = ("max_tokens", "temperature", "top_p", "seed", "response_format", "tool_choice", "use_reasoning",
         "retry_exhausted")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ChatRequest:
    """A conversation to continue. An unset sampling parameter is left to the model's own default.

    `use_reasoning` None leaves thinking to the model; a provider turns it into that model's own switch. With
    `retry_exhausted` a model whose tokens ran out while it thought is asked once more, with more of them.
    """

    messages: tuple[Message, ...]
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    response_format: Mapping[str, Any] | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: str | Mapping[str, Any] | None = None
    use_reasoning: bool | None = None
    retry_exhausted: bool | None = None

    def with_more(self, spent: int, most: int | None = None) -> ChatRequest:
        """The same with a larger budget than the one that ran out after `spent` tokens, `most` at the most."""
        more = MORE * (self.max_tokens or spent)
        return replace(self, max_tokens=more if most is None else min(more, most))

    def images(self) -> tuple[Image, ...]:
        """All images, in order."""
        return tuple(image for message in self.messages for image in message.images())

    def with_images(self, change: Callable[[Image], Image]) -> ChatRequest:
        """The same with each image as `change` makes it, in order."""
        return replace(self, messages=tuple(message.with_images(change) for message in self.messages))

    def to_json(self) -> dict[str, Any]:
        """The request as plain JSON values; unset fields are left out."""
        body: dict[str, Any] = {"messages": [message.to_json() for message in self.messages]}
        for name in PLAIN:
            if (value := getattr(self, name)) is not None:
                body[name] = value
        for name in ("stop", "tools"):
            if value := getattr(self, name):
                body[name] = list(value)
        return body

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> ChatRequest:
        """The inverse of `to_json`."""
        return cls(
            messages=tuple(Message.from_json(message) for message in body["messages"]),
            stop=tuple(body.get("stop", ())),
            tools=tuple(body.get("tools", ())),
            **{name: body[name] for name in PLAIN if name in body},
        )


def fingerprint(payload: dict[str, Any]) -> str:
    """Sha-256 (hex) of a JSON payload, whatever the order of its keys."""
    canonical = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
