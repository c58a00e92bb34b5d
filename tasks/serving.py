"""Which provider serves which queue, by the settings; and the provider itself, made once per process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tasks import settings
from tasks.catalog import DEFAULT, models
from tasks.providers.base import Provider
from tasks.providers.nim import NIM
from tasks.providers.openrouter import OpenRouter
from tasks.providers.sandbox_client import SandboxClient
from tasks.providers.vllm import VLLM
from tasks.settings import Settings

GPU, API = "gpu", "api"
SANDBOX = "sandbox"
NIM_URL = "https://integrate.api.nvidia.com/v1"
NIM_MODEL = "nvidia/nemotron-3-nano-30b-a3b"
OPENROUTER_MODEL = "nvidia/nemotron-nano-12b-v2-vl:free"
#: The model a CPU engine serves unless TANDEM_MODEL names another: made on this machine by `make vllm-cpu`.
CPU_MODEL = "tiny-chat"
#: Any model named like this is the sandbox's: the rest of the name says what it shall do.
SANDBOX_MODELS = "sandbox/"


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A queue, who answers its jobs, and the model that `default` means there."""

    queue: str
    provider: str
    target: str
    base_url: str


def hosted(here: Settings) -> tuple[Serving, ...]:
    """The hosted providers in their order: the first serves `api`, each further one `api.<provider>`.

    Without a key the sandbox serves `api`, if there is one; nobody does otherwise.
    """
    found: list[tuple[str, str, str]] = []
    if here.nvidia_api_key.get_secret_value() or here.nvidia_base_url:
        found.append(("nim", here.api_model or NIM_MODEL, here.nvidia_base_url or NIM_URL))
    if here.openrouter_api_key.get_secret_value():
        own = here.api_model if not found else ""
        found.append(("openrouter", own or OPENROUTER_MODEL, here.openrouter_base_url))
    if not found and here.sandbox_url:
        found.append((SANDBOX, here.api_model or NIM_MODEL, here.sandbox_url))
    return tuple(
        Serving(queue=f"{API}.{name}" if place else API, provider=name, target=target, base_url=url)
        for place, (name, target, url) in enumerate(found)
    )


def local_model(here: Settings) -> str:
    """The id of the model this machine's engine serves: the last part of a path, or the Hugging Face id itself."""
    if not here.model:
        return CPU_MODEL
    return Path(here.model).name if Path(here.model).exists() else here.model


def local(here: Settings, base_url: str = "") -> Serving:
    """The engine of this worker; `base_url` once it is known."""
    return Serving(queue=GPU, provider="vllm", target=local_model(here), base_url=base_url)


def target(serving: Serving, model: str) -> str | None:
    """What the provider of `serving` calls `model`; "" for its default, None when it does not serve it."""
    if model == DEFAULT:
        return ""
    if serving.provider == SANDBOX:
        return model if model.startswith(SANDBOX_MODELS) or model in models() else None
    if model == serving.target:
        return model
    known = models().get(model)
    return known.ids.get(serving.provider) if known else None


def _secret(value: str) -> str | None:
    return value or None


MAKERS: dict[str, Callable[[Settings, str], Provider]] = {
    "nim": lambda s, url: NIM(
        base_url=url,
        api_key=_secret(s.nvidia_api_key.get_secret_value()),
        nvcf_url=s.nvcf_base_url,
        inline_below=s.image_chars,
        concurrency=s.api_concurrency,
        connect_timeout_s=s.connect_timeout_s,
    ),
    "openrouter": lambda s, url: OpenRouter(
        base_url=url,
        api_key=s.openrouter_api_key.get_secret_value(),
        allow_paid=s.allow_paid,
        concurrency=s.api_concurrency,
        connect_timeout_s=s.connect_timeout_s,
    ),
    SANDBOX: lambda s, url: SandboxClient(
        base_url=url, concurrency=s.api_concurrency, connect_timeout_s=s.connect_timeout_s
    ),
    "vllm": lambda s, url: VLLM(base_url=url, concurrency=s.gpu_concurrency, connect_timeout_s=s.connect_timeout_s),
}


@cache
def provider(name: str, base_url: str) -> Provider:
    """The provider `name` at `base_url`, one per process."""
    return MAKERS[name](settings.get(), base_url)
