"""The client of the sandbox, which answers where neither an engine nor a real provider is configured."""

from __future__ import annotations

from tasks.providers.openai_compatible import OpenAICompatible


class SandboxClient(OpenAICompatible):
    """The sandbox under its own `/v1`: OpenAI's plain shape, no key; every answer says that it is simulated."""

    name = "sandbox"
