"""What a client asks for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, kw_only=True)
class ChatRequest:
    """A conversation to continue. An unset sampling parameter is left to the model's own default."""

    messages: tuple[Message, ...]
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The request as plain JSON values; unset fields are left out."""
        body: dict[str, Any] = {"messages": [{"role": m.role, "content": m.content} for m in self.messages]}
        for name in ("max_tokens", "temperature", "top_p", "seed"):
            if (value := getattr(self, name)) is not None:
                body[name] = value
        if self.stop:
            body["stop"] = list(self.stop)
        return body

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> ChatRequest:
        """The inverse of `to_json`."""
        return cls(
            messages=tuple(Message(role=m["role"], content=m["content"]) for m in body["messages"]),
            max_tokens=body.get("max_tokens"),
            temperature=body.get("temperature"),
            top_p=body.get("top_p"),
            stop=tuple(body.get("stop", ())),
            seed=body.get("seed"),
        )


def fingerprint(payload: dict[str, Any]) -> str:
    """Sha-256 (hex) of a JSON payload, whatever the order of its keys."""
    canonical = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
