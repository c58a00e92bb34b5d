"""`POST …/embeddings` and `POST …/completions`: the endpoints that take texts rather than a conversation."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from aiohttp import web

from tasks import catalog
from tasks.providers.sandbox import simulation
from tasks.providers.sandbox.behaviour import Behaviour, Ending
from tasks.providers.sandbox.calls import Entry
from tasks.providers.sandbox.chat import Chat

#: The length of a simulated vector, where neither the request nor the catalogue says another.
DIMENSIONS = 16
#: The longest that is made: a request for more is refused.
MOST_DIMENSIONS = 65_536


class Texts(Chat):
    """A chat endpoint whose texts stand in another field: they are taken for the user's turns."""

    field = ""

    def _admit(self, raw: bytes, entry: Entry) -> dict[str, Any] | None:
        try:
            body = json.loads(raw)
        except ValueError:
            return None
        said = body.get(self.field) if isinstance(body, dict) else None
        if said is not None and not _is_length(body.get("dimensions")):
            return None
        texts = [said] if isinstance(said, str) else said
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
            return None
        turns = [{"role": "user", "content": text} for text in texts]
        return super()._admit(json.dumps({**body, "messages": turns, "stream": False}).encode(), entry)


class Completions(Texts):
    """A base model's endpoint."""

    field = "prompt"

    def _envelope(self, answer: simulation.Simulated, behaviour: Behaviour, entry: Entry) -> dict[str, Any]:
        chat = super()._envelope(answer, behaviour, entry)
        choices = [{**choice, "text": choice.pop("message").get("content")} for choice in chat["choices"]]
        return {**chat, "object": "text_completion", "choices": choices}


class Embeddings(Texts):
    """The endpoint of embedding models."""

    field = "input"

    async def _end(
        self, request: web.Request, body: dict[str, Any], behaviour: Behaviour, entry: Entry
    ) -> web.StreamResponse:
        if behaviour.ending not in (Ending.ECHO, Ending.NO_CHOICE):
            return await super()._end(request, body, behaviour, entry)
        self._raise_if_refused(behaviour, entry)
        data = [
            {"object": "embedding", "index": place, "embedding": vector(turn["content"], body)}
            for place, turn in enumerate(body["messages"])
        ]
        usage = {"prompt_tokens": entry.prompt_tokens, "total_tokens": entry.prompt_tokens}
        self._state.calls.ended(entry, "answered", 200)
        # Out of order: a client must go by the index.
        found = [] if behaviour.ending is Ending.NO_CHOICE else data[::-1]
        return web.json_response({"object": "list", "data": found, "model": entry.model, "usage": usage})


def _is_length(said: Any) -> bool:
    return said is None or (type(said) is int and 1 <= said <= MOST_DIMENSIONS)


def vector(text: str, body: dict[str, Any]) -> list[float]:
    """A unit vector that is always the same for a text, a model, and a side of the search."""
    known = catalog.find(body["model"])
    wanted = body.get("dimensions") or (known and known.dimensions) or DIMENSIONS
    seed = json.dumps([text, body["model"], body.get("input_type")]).encode()
    stretched = b"".join(hashlib.sha256(seed + block.to_bytes(2)).digest() for block in range(wanted // 32 + 1))
    numbers = [byte - 127.5 for byte in stretched[:wanted]]
    length = math.sqrt(sum(number * number for number in numbers))
    return [round(number / length, 6) for number in numbers]
