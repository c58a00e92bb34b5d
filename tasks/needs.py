"""What a request needs of a model, and whether a model of the catalogue has it."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.catalog import Model, Switch
from tasks.domain.embedding import most_texts
from tasks.domain.errors import InvalidRequest
from tasks.domain.job import Request
from tasks.domain.request import ChatRequest, Text

#: No tokenizer's tokens are longer than this many characters on average; a text is certainly too long for a model only
#: when it is even so.
LONGEST_TOKEN = 32


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a request asks of whoever answers it. `use_reasoning` None: whatever the model does by itself."""

    ability: str = "chat"
    vision: bool = False
    tools: bool = False
    form: bool = False
    use_reasoning: bool | None = None
    max_tokens: int = 0
    characters: int = 0
    input_type: bool = True
    dimensions: int = 0
    texts: int = 0

    @classmethod
    def of(cls, request: Request) -> Needs:
        """What a request needs."""
        if isinstance(request, ChatRequest):
            return cls.of_chat(request)
        return cls(
            ability="embedding",
            input_type=request.input_type is not None,
            dimensions=request.dimensions or 0,
            texts=len(request.input),
            characters=max(map(len, request.input)) if request.truncate in (None, "NONE") else 0,
        )

    @classmethod
    def of_chat(cls, request: ChatRequest) -> Needs:
        """What a chat needs."""
        return cls(
            vision=bool(request.images()),
            tools=bool(request.tools),
            form=(request.response_format or {}).get("type", "text") != "text",
            use_reasoning=request.use_reasoning,
            max_tokens=request.max_tokens or 0,
            characters=sum(_characters(message.content) for message in request.messages),
        )

    def unmet_by(self, model: Model | None) -> InvalidRequest | None:
        """Why `model` cannot do it, if that is certain. A model that is not known may be able to do anything."""
        if model is None:
            return None
        for field, why in self._wrong(model):
            return InvalidRequest(f"model {model.id!r} {why}", field=field)
        return None

    def _wrong(self, model: Model) -> list[tuple[str, str]]:
        ability = "code" if self.ability == "chat" and model.can("code") else self.ability
        most = model.most_tokens or model.context
        dimensions = self.dimensions or model.dimensions or 1
        found = [
            (not model.can(ability), "model", f"does not do {self.ability}"),
            (self.vision and not model.can("vision"), "model", "takes no images"),
            # A base model only continues a text: /completions would be sent neither.
            (self.tools and model.completions, "tools", "calls no tools"),
            (self.form and model.completions, "response_format", "keeps to no form"),
            (self.use_reasoning is True and not model.can("reasoning"), "use_reasoning", "does not reason"),
            (self.use_reasoning is False and model.reasoning is Switch.ALWAYS, "use_reasoning", "always reasons"),
            (
                model.asymmetric and not self.input_type,
                "input_type",
                "needs to know whether a text is query or passage",
            ),
            (
                bool(model.dimensions) and self.dimensions > (model.dimensions or 0),
                "dimensions",
                f"makes vectors of {model.dimensions} numbers at the most",
            ),
            (
                self.texts > most_texts(dimensions),
                "input",
                f"takes {most_texts(dimensions)} texts at once at the most: its vectors have {dimensions} numbers",
            ),
            (bool(most) and self.max_tokens > (most or 0), "max_tokens", f"answers with {most} tokens at the most"),
            (
                bool(model.context) and self.characters > LONGEST_TOKEN * (model.context or 0),
                "input" if self.ability == "embedding" else "messages",
                f"has a context of {model.context} tokens, which this cannot fit",
            ),
        ]
        return [(field, why) for is_wrong, field, why in found if is_wrong]


def _characters(content: object) -> int:
    if isinstance(content, str):
        return len(content)
    parts = content if isinstance(content, tuple) else ()
    return sum(len(part.text) for part in parts if isinstance(part, Text))
