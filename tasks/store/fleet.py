"""The live workers and what they say of themselves."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import cast

from redis import Redis

from tasks import settings
from tasks.store import connection, keys
from tasks.store.scripts import Scripts, renamed

#: How long the word of a worker that went silent is kept: to tell one death from many at once.
KEEP_S = 600
#: How old a look at the fleet may be where every POST needs one: workers say hello every few seconds only.
LOOK_S = 0.25
#: States that the rest asks for; the engine's own are in tasks/engine/config.py.
READY, LOADING, DRAINING = "ready", "loading", "draining"


@dataclass(frozen=True, kw_only=True)
class Worker:
    """One worker. `queues` is comma-separated, and so is `providers`: who answers each of them, in the same order.
    `state` is loading, ready, draining or broken.

    `ready_in_s` estimates how long a loading one still needs; 0 for the others.
    """

    name: str
    queues: str
    state: str
    providers: str = ""
    model: str = ""
    device: str = ""
    in_flight: int = 0
    capacity: int = 0
    ready_in_s: float = 0.0
    seen_at: float = 0.0

    @property
    def host(self) -> str:
        """The machine in its name, node@host#life."""
        return self.name.partition("@")[2].partition("#")[0]

    @property
    def is_up(self) -> bool:
        """Whether it takes jobs, or soon will."""
        return self.state in (READY, LOADING)

    @property
    def consumes(self) -> list[str]:
        """The names of its queues."""
        return [name for name in self.queues.split(",") if name]

    @property
    def answers(self) -> dict[str, str]:
        """Who answers each of its queues. Of a worker older than this word nothing is known."""
        names = [name for name in self.providers.split(",") if name]
        return dict(zip(self.consumes, names, strict=False))


class Fleet:
    """The workers on one Redis. Every method raises Unavailable."""

    def __init__(self, redis: Redis, *, lease_s: float) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._lease_s = lease_s
        self._seen: tuple[float, list[Worker]] = (float("-inf"), [])
        self._served: tuple[float, frozenset[str]] = (float("-inf"), frozenset())

    def hello(self, worker: Worker, held: Sequence[tuple[str, int]] = ()) -> list[tuple[str, int]]:
        """Say that `worker` lives and push on the leases of what it holds (job id, fence).

        Returns those of `held` that are not its own any more: their calls are to be cut.
        """
        said = [str(part) for pair in asdict(worker).items() if pair[0] != "seen_at" for part in pair]
        leases = [part for pair in held for part in pair]
        args = [worker.name, int(self._lease_s * 1000), KEEP_S * 1000, len(said), *said, *leases]
        self._look_again()
        lost = self._scripts.call("heartbeat", [keys.WORKERS, keys.worker(worker.name)], args)
        return [(job_id, int(fence)) for job_id, fence in zip(lost[::2], lost[1::2], strict=True)]

    def goodbye(self, name: str) -> None:
        """Take a worker that leaves in order off the list."""
        self._look_again()
        with renamed():
            self._redis.zrem(keys.WORKERS, name)
            self._redis.delete(keys.worker(name))

    def workers(self) -> list[Worker]:
        """The workers that said hello within a lease."""
        said = self._scripts.call("workers", [keys.WORKERS], [int(self._lease_s * 1000)])
        return [_worker(dict(zip(flat[::2], flat[1::2], strict=True))) for flat in said if flat]

    def lately(self) -> list[Worker]:
        """The same as of LOOK_S ago at the most."""
        at, workers = self._seen
        if time.monotonic() - at > LOOK_S:
            workers = self.workers()
            self._seen = (time.monotonic(), workers)
        return workers

    def ever_served(self, queue: str) -> bool:
        """Whether a worker of this queue has ever been here, as of LOOK_S ago at the most."""
        return queue in self.served()

    def served(self) -> frozenset[str]:
        """The queues that were ever served, as of LOOK_S ago at the most."""
        at, queues = self._served
        if time.monotonic() - at > LOOK_S:
            with renamed():
                queues = frozenset(cast(set[str], self._redis.smembers(keys.SERVED)))
            self._served = (time.monotonic(), queues)
        return queues

    def forget_served(self, queues: Sequence[str]) -> None:
        """Nobody will serve these any more: what may go elsewhere need not wait for them."""
        with renamed():
            if queues:
                self._redis.srem(keys.SERVED, *queues)
        self._look_again()

    def _look_again(self) -> None:
        self._seen = (float("-inf"), [])
        self._served = (float("-inf"), frozenset())


def _worker(said: Mapping[str, str]) -> Worker:
    kinds = {"int": int, "float": float, "str": str}
    return Worker(**{f.name: kinds[str(f.type)](said[f.name]) for f in fields(Worker) if f.name in said})


@cache
def default() -> Fleet:
    """The workers on this process' Redis."""
    return Fleet(connection.default(), lease_s=settings.get().lease_s)
