"""Gunicorn's configuration: `gunicorn -c python:web.server 'web:create_app()'`. Options on the command line win."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
from types import FrameType
from typing import Any

import structlog

from tasks import logs, preflight, settings
from tasks.domain.keyring import LONG_ENOUGH
from tasks.settings import BadSettings
from web import prefer

log = structlog.get_logger()


def _start() -> settings.Settings:
    """The settings, or one sentence and the end."""
    preflight.keep_private()
    try:
        preflight.check()
    except BadSettings as error:
        raise SystemExit(str(error)) from None
    return settings.get()


_here = _start()

bind = f"[{_here.host}]:{_here.port}" if ":" in _here.host else f"{_here.host}:{_here.port}"
workers = _here.web_concurrency
worker_class = "web.worker.Worker"
#: An event stream or a waiting client holds a thread, and must not hold up others.
threads = 64
#: Longer than any well-behaved request; a wedged worker is replaced after it.
timeout = 120
graceful_timeout = 5
#: Longer than load balancers keep their ends (AWS: 60 s): one that is closed here first would cost them a request.
keepalive = 75
control_socket_disable = True
#: web/request_log.py writes one line per request, without query strings. Gunicorn's own would have them.
accesslog = None
#: Gunicorn's events go up to the root logger, so through this project's formatter once `on_starting` has set it.
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "loggers": {"gunicorn.error": {"level": "NOTSET", "handlers": [], "propagate": True}},
}


def on_starting(server: Any) -> None:
    """Before anything is bound: refuse to serve strangers without keys."""
    logs.configure()
    if short := settings.get().keyring.short:
        log.warning("keys.short", count=short, shorter_than=LONG_ENOUGH)
    refuse_open_doors(server.cfg.address)
    try:
        preflight.check_redis()
    except BadSettings as error:
        raise SystemExit(str(error)) from None


def on_reload(server: Any) -> None:
    """The same after a SIGHUP, which may bring other addresses."""
    refuse_open_doors(server.cfg.address)


def post_worker_init(_worker: Any) -> None:
    """Let SIGTERM send waiting clients home at once, so that a stop need not cut them off."""
    leave = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        prefer.stop()
        if callable(leave):
            leave(number, frame)

    signal.signal(signal.SIGTERM, stop)


def refuse_open_doors(addresses: list[Any]) -> None:
    """Raise SystemExit, with one sentence, when an address is not loopback and no key is configured."""
    if settings.get().keyring:
        return
    for address in addresses:
        if not is_private(address):
            raise SystemExit(
                f"refusing to serve {_named(address)} without API keys: set TANDEM_API_KEYS, or bind to 127.0.0.1"
            )


def is_private(address: Any) -> bool:
    """Whether nobody outside this machine can reach `address`: (host, port), a unix socket's path, or an fd."""
    if isinstance(address, int):
        with socket.socket(fileno=os.dup(address)) as held:
            return is_private(held.getsockname())
    if isinstance(address, str | bytes):
        return True
    try:
        found = socket.getaddrinfo(address[0] or "0.0.0.0", None)  # noqa: S104  # gunicorn takes "" for every address
    except OSError:
        return False
    return all(ipaddress.ip_address(str(one[4][0]).partition("%")[0]).is_loopback for one in found)


def _named(address: Any) -> str:
    if not isinstance(address, tuple):
        return f"file descriptor {address}"
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0] or '*'}:{address[1]}"
