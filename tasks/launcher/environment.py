"""The settings of this run, and the environment the processes get."""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from dotenv import dotenv_values
from pydantic import AliasChoices

from tasks import serving, settings
from tasks.engine import devices, inherited
from tasks.engine.install import STAMP
from tasks.launcher import checks, programs
from tasks.launcher.owner import MARK
from tasks.launcher.terminal import LaunchError
from tasks.launcher.valkey import LOOPBACK, Valkey, free_port
from tasks.settings import Settings

#: Celery reads these by itself, and they would win over REDIS_URL.
FOREIGN = ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND")
#: What Tandem reads, and what it is made of; some of it also in lower case.
SETTINGS = frozenset(
    name for field in Settings.model_fields.values() for name in cast(AliasChoices, field.validation_alias).choices
)
OURS = ("TANDEM_", "CELERY_", "FLOWER_", "GUNICORN_", "FLASK_", "PROMETHEUS_", "PYTHON", "VALKEY", "SANDBOX_", "TMPDIR")


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """The settings completed by what only this run knows, and what this run itself starts to make them true."""

    here: Settings
    server: Valkey | None
    sandbox_port: int | None


def complete(here: Settings, server: Valkey | None) -> Surroundings:
    """Add the embedded Valkey, the sandbox's address, the device. Raises LaunchError when there is no such device."""
    known: dict[str, object] = {"drain_s": programs.drain_s(here)}
    port = None
    if not _may_simulate(here):
        known |= {"sandbox": serving.FORBIDDEN, "sandbox_url": ""}
    elif not here.sandbox_url:
        port = free_port()
        known["sandbox_url"] = f"http://{LOOPBACK}:{port}/v1"
    if server is not None:
        known["redis_url"] = server.url
    if checks.has_engine(here) and "device" not in here.model_fields_set:
        known["device"] = _device(here)
    return Surroundings(here=here.model_copy(update=known), server=server, sandbox_port=port)


def of_children(here: Settings) -> dict[str, str]:
    """This process' environment, what .env adds to it, and what `complete` found out."""
    said = {**dotenv_values(settings.env_file()), **{name: value for name, value in os.environ.items() if value}}
    further = settings.words(here.vllm_env)
    return {
        **{name: value for name, value in said.items() if value and _is_needed(name, further)},
        "TANDEM_DATA": str(here.data),
        "TANDEM_DRAIN_S": f"{here.drain_s:g}",
        "TANDEM_DEVICE": here.device,
        "TANDEM_SANDBOX": here.sandbox,
        "TANDEM_SANDBOX_URL": here.sandbox_url,
        "REDIS_URL": here.redis_url,
        MARK: str(here.data),
        # Other users of this machine reach the sandbox, too, and shall not tell it how to answer.
        "SANDBOX_CONTROL_KEY": secrets.token_urlsafe(24),
        # vLLM renames its processes, which would overwrite the mark.
        "SPT_NOENV": "1",
    }


def _is_needed(name: str, further: Collection[str]) -> bool:
    """Whether our own processes read this variable, or the engine that a worker starts."""
    ours = name.upper() in SETTINGS or name.upper().startswith(OURS)
    return name not in FOREIGN and (ours or inherited.is_taken(name, further))


def _may_simulate(here: Settings) -> bool:
    """Whether the sandbox answers here: where there is neither an engine nor a key, or for a demonstration."""
    if here.sandbox == serving.DEMONSTRATION:
        return True
    return here.sandbox != serving.FORBIDDEN and not checks.has_engine(here) and not serving.outside(here)


def _device(here: Settings) -> str:
    """The first GPU for an engine that was made for GPUs."""
    stamp = here.vllm_executable.parent.parent / STAMP
    if not Path(stamp).is_file() or not stamp.read_text().startswith("cuda"):
        return here.device
    found = devices.find()
    if not found:
        raise LaunchError("the engine in .venv-vllm is for NVIDIA GPUs and there is none here: run make vllm-cpu")
    return found[0].uuid
