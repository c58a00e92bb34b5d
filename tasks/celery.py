"""The Celery app, and the one thing that all its tasks have in common: nothing leaves them."""

from __future__ import annotations

from typing import Any

import structlog
from celery import Celery, Task

log = structlog.get_logger()


class ContainedTask(Task):  # type: ignore[type-arg]
    """A task out of which no exception comes, SystemExit included.

    Celery's threads pool loses the slot of a task that raises a BaseException: eight of them, and a worker with eight
    threads consumes nothing any more.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task; what it raises is logged. What a job's failure means is for its record to say."""
        try:
            return super().__call__(*args, **kwargs)
        except BaseException as error:
            log.exception("task.broke", task=self.name, error=type(error).__name__)
            return None


app = Celery("tasks", task_cls=ContainedTask)
app.config_from_object("celeryconfig")
