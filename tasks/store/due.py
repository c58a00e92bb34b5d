"""What must be looked at: due jobs, lost messages, jobs that a limit lets go. Each step is atomic and bounded."""

from __future__ import annotations

from functools import cache

from redis import Redis

from tasks import quotas, settings
from tasks.store import connection, keys
from tasks.store.message import Message, messages
from tasks.store.rate import Waiters, let_go
from tasks.store.scripts import Scripts
from tasks.store.steps import SHARDS_AT_ONCE

#: Entries per step. At up to a hundred microseconds each, a step holds Redis for two milliseconds or so.
BATCH = 25
#: How often the fleet looks for lost messages, jobs found in one step (up to two milliseconds), and steps of one look.
LOOK_S, LOST, LOOK_STEPS = 1.0, 50, 100
#: How long a message may be on its way before its job counts as overtaken. Publishing takes milliseconds.
PATIENCE_S = 3.0
#: Time between two groups let go behind a limit, and the largest group.
LET_GO_STEP_S, LET_GO_MOST = 0.5, 512


class Due:
    """The watchers on one Redis. Every method returns the messages to send and raises Unavailable.

    `policy` is what quotas.policy says of the providers' limits.
    """

    def __init__(
        self, redis: Redis, *, lease_s: float, ttl_s: int, patience_s: float = PATIENCE_S, policy: str = "",
        look_s: float = LOOK_S,
    ) -> None:  # fmt: skip
        self._scripts = Scripts(redis)
        self._lease_ms = int(lease_s * 1000)
        self._ttl_s = ttl_s
        self._patience_ms = int(patience_s * 1000)
        self._look_ms = int(look_s * 1000)
        self._policy = policy

    def sweep(self) -> tuple[int, list[Message]]:
        """Move on what is due: (entries examined, messages). As many as BATCH examined: there may be more."""
        answer = self._scripts.call(
            "sweep", [keys.DUE, keys.WORKERS], [self._lease_ms, BATCH, self._ttl_s, self._policy]
        )
        return int(answer[0]), messages(answer[1:])

    def find_lost(self) -> list[Message]:
        """Line up again the jobs whose message was lost, if nobody in the fleet has just looked for them."""
        found: list[Message] = []
        for step in range(1, LOOK_STEPS + 1):
            answer = self._scripts.call("find_lost", [keys.LINES], [self._patience_ms, LOST, self._look_ms, step])
            found += messages(answer[1:])
            if answer[0] == 0:
                break
        return found

    def let_go(self) -> list[Message]:
        """Line up again as many jobs as the limits have room for."""
        return list(self.waiters().messages)

    def waiters(self) -> Waiters:
        """The same, and when the next may go."""
        args = [int(LET_GO_STEP_S * 1000), LET_GO_MOST, self._policy, SHARDS_AT_ONCE]
        return let_go(self._scripts.call("let_go", [keys.LIMITS], args))


@cache
def default() -> Due:
    """The watchers on this process' Redis."""
    here = settings.get()
    return Due(connection.default(), lease_s=here.lease_s, ttl_s=here.job_ttl_s, policy=quotas.policy(here))
