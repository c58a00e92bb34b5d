"""Sends the Celery message of a job: its id and epoch, nothing else.

It is written as `app.send_task` would write it (tests/store/test_publish.py compares the two), but by hand and with
this project's own connection: Celery's and kombu's way to it takes more CPU than all the rest of a POST.
"""

from __future__ import annotations

import json
import os
import socket
from base64 import b64encode
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import groupby
from uuid import uuid4

import structlog
from redis import Redis
from redis.exceptions import RedisError

from tasks.domain.errors import Unavailable
from tasks.store import connection, steps
from tasks.store.message import Message
from tasks.store.scripts import Scripts

log = structlog.get_logger()

#: What Celery's message protocol 2 says of a task beside its arguments; nothing of it is used here.
PLAIN: dict[str, object] = {
    "lang": "py", "shadow": None, "eta": None, "expires": None, "group": None, "group_index": None, "retries": 0,
    "timelimit": [None, None], "parent_id": None, "kwargsrepr": "{}", "ignore_result": True,
    "replaced_task_nesting": 0, "stamped_headers": None, "stamps": {},
}  # fmt: skip
EMBEDDED: dict[str, object] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
#: The task that moves on a step of a batch.
STEP = "tasks.batch.step"
#: kombu keeps one list per queue and priority; 0 is the queue's plain name.
PRIORITY_MARK = "\x06\x16"
#: Messages sent in one step.
AT_ONCE = 200


def task_of(record_id: str, queue: str) -> str:
    """The Celery task that moves a record on: `gpu.<model>` belongs to gpu, `api.<provider>` to api."""
    if steps.is_step(record_id):
        return STEP
    return f"tasks.{queue.partition('.')[0]}.run"


def send(messages: Iterable[Message], redis: Redis | None = None) -> None:
    """Send messages, of which the first is to be popped first. Redis may be full.

    One that cannot be sent is only logged: its job is found as one whose message was lost.
    """
    scripts = Scripts(redis) if redis else _scripts()
    for (queue, priority, ahead), group in groupby(messages, lambda one: (one.queue, one.priority, one.ahead)):
        # What is to be popped next is pushed last.
        line = list(group)[:: -1 if ahead else 1]
        for begin in range(0, len(line), AT_ONCE):
            _push(scripts, list_of(queue, priority), ahead, line[begin : begin + AT_ONCE])


def _push(scripts: Scripts, line: str, ahead: bool, messages: Sequence[Message]) -> None:
    try:
        scripts.call("send", [line], [int(ahead), *map(encode, messages)])
    except (Unavailable, RedisError, OSError) as error:
        for message in messages:
            unsent(message, type(error).__name__)


@cache
def _scripts() -> Scripts:
    return Scripts(connection.default())


def unsent(message: Message, error: str) -> None:
    """Log that a message could not be sent."""
    log.warning("publish.failed", job_id=message.job_id, error=error)


def list_of(queue: str, priority: int) -> str:
    """The Redis list that Celery's workers pop a queue's messages of this priority from."""
    return f"{queue}{PRIORITY_MARK}{priority}" if priority else queue


def encode(message: Message) -> str:
    """The message as kombu keeps it in Redis."""
    task_id = f"{message.job_id}.{message.epoch}"
    args = [message.job_id, message.epoch]
    return json.dumps(
        {
            "body": b64encode(json.dumps([args, {}, EMBEDDED]).encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                **PLAIN,
                "task": task_of(message.job_id, message.queue),
                "id": task_id,
                "root_id": task_id,
                "argsrepr": f"('{message.job_id}', {message.epoch})",
                "origin": f"gen{os.getpid()}@{socket.gethostname()}",
            },
            "properties": {
                "correlation_id": task_id,
                "reply_to": "",
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": message.queue},
                "priority": message.priority,
                "body_encoding": "base64",
                "delivery_tag": str(uuid4()),
            },
        }
    )
