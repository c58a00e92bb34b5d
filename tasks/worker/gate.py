"""Whether this worker consumes. Shut while its engine is not ready; messages then go to other workers or wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Gate:
    """Opens and shuts the queues of a Celery worker, from any thread.

    What is selected in `app.amqp.queues` is what the consumer takes up again after a lost connection, so the gate
    stays as it is over a restart of Redis.
    """

    def __init__(self, worker: Any, queues: Sequence[str]) -> None:
        self._worker = worker
        self.queues = tuple(queues)
        self.is_open = True

    def open(self) -> None:
        """Consume from now on."""
        self.is_open = True
        self._soon("add_task_queue")

    def shut(self) -> None:
        """Consume no more; what has been popped already is still run."""
        self.is_open = False
        self._soon("cancel_task_queue")

    def _soon(self, change: str) -> None:
        consumer = getattr(self._worker, "consumer", None)
        for queue in self.queues:
            if consumer is not None and consumer.task_consumer is not None:
                consumer.call_soon(self._apply, consumer, change, queue)
            elif change == "cancel_task_queue":
                self._worker.app.amqp.queues.deselect(queue)
            else:
                queues = self._worker.app.amqp.queues
                queues.select_add(queues[queue])

    def _apply(self, consumer: Any, change: str, queue: str) -> None:
        # Asked for twice in a row, the last word counts.
        if (change == "add_task_queue") == self.is_open:
            getattr(consumer, change)(queue)
