"""What a worker does beside tasks, as a Celery bootstep: heartbeat, sweep, engine, drain, watchdog."""

from __future__ import annotations

from tasks.celery import app
from tasks.worker.step import Duties

app.steps["worker"].add(Duties)
