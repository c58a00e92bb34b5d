"""Seeded harm: who is killed when. The seed is printed, so that a failure can be run again."""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.polling import until
from tests.support.service import Service, Supervised


class Nemesis:
    """`with Nemesis(harm, every_s=(2, 5)):` calls `harm(random)` again and again while the block runs."""

    def __init__(self, harm: Callable[[random.Random], None], *, every_s: tuple[float, float], seed: int | None = None):
        self.seed = secrets.randbelow(10**6) if seed is None else seed
        self.strikes = 0
        self._harm, self._every_s = harm, every_s
        self._random = random.Random(self.seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        print(f"nemesis seed={self.seed}")

    def __enter__(self) -> Nemesis:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._over.wait(self._random.uniform(*self._every_s)):
            self._harm(self._random)
            self.strikes += 1


def kill_a_worker(service: Service) -> Callable[[random.Random], None]:
    """kill -9 of a random worker that is up."""

    def harm(chance: random.Random) -> None:
        worker = chance.choice(service.workers)
        if worker.process.poll() is None:
            worker.kill()

    return harm


def restart_redis(service: Service) -> Callable[[random.Random], None]:
    """kill -9 of Redis, and a start on the same data."""

    def harm(_chance: random.Random) -> None:
        service.valkey.kill()
        service.valkey.start()

    return harm


def kill_whoever_pops(service: Service) -> Callable[[random.Random], None]:
    """kill -9 of a worker within a tenth of a second after it was seen to end jobs: it is popping others then."""
    read: dict[Path, int] = defaultdict(int)

    def pops(worker: Supervised) -> bool:
        with worker.log.open("rb") as log:
            log.seek(read[worker.log])
            ended = b"attempt.ended" in log.read()
            read[worker.log] = log.tell()
        return ended

    def harm(chance: random.Random) -> None:
        popping = until(lambda: list(filter(pops, service.workers)), within_s=30, what="a worker popping jobs")
        worker = chance.choice(popping)
        time.sleep(chance.uniform(0, 0.1))
        dying = worker.process
        worker.kill()
        dying.wait()
        pops(worker)  # what it wrote last says nothing of the next one

    return harm


def submit_for(service: Service, seconds: float, *, count: int, **body: Any) -> list[str]:
    """Submit `count` jobs spread over so many seconds, from four threads; the ids of those accepted."""
    ids: list[str] = []
    begun = time.monotonic()

    def send(share: int) -> None:
        for number in range(share):
            due_at = begun + seconds * number / share
            time.sleep(max(0.0, due_at - time.monotonic()))
            answer = service.post(f"job {number}", **body)
            if answer.status_code == 202:
                ids.append(answer.json()["id"])

    threads = [threading.Thread(target=send, args=((count + n) // 4,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ids
