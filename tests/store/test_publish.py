"""The message that is written by hand is the one that Celery would have written."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest
from redis import Redis

from tasks import publish
from tasks.celery import app
from tasks.store.message import Message
from tests.support.valkey import Valkey


def popped(redis: Redis, key: str) -> dict[str, Any]:
    """The one message in a list, its body decoded; without what is random or says where results go."""
    (raw,) = redis.lrange(key, 0, -1)
    message: dict[str, Any] = json.loads(raw)
    message["body"] = json.loads(b64decode(message["body"]))
    del message["properties"]["delivery_tag"], message["properties"]["reply_to"]
    redis.delete(key)
    return message


@pytest.mark.parametrize("queue", ["api", "gpu", "api.openrouter"])
@pytest.mark.parametrize("priority", [0, 3, 9])
def test_a_message_is_as_celery_writes_it(valkey: Valkey, queue: str, priority: int) -> None:
    message = Message(job_id="job_0123456789abcdef", epoch=7, queue=queue, priority=priority)
    key = publish.list_of(queue, priority)
    with app.connection_for_write(valkey.url) as connection:
        app.send_task(
            publish.task_of("job_a", queue),
            args=(message.job_id, message.epoch),
            task_id=f"{message.job_id}.{message.epoch}",
            queue=queue,
            priority=priority,
            ignore_result=True,
            connection=connection,
        )
    celerys = popped(valkey.client, key)
    publish.send([message], valkey.client)
    assert popped(valkey.client, key) == celerys


def test_messages_of_several_queues_keep_their_order(valkey: Valkey) -> None:
    jobs = [("a", "api"), ("b", "api"), ("c", "gpu"), ("d", "api")]
    publish.send([Message(job_id=name, epoch=0, queue=queue, priority=0) for name, queue in jobs], redis=valkey.client)
    oldest_first = [json.loads(raw)["headers"]["id"] for raw in reversed(valkey.client.lrange("api", 0, -1))]
    assert oldest_first == ["a.0", "b.0", "d.0"]
    assert valkey.client.llen("gpu") == 1
