"""How each provider says things: the headers it wants, the names it gives, and the bodies of its refusals."""

from __future__ import annotations

import json
import math
import time
from http import HTTPStatus
from typing import Any

#: An account as NVIDIA and OpenRouter name it in their error bodies, to be seen nowhere else.
ACCOUNT = "Kx7aB2mQ9tLw4ZpR8vYc3NdE6sHf1GjU5iOk0TbVqXyP"
USER = "user_2aBcDeFgHiJkLmNoPqRsTuVw"
CONTEXT = 1024
TOO_LONG = (
    f"This model's maximum context length is {CONTEXT} tokens. However, your messages resulted in {{tokens}} tokens."
)
#: What NVIDIA's backends put beside the message of a 400, at NIM and behind OpenRouter.
NVIDIA_400 = {"type": "Bad Request", "code": 400}
#: What the model lists show: names of the grammar, and the defaults of the real providers.
MODELS = (
    "sandbox/echo",
    "nvidia/nemotron-3-nano-30b-a3b",
    "nvidia/nemotron-nano-12b-v2-vl:free",
)

Refusal = tuple[str, str]  # content type, body


class Dialect:
    """The sandbox's own: OpenAI's plain shape, open to all."""

    name = "sandbox"
    base = "/v1"
    id_prefix = "chatcmpl-"
    key_prefix: str | None = None

    def admits(self, authorization: str) -> bool:
        """Whether the Authorization header is one of this provider's."""
        return self.key_prefix is None or authorization.startswith(f"Bearer {self.key_prefix}")

    def refusal(self, status: int, *, model: str) -> Refusal:
        """Content type and body of an error."""
        return error_body(self.words(status, model), type="simulated_error", param=None, code=phrase(status))

    def too_long(self, tokens: int) -> Refusal:
        """The 400 for a prompt that does not fit."""
        text = f"This model's maximum context length is {CONTEXT} tokens. However, you requested {tokens}."
        return error_body(text, type="invalid_request_error", param="messages", code="context_length_exceeded")

    def unfit(self, why: str) -> Refusal:
        """The 400 for a schema that nothing satisfies, or that is not simulated."""
        return error_body(why, type="invalid_request_error", param=None, code=phrase(400))

    def inner_error(self, status: int, *, model: str) -> dict[str, Any]:
        """An error as a 200 or a stream carries it."""
        return {"error": {"message": self.words(status, model), "code": status}}

    def limit_headers(self, wait_s: float, limit: int) -> dict[str, str]:
        """What a call that exceeded a limit is told about when to come back."""
        return {"Retry-After": str(math.ceil(wait_s))}

    def models(self) -> dict[str, Any]:
        """The model list."""
        return {"object": "list", "data": [{"id": m, "object": "model", "owned_by": self.name} for m in MODELS]}

    def words(self, status: int, model: str) -> str:
        """A refusal in one sentence."""
        return f"simulated {phrase(status)} for {model}"


class VLLM(Dialect):
    """vLLM's server: the code is the HTTP status, the type a Python exception's name."""

    name = "vllm"
    base = "/vllm/v1"

    def limit_headers(self, wait_s: float, limit: int) -> dict[str, str]:
        """Nothing."""
        return {}

    def models(self) -> dict[str, Any]:
        """vLLM also tells the context."""
        listed = [{"id": m, "object": "model", "owned_by": "vllm", "max_model_len": CONTEXT} for m in MODELS]
        return {"object": "list", "data": listed}

    def refusal(self, status: int, *, model: str) -> Refusal:
        """vLLM's error body."""
        kind = {400: "BadRequestError", 401: "Unauthorized", 404: "NotFoundError"}.get(status, "InternalServerError")
        return error_body(self.words(status, model), type=kind, param=None, code=status)

    def too_long(self, tokens: int) -> Refusal:
        """vLLM's words for a prompt that does not fit."""
        text = (
            f"This model's maximum context length is {CONTEXT} tokens. However, your request has {tokens} input tokens."
        )
        return error_body(text, type="BadRequestError", param="input_tokens", code=400)

    def unfit(self, why: str) -> Refusal:
        """vLLM's error body."""
        return error_body(why, type="BadRequestError", param=None, code=400)

    def words(self, status: int, model: str) -> str:
        """vLLM's sentences."""
        if status == 404:
            return f"The model `{model}` does not exist."
        return "EngineCore encountered an issue. See stack trace (above)." if status == 500 else phrase(status)


