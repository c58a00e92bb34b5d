"""The sweep: what is due is looked at, lost messages are sent again, limits let their waiters go."""

from __future__ import annotations

import structlog

from tasks import publish
from tasks.store.due import BATCH, Due

log = structlog.get_logger()

#: Steps of one sweep at the most, so that a flood of due jobs does not keep its worker from other duties.
STEPS = 80


def sweep(due: Due) -> int:
    """Move on whatever needs it and send the messages; how many were sent. Raises Unavailable."""
    sent = 0
    for _ in range(STEPS):
        examined, messages = due.sweep()
        publish.send(messages)
        sent += len(messages)
        if examined < BATCH:
            break
    for find in (due.find_lost, due.let_go):
        messages = find()
        publish.send(messages)
        if messages:
            log.info("sweep.sent", why=find.__name__, count=len(messages))
        sent += len(messages)
    return sent
