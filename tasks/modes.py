"""The door for `/chat/info`: what each mode means here, whether it is available now, and how long its lines are."""

from __future__ import annotations

from dataclasses import dataclass

from tasks import routing, serving
from tasks.domain.job import Mode
from tasks.serving import GPU
from tasks.store import fleet, lines


@dataclass(frozen=True, kw_only=True)
class Desk:
    """One mode. `leaves_the_house` says whether prompts may reach somebody else's service."""

    mode: Mode
    available: bool
    leaves_the_house: bool
    providers: tuple[str, ...]
    models: tuple[str, ...]
    waiting: int


def desks() -> list[Desk]:
    """The modes: auto, gpu, api. Raises Unavailable."""
    workers = [one for one in fleet.default().workers() if serving.local_queues(one.consumes)]
    up = [one for one in workers if one.is_up]
    hosted = routing.hosted(fleet.default())
    depths = lines.default().depths()
    gpu = Desk(
        mode=Mode.GPU,
        available=bool(up),
        leaves_the_house=False,
        providers=(serving.LOCAL,) if workers else (),
        models=tuple(sorted({one.model for one in workers})),
        waiting=_total(depths, GPU),
    )
    api = Desk(
        mode=Mode.API,
        available=bool(hosted),
        # The sandbox is a process of this installation.
        leaves_the_house=any(not serving.is_simulated(one) for one in hosted),
        providers=tuple(one.provider for one in hosted),
        models=tuple(dict.fromkeys(one.target for one in hosted)),
        waiting=_total(depths, serving.API),
    )
    auto = Desk(
        mode=Mode.AUTO,
        available=gpu.available or api.available,
        leaves_the_house=api.leaves_the_house,
        providers=gpu.providers + api.providers,
        models=tuple(dict.fromkeys(gpu.models + api.models)),
        waiting=gpu.waiting + api.waiting,
    )
    return [auto, gpu, api]


def _total(depths: dict[str, int], name: str) -> int:
    return sum(depth for queue, depth in depths.items() if _belongs(queue, name))


def _belongs(queue: str, name: str) -> bool:
    return queue == name or queue.startswith(f"{name}.")
