"""A job in the hand of a worker."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.domain.job import Kind, Priority

#: Of what cannot be read so much is repeated.
LONGEST_KIND = 40


@dataclass(frozen=True, kw_only=True)
class Taker:
    """Who claims jobs. `servings` says who answers there: (queue, provider, the model that `default` means there).

    A suspect is taken only with `may_isolate`: it needs a process of its own. One that was there when so many engines
    died as `alone_from` says needs the engine to itself, and is not taken; None: it is.
    """

    worker: str
    lease_s: float
    servings: Sequence[tuple[str, str, str]]
    may_isolate: bool = True
    alone_from: int | None = None

    def args(self, job_id: str, epoch: int, ttl_s: int, policy: str) -> list[Any]:
        """As the script `claim` takes them."""
        head = [job_id, epoch, self.worker, int(self.lease_s * 1000), int(self.may_isolate), ttl_s, policy]
        return [
            *head,
            "" if self.alone_from is None else self.alone_from,
            *(part for one in self.servings for part in one),
        ]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A job in hand, for one attempt. `owner`, its `fence` and `worker`, must be shown at every write; `left_s` is its
    time until the deadline.

    `places` is how many further places it may go to, `is_probe` that its call tries a circuit that is not closed.
    `failing_s` is for how long its tries here have failed, `others_answered` whether that model answered others since.
    `scopes` are the quotas that count its call, which had room at `claimed_ms` by Redis' clock; `asked_at` is a moment
    of this machine's (monotonic) that was not later. `fault` says what of its record cannot be read, if anything: the
    job is to be failed then.
    """

    job_id: str
    fence: int
    n: int
    tries: int
    max_tries: int
    crashes: int
    engine_losses: int
    suspect: bool
    left_s: float
    kind: str
    queue: str
    provider: str
    target: str
    request: Mapping[str, Any]
    places: int = 0
    is_probe: bool = False
    failing_s: float = 0.0
    others_answered: bool = False
    priority: int = Priority.INTERACTIVE
    scopes: tuple[str, ...] = ()
    claimed_ms: int = 0
    asked_at: float = 0.0
    worker: str = ""
    fault: str = ""

    @property
    def owner(self) -> str:
        """Whose the job is, as the scripts compare it with the record."""
        return owner(self.fence, self.worker)

    @property
    def call_id(self) -> str:
        """The name of this attempt's call among those that quotas count."""
        return f"{self.job_id}.{self.fence}"


def owner(fence: int, worker: str) -> str:
    """What is shown at every write. The number alone does not tell: after a failover of Redis two may have the same."""
    return f"{fence} {worker}"


def claimed(job_id: str, answer: Sequence[Any], *, worker: str, asked_at: float) -> Claim:
    """The claim that the script `claim` told of, in its order of values.

    It was written, so nothing that is wrong with the record may keep it from being told of: see `fault`.
    """
    fence, n, tries, max_tries, crashes, losses, suspect, left_ms = (int(float(part)) for part in answer[:8])
    request, fault = _request(answer[8], answer[11])
    return Claim(
        job_id=job_id,
        fault=fault,
        fence=fence,
        n=n,
        tries=tries,
        max_tries=max_tries,
        crashes=crashes,
        engine_losses=losses,
        suspect=bool(suspect),
        left_s=left_ms / 1000,
        kind=answer[8],
        queue=answer[9],
        provider=answer[14],
        target=answer[10],
        request=request,
        places=int(answer[15]),
        is_probe=bool(answer[16]),
        priority=int(answer[17]),
        failing_s=int(answer[18]) / 1000,
        others_answered=bool(answer[19]),
        scopes=tuple(answer[12].split()),
        claimed_ms=int(answer[13]),
        asked_at=asked_at,
        worker=worker,
    )


def _request(kind: str, text: str) -> tuple[Mapping[str, Any], str]:
    """What is asked for, and what keeps it from being read."""
    if kind not in [*Kind]:
        return {}, f"its kind is {kind[:LONGEST_KIND]!r}, which is not known here"
    try:
        request = json.loads(text)
    except ValueError:
        return {}, "its request is not JSON"
    return (request, "") if isinstance(request, dict) else ({}, "its request is no object")
