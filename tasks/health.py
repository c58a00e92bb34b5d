"""The door for `/readyz`: whether jobs can be accepted, and who is there to do them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tasks import serving
from tasks.domain.access import KeyHold
from tasks.domain.errors import Unavailable
from tasks.store import access, capacity, fitness, fleet
from tasks.store.fleet import Worker


@dataclass(frozen=True, kw_only=True)
class Providers:
    """The providers behind each mode, as the live workers say; hosted ones in the order in which they are asked."""

    gpu: tuple[str, ...]
    api: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """Whether jobs can be accepted. Workers and providers are told, but a job may wait for them.

    `refusal` is why none can be, and then also what `redis` says.
    """

    status: str
    redis: str
    workers: list[Worker]
    providers: Providers
    keys_refused: list[KeyHold]
    warnings: tuple[str, ...]
    refusal: Unavailable | None = None


def readiness() -> Readiness:
    """What is there, as far as reading tells. Raises Unavailable when Redis is away: nothing can be told then."""
    workers = fleet.default().workers()
    warnings = fitness.default().look().warnings
    keys_refused = access.default().held()
    refusal = _refusal()
    gpu = (serving.LOCAL,) if any(serving.local_queues(one.consumes) for one in workers) else ()
    api = tuple(dict.fromkeys(provider for one in workers for provider in _hosted(one)))
    return Readiness(
        status="unavailable" if refusal else "ready",
        redis=refusal.message if refusal else "ok",
        workers=workers,
        providers=Providers(gpu=gpu, api=api),
        keys_refused=keys_refused,
        warnings=warnings,
        refusal=refusal,
    )


def _refusal() -> Unavailable | None:
    """Why no job can be accepted now: Redis is too old, does not take writes, or has no room for more jobs."""
    try:
        fitness.default().ensure()
        capacity.default().reserve(0)
        capacity.default().try_write()
    except Unavailable as error:
        return error
    return None


def _hosted(worker: Worker) -> Iterator[str]:
    """Who answers the hosted queues of a worker, `api` first."""
    return (provider for queue, provider in sorted(worker.answers.items()) if serving.is_hosted(queue))
