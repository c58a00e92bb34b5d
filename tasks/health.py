"""The door for `/readyz`: whether jobs can be accepted, and who is there to do them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tasks import serving
from tasks.domain.access import KeyHold
from tasks.store import access, capacity, fitness, fleet
from tasks.store.fleet import Worker


@dataclass(frozen=True, kw_only=True)
class Providers:
    """The providers behind each mode, as the live workers say; hosted ones in the order in which they are asked."""

    gpu: tuple[str, ...]
    api: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """Jobs can be accepted. Workers and providers are told, but a job may wait for them."""

    status: str
    redis: str
    workers: list[Worker]
    providers: Providers
    keys_refused: list[KeyHold]
    warnings: tuple[str, ...]


def readiness() -> Readiness:
    """What is there. Raises Unavailable when Redis is away, does not take writes, or has no room for more jobs."""
    workers = fleet.default().workers()
    fitness.default().ensure()
    capacity.default().reserve(0)
    capacity.default().try_write()
    gpu = (serving.LOCAL,) if any(serving.local_queues(one.consumes) for one in workers) else ()
    api = tuple(dict.fromkeys(provider for one in workers for provider in _hosted(one)))
    return Readiness(
        status="ready",
        redis="ok",
        workers=workers,
        providers=Providers(gpu=gpu, api=api),
        keys_refused=access.default().held(),
        warnings=fitness.default().look().warnings,
    )


def _hosted(worker: Worker) -> Iterator[str]:
    """Who answers the hosted queues of a worker, `api` first."""
    return (provider for queue, provider in sorted(worker.answers.items()) if serving.is_hosted(queue))
