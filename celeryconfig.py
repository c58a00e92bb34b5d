"""Every Celery setting. Imports nothing of ours but the form of REDIS_URL: task modules are named as strings.

The reasons behind the unusual ones are in docs/decisions/0001 and 0002.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from dotenv import load_dotenv
from redis.backoff import NoBackoff
from redis.retry import Retry

from tasks.domain import redis_address
from tasks.domain.redis_address import HEALTH_S, Tls

load_dotenv(os.environ.get("TANDEM_ENV_FILE", ".env"))

# Celery lets these two override what is set here. Messages, records and the rule that finds lost messages must be on
# one Redis, so there is one variable for it.
for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
    os.environ.pop(name, None)

address = redis_address.parse("redis://127.0.0.1:6379/0")
with suppress(ValueError):  # one that cannot be read is refused in tasks/preflight.py, in a sentence
    address = redis_address.parse(os.environ.get("REDIS_URL") or "redis://127.0.0.1:6379/0")
broker_url = address.celery_url()
# Of Celery's own kind, but one that a Redis that is away does not wedge.
_kind = "SentinelBackend" if address.kind == "sentinel" else "Backend"
result_backend = f"tasks.backend:{_kind}+{address.backend_url()}"
if address.kind == "tls":
    files = {name: os.environ.get(f"TANDEM_REDIS_{name.upper()}", "") for name in ("ca", "cert", "key")}
    broker_use_ssl = redis_backend_use_ssl = Tls(**files).options()

imports = ("tasks.preflight", "tasks.gpu", "tasks.api", "tasks.batch", "tasks.worker")
task_default_queue = "api"
task_routes = {"tasks.gpu.*": {"queue": "gpu"}, "tasks.api.*": {"queue": "api"}}

# Messages and results carry ids, so JSON is enough; pickle would execute what it reads.
task_serializer = "json"
result_serializer = "json"
accept_content = ["json"]
result_accept_content = ["json"]

# The record decides what is done, so a message may go as soon as it is read. Workers do not even note that they have it
# (docs/decisions/0007), so there is no visibility timeout.
task_acks_late = False
task_ignore_result = True
result_backend_always_retry = True
# One for all threads of a worker: else each slot that ever ran a shard keeps a pool of connections of its own.
result_backend_thread_safe = True
task_track_started = False

# Priorities are decided at the pop: what sits prefetched in a worker can no longer be overtaken.
worker_prefetch_multiplier = 1
worker_disable_prefetch = True

# Workers outlive Redis: they try again for ever, and a supervisor restarts those that give up all the same.
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
worker_cancel_long_running_tasks_on_connection_loss = False
broker_transport_options = {
    "socket_timeout": 5,
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "socket_keepalive_options": {socket.TCP_USER_TIMEOUT: 10_000},
    # A consumer on a half-open connection is deaf for twice that and a second.
    "health_check_interval": HEALTH_S,
}
redis_socket_timeout = 5.0
redis_socket_connect_timeout = 3.0
redis_socket_keepalive = address.kind != "unix"
redis_backend_health_check_interval = HEALTH_S
if address.kind == "sentinel":
    # Without redis-py's own ten tries: one that is away would hold up each new connection by seconds.
    timeouts = {"socket_timeout": 3, "socket_connect_timeout": 3, "retry": Retry(NoBackoff(), 0)}
    broker_transport_options |= {"master_name": address.service, "sentinel_kwargs": timeouts}
    result_backend_transport_options = {"master_name": address.service, "sentinel_kwargs": timeouts}

# Flower watches by events, and turns them on in all workers every few seconds (its --enable-events). Where nobody
# listens they would cost a third of the loop's work. Remote control stays on, for that, and because threads workers
# hang after a Redis restart without it.
worker_send_task_events = False
worker_enable_remote_control = True

worker_hijack_root_logger = False
worker_redirect_stdouts = False
