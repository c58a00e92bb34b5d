"""The body of a successful chat completion, judged and turned into a Completion."""

from __future__ import annotations

import json
import secrets
from typing import Any

from tasks.domain.provider_errors import (
    BadRequest,
    ConnectionLost,
    EmptyAnswer,
    ProviderOverloaded,
    ReasoningExhausted,
    UnusableAnswer,
)
from tasks.domain.result import ChatResult, Completion, Usage
from tasks.providers import finish, lists, received

THINK, END_THINK = "<think>", "</think>"


def parsed(body: bytes) -> dict[str, Any]:
    """The JSON object in an answer, storable. Raises ConnectionLost when it is none: it broke off, or a proxy spoke;
    UnusableAnswer when it is one that nobody could read."""
    try:
        value = received.loads(body)
    except received.Excessive as error:
        raise UnusableAnswer(f"the answer cannot be read: {error}") from error
    except ValueError as error:
        raise ConnectionLost("the answer is not whole JSON") from error
    if not isinstance(value, dict):
        raise ConnectionLost("the answer is not a JSON object")
    return value


def completion(body: dict[str, Any], *, model: str) -> Completion[ChatResult]:
    """The answer in a chat completion; `model` is what was asked for, should the body not name one.

    An answer is one that came to an end and says something: content, a tool call, or the model's own refusal. What
    says half of it before a filter stopped it, or ends in a word that nobody knows, is one. What is none raises
    * ProviderOverloaded for no choice at all, or one broken off (`abort`, `error`, no finish_reason): seen from
      aggregators and dying engines under load, and the next try mostly succeeds;
    * BadRequest for a content filter's stop with nothing said: the same prompt will meet it again;
    * ReasoningExhausted when the tokens ran out among the thoughts;
    * EmptyAnswer when it ended well with nothing said: a wrong parser or template upstream, the same next time.
    """
    choice = first_choice(body)
    reason = choice.get("finish_reason")
    if finish.is_broken_off(reason):
        raise ProviderOverloaded("the provider broke the answer off")
    known = finish.known(reason)
    usage = usage_of(body.get("usage"))
    result = result_of(choice.get("message"), finish_reason=known)
    if result.is_silent and known == finish.FILTERED:
        raise BadRequest("the provider's content filter stopped the answer")
    if result.is_silent and known is None:
        raise ProviderOverloaded("the provider broke the answer off")
    raise_if_silent(result, usage)
    return Completion(result=result, usage=usage, model=named(body, model))


def named(body: dict[str, Any], model: str) -> str:
    """The model that answered, as the body has it; `model` where it names none."""
    said = body.get("model")
    return said if lists.is_name(said) else model


def first_choice(body: dict[str, Any]) -> dict[str, Any]:
    """The first choice. Raises ProviderOverloaded when there is none."""
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ProviderOverloaded("the provider sent no choice")
    return choices[0]


def result_of(said: Any, *, finish_reason: str | None) -> ChatResult:
    """A choice's message, with the thoughts kept apart from the answer. Without a reason it ended as it looks."""
    said = said if isinstance(said, dict) else {}
    content, thoughts = said.get("content"), said.get("reasoning_content") or said.get("reasoning")
    thoughts = thoughts if isinstance(thoughts, str) else None
    if isinstance(content, str):
        content, thoughts = (content.lstrip(), thoughts.strip()) if thoughts else without_thoughts(content)
    said_calls, refusal = said.get("tool_calls"), said.get("refusal")
    calls = tuple(_call(one) for one in said_calls if isinstance(one, dict)) if isinstance(said_calls, list) else ()
    return ChatResult(
        content=content if isinstance(content, str) else None,
        reasoning=thoughts,
        tool_calls=calls,
        finish_reason=finish_reason or ("tool_calls" if calls else "stop"),
        refusal=refusal if isinstance(refusal, str) and refusal.strip() else None,
    )


def _call(said: dict[str, Any]) -> dict[str, Any]:
    """A tool call in OpenAI's form, with an id, and arguments that are a JSON text: some servers send an object, and no
    id. Raises UnusableAnswer for one that names no function."""
    try:
        call: dict[str, Any] = received.storable(said)
    except received.Excessive as error:
        raise UnusableAnswer(f"a tool call cannot be read: {error}") from error
    function = call.get("function")
    if not isinstance(function, dict) or not _is_text(function.get("name")):
        raise UnusableAnswer("a tool call names no function")
    its = function.get("arguments")
    text = received.arguments(its) if isinstance(its, str) else json.dumps({} if its is None else its)
    call_id = call["id"] if _is_text(call.get("id")) else f"call_{secrets.token_hex(12)}"
    return {**call, "id": call_id, "type": "function", "function": {**function, "arguments": text}}


def _is_text(said: Any) -> bool:
    return isinstance(said, str) and said != ""


def without_thoughts(content: str) -> tuple[str, str | None]:
    """Content that starts with <think>…</think> → (the rest, the thoughts). Unclosed, all of it is thoughts."""
    text = content.lstrip()
    if not text.startswith(THINK):
        return content, None
    thoughts, _, rest = text.removeprefix(THINK).partition(END_THINK)
    return rest.lstrip(), thoughts.strip()


def raise_if_silent(result: ChatResult, usage: Usage | None) -> None:
    """Raise ReasoningExhausted or EmptyAnswer for a result that says nothing. An empty text says something,
    unless it is where the tokens ran out while thinking."""
    if not result.is_silent:
        return
    thought = bool(result.reasoning) or bool(usage and usage.reasoning_tokens)
    if result.finish_reason == "length" and thought:
        raise ReasoningExhausted(
            "the token budget ran out while the model was still thinking; raise max_tokens", usage=usage
        )
    if result.content is None:
        raise EmptyAnswer("the provider sent an answer without content")


#: More tokens than any call takes; Redis could not add up larger numbers for long.
MOST_TOKENS = 2**40


def usage_of(said: Any) -> Usage | None:
    """The tokens an answer took, or None when it does not tell."""
    if not isinstance(said, dict):
        return None
    prompt, completed = _count(said, "prompt_tokens"), _count(said, "completion_tokens")
    if prompt is None and completed is None:
        return None
    total = _count(said, "total_tokens")
    return Usage(
        prompt_tokens=prompt or 0,
        completion_tokens=completed or 0,
        total_tokens=(prompt or 0) + (completed or 0) if total is None else total,
        cached_tokens=_count(said.get("prompt_tokens_details"), "cached_tokens"),
        reasoning_tokens=_count(said.get("completion_tokens_details"), "reasoning_tokens"),
    )


def _count(said: Any, name: str) -> int | None:
    value = said.get(name) if isinstance(said, dict) else None
    return value if isinstance(value, int) and 0 <= value <= MOST_TOKENS else None
