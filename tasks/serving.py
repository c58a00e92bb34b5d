"""Which provider serves which queue, by the settings; and the provider itself, made once per process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_network
from pathlib import Path

from tasks import catalog, settings
from tasks.catalog import DEFAULT, SANDBOX
from tasks.providers.base import Provider
from tasks.providers.nim import NIM
from tasks.providers.openai_compatible import Access
from tasks.providers.openrouter import OpenRouter
from tasks.providers.sandbox_client import SandboxClient
from tasks.providers.vllm import VLLM
from tasks.settings import Settings

GPU, API = "gpu", "api"
#: The provider of the gpu queues: `gpu`, whose model is the default one, and `gpu.<model>` for each further model.
LOCAL = "vllm"
NIM_URL = "https://integrate.api.nvidia.com/v1"
NIM_MODEL = "nvidia/nemotron-3-nano-30b-a3b"
OPENROUTER_MODEL = "nvidia/nemotron-nano-12b-v2-vl:free"
#: The model a CPU engine serves unless TANDEM_MODEL names another: made on this machine by `make vllm-cpu`.
CPU_MODEL = "tiny-chat"
#: What each hosted provider's key is in.
KEY_VARIABLES = {NIM.name: "NVIDIA_API_KEY", OpenRouter.name: "OPENROUTER_API_KEY"}
#: The queue of simulated answers. It is nobody else's: what was accepted for a real provider is never in it.
SIMULATED = f"{API}.{SANDBOX}"
#: TANDEM_SANDBOX: simulated answers in place of hosted providers, whatever is configured; or never.
DEMONSTRATION, FORBIDDEN = "1", "0"
#: Any model named like this is the sandbox's: the rest of the name says what it shall do.
SANDBOX_MODELS = "sandbox/"


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A queue, who answers its jobs, and the model that `default` means there."""

    queue: str
    provider: str
    target: str
    base_url: str
    #: Of an engine of ours, which has another one after each start. Keys of hosted providers are in the settings.
    api_key: str = field(default="", repr=False)


def hosted(here: Settings) -> tuple[Serving, ...]:
    """The hosted providers in their order: the first serves `api`, each further one `api.<provider>`.

    The sandbox, on a queue of its own, where it stands in for them; nobody, where there is neither a key nor a sandbox.
    """
    if here.sandbox == DEMONSTRATION:
        return _sandbox(here)
    found = outside(here)
    if not found and here.sandbox != FORBIDDEN and not names_engine(here):
        return _sandbox(here)
    return found


def outside(here: Settings) -> tuple[Serving, ...]:
    """Those of them that a key or an address names: real ones, as far as anybody here knows."""
    found: list[tuple[str, str, str]] = []
    if here.nvidia_api_key.get_secret_value() or here.nvidia_base_url:
        found.append(("nim", here.api_model or NIM_MODEL, here.nvidia_base_url or NIM_URL))
    if here.openrouter_api_key.get_secret_value():
        own = here.api_model if not found else ""
        found.append(("openrouter", own or OPENROUTER_MODEL, here.openrouter_base_url))
    return tuple(
        Serving(queue=f"{API}.{name}" if place else API, provider=name, target=own_id(name, target), base_url=url)
        for place, (name, target, url) in enumerate(found)
    )


def key_of(here: Settings, provider: str) -> str | None:
    """Our key at a provider ("": it is asked without one); None for those who ask for no key."""
    keys = {NIM.name: here.nvidia_api_key, OpenRouter.name: here.openrouter_api_key}
    return keys[provider].get_secret_value() if provider in keys else None


def names_engine(here: Settings) -> bool:
    """Whether the settings speak of an engine of ours. (`make run` knows more: whether one is installed.)"""
    return bool(here.model) or "vllm_executable" in here.model_fields_set


def _sandbox(here: Settings) -> tuple[Serving, ...]:
    if not here.sandbox_url:
        return ()
    model = own_id(SANDBOX, here.api_model or NIM_MODEL)
    return (Serving(queue=SIMULATED, provider=SANDBOX, target=model, base_url=here.sandbox_url),)


def is_simulated(serving: Serving) -> bool:
    """Whether its answers only pretend to be a model's."""
    return serving.provider == SANDBOX


def local_model(here: Settings) -> str:
    """The id of the model this machine's engine serves: the last part of a path, or the Hugging Face id itself."""
    if not here.model:
        return CPU_MODEL
    return Path(here.model).name if Path(here.model).exists() else here.model


def local(here: Settings, queue: str = GPU) -> Serving:
    """The engine of this worker, whose `base_url` is known only when it runs."""
    return Serving(queue=queue, provider=LOCAL, target=local_model(here), base_url="")


def further(model: str) -> str:
    """The queue of engines of ours that serve `model` beside the default one."""
    return f"{GPU}.{model}"


def local_queues(queues: Iterable[str]) -> list[str]:
    """Those of some queues that engines of ours serve."""
    return [queue for queue in queues if queue == GPU or queue.startswith(further(""))]


def is_hosted(queue: str) -> bool:
    """Whether a queue is for providers outside, or for the sandbox in their place."""
    return queue == API or queue.startswith(f"{API}.")


def target(serving: Serving, model: str) -> str | None:
    """What the provider of `serving` calls `model`; "" for its default, None when it does not serve it."""
    if model == DEFAULT:
        return ""
    if model == serving.target or (serving.provider == SANDBOX and model.startswith(SANDBOX_MODELS)):
        return model
    known = catalog.find(model)
    return id_at(serving.provider, known) if known else None


def id_at(provider: str, model: catalog.Model) -> str | None:
    """What `provider` calls a model; None when it does not serve it. The sandbox stands in for all the others."""
    return model.id if provider == SANDBOX else model.ids.get(provider)


def own_id(provider: str, name: str) -> str:
    """What `provider` calls the model of this name; the name itself when that is not known."""
    known = catalog.find(name)
    return (known and id_at(provider, known)) or name


def _access(here: Settings, base_url: str, *, api_key: str = "", concurrency: int) -> Access:
    return Access(
        base_url=base_url,
        api_key=api_key or None,
        concurrency=concurrency,
        connect_timeout_s=here.connect_timeout_s,
        embedding_batch=here.embedding_batch,
        answer_max_bytes=here.answer_max_bytes,
        networks=[ip_network(word) for word in settings.words(here.image_networks)],
    )


def _nim(here: Settings, url: str) -> Provider:
    key = here.nvidia_api_key.get_secret_value()
    access = _access(here, url, api_key=key, concurrency=here.api_concurrency)
    return NIM(nvcf_url=here.nvcf_base_url, inline_below=here.image_chars, **access)


def _openrouter(here: Settings, url: str) -> Provider:
    key = here.openrouter_api_key.get_secret_value()
    return OpenRouter(allow_paid=here.allow_paid, **_access(here, url, api_key=key, concurrency=here.api_concurrency))


def _vllm(here: Settings, url: str, api_key: str) -> Provider:
    return VLLM(**_access(here, url, api_key=api_key, concurrency=here.gpu_concurrency))


MAKERS: dict[str, Callable[[Settings, str], Provider]] = {
    "nim": _nim,
    "openrouter": _openrouter,
    SANDBOX: lambda here, url: SandboxClient(**_access(here, url, concurrency=here.api_concurrency)),
}


@cache
def provider(name: str, base_url: str, api_key: str = "") -> Provider:
    """The provider `name` at `base_url`, one per process. `api_key` is for an engine of ours only."""
    if name == LOCAL:
        return _vllm(settings.get(), base_url, api_key)
    return MAKERS[name](settings.get(), base_url)
