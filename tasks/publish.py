"""Sends the Celery message of a job: its id and epoch, nothing else."""

from __future__ import annotations

from collections.abc import Iterable

import structlog
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from tasks.celery import app
from tasks.store.jobs import Message

log = structlog.get_logger()


def task_of(queue: str) -> str:
    """The Celery task that runs the jobs of a queue: `gpu.<model>` belongs to gpu, `api.<provider>` to api."""
    return f"tasks.{queue.partition('.')[0]}.run"


def send(messages: Iterable[Message]) -> None:
    """Send messages. One that cannot be sent is only logged: its job is found as one whose message was lost."""
    for message in messages:
        try:
            app.send_task(
                task_of(message.queue),
                args=(message.job_id, message.epoch),
                task_id=f"{message.job_id}.{message.epoch}",
                queue=message.queue,
                priority=message.priority,
                ignore_result=True,
                retry=False,
            )
        except (OperationalError, RedisError, OSError) as error:
            log.warning("publish.failed", job_id=message.job_id, error=type(error).__name__)
