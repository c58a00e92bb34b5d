"""A batch as a Celery chord: its shards are the header, its conclusion is the body."""

from __future__ import annotations

from collections.abc import Iterable

import structlog
from celery import chord
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from tasks import publish
from tasks.celery import app
from tasks.domain.job import Priority
from tasks.store import steps
from tasks.store.message import Message

log = structlog.get_logger()

#: The chord's body.
FINISH = "tasks.batch.finish"


def publish_batch(batch_id: str, shards: Iterable[Message]) -> None:
    """Send one chord over the shards of a batch.

    Where Redis is too full for a chord the shards go without: the batch's own counter says when it is over. What
    cannot be sent at all is found as a lost message.
    """
    parts = list(shards)
    header = [
        app.signature(publish.STEP, args=(one.job_id, one.epoch), queue=one.queue, priority=one.priority)
        for one in parts
    ]
    body = app.signature(
        FINISH, args=(batch_id,), queue=steps.QUEUE, priority=int(Priority.INTERACTIVE), immutable=True
    )
    try:
        chord(header, body).apply_async(task_id=batch_id, retry=False)
        log.info("batch.begun", batch_id=batch_id, shards=len(header))
    except (OperationalError, RedisError, OSError) as error:
        log.warning("batch.chord_not_sent", batch_id=batch_id, error=type(error).__name__)
        publish.send(parts)