class NIM(Dialect):
    """NVIDIA's gateway: problem details, which name the account, before an OpenAI-shaped backend."""

    name = "nim"
    base = "/nim/v1"
    id_prefix = "chat-"
    key_prefix = "nvapi-"

    def limit_headers(self, wait_s: float, limit: int) -> dict[str, str]:
        """Nothing: NVIDIA gives no hint."""
        return {}

    def refusal(self, status: int, *, model: str) -> Refusal:
        """NVIDIA's error body; a bad gateway's is a page."""
        if status in (502, 504):
            return "text/html", f"<html><body><center><h1>{status} {phrase(status)}</h1></center></body></html>"
        if status == 422:
            field = {"type": "missing", "loc": ["body", "messages"], "msg": "Field required", "input": {}}
            return as_json({"detail": [field]})
        if status == 400:
            return error_body(self.words(400, model), **NVIDIA_400)
        said: dict[str, Any] = {"status": status, "title": phrase(status)}
        if status != 429:
            said["detail"] = self.words(status, model)
        return as_json(said)

    def too_long(self, tokens: int) -> Refusal:
        """NIM's words for a prompt that does not fit."""
        return error_body(TOO_LONG.format(tokens=tokens), **NVIDIA_400)

    def unfit(self, why: str) -> Refusal:
        """NVIDIA's error body."""
        return error_body(why, **NVIDIA_400)

    def words(self, status: int, model: str) -> str:
        """NVIDIA's sentences."""
        return {
            401: "Bearer token is missing or malformed",
            402: f"Account '{ACCOUNT}': Cloud credits expired - Please contact NVIDIA representatives",
            403: f"Authorization failed for account '{ACCOUNT}'",
            404: f"Function '7c1e9bd2-0a57-4f7f-9d1c-3a2b1c0d9e8f': Not found for account '{ACCOUNT}'",
            410: f"The model '{model}' has reached its end of life on 2025-11-30T00:00:00Z and is no longer available",
        }.get(status, f"Inference error for account '{ACCOUNT}', key nvapi-9f8e7d6c5b4a")


class OpenRouter(Dialect):
    """OpenRouter: the code is the HTTP status, and the body names the user."""

    name = "openrouter"
    base = "/openrouter/api/v1"
    id_prefix = "gen-"
    key_prefix = "sk-or-"

    def limit_headers(self, wait_s: float, limit: int) -> dict[str, str]:
        """OpenRouter's own; Reset is in milliseconds since the epoch."""
        reset_ms = math.ceil((time.time() + wait_s) * 1000)
        remaining = {"X-RateLimit-Limit": str(limit), "X-RateLimit-Remaining": "0"}
        return {**remaining, "X-RateLimit-Reset": str(reset_ms)}

    def models(self) -> dict[str, Any]:
        """OpenRouter's list has prices."""
        price = {"prompt": "0", "completion": "0"}
        return {"data": [{"id": m, "name": m, "context_length": CONTEXT, "pricing": price} for m in MODELS]}

    def refusal(self, status: int, *, model: str) -> Refusal:
        """OpenRouter's error body."""
        return as_json({"error": {"message": self.words(status, model), "code": status}, "user_id": USER})

    def too_long(self, tokens: int) -> Refusal:
        """OpenRouter passes on what the provider behind it said."""
        return self.unfit(TOO_LONG.format(tokens=tokens))

    def unfit(self, why: str) -> Refusal:
        """The same of any other 400."""
        _, raw = error_body(why, **NVIDIA_400)
        said = {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw, "provider_name": "Nvidia"}}
        return as_json({"error": said, "user_id": USER})

    def words(self, status: int, model: str) -> str:
        """OpenRouter's sentences."""
        return {
            401: "No auth credentials found",
            402: f"Insufficient credits for {USER}. Add more using https://openrouter.ai/settings/credits",
            404: f"No endpoints found for {model}.",
            429: f"Rate limit exceeded: free-models-per-min for {USER}.",
        }.get(status, f"{phrase(status)} ({USER}, key sk-or-v1-0123456789abcdef)")


DIALECTS: tuple[Dialect, ...] = (Dialect(), VLLM(), NIM(), OpenRouter())


def as_json(value: Any) -> Refusal:
    """A JSON body with its content type."""
    return "application/json", json.dumps(value)


def error_body(message: str, **details: Any) -> Refusal:
    """An error in OpenAI's shape."""
    return as_json({"error": {"message": message, **details}})


def phrase(status: int) -> str:
    """The status in words; 529, which has no official ones, is Overloaded."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Overloaded"
