"""Structured logging: events with ids and numbers. Prompts, answers and keys are never logged."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from tasks import settings

#: Fields that could carry what a client wrote or a secret. Seen in an event they are masked, whoever logs them.
FORBIDDEN = frozenset({"prompt", "messages", "content", "request", "result", "answer", "authorization", "api_key"})

#: These say of every task that it came and went. Our own line at an attempt's end says more, and each costs CPU.
CHATTY = ("celery.worker.strategy", "celery.app.trace")

SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def mask(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blank every forbidden field."""
    for name in FORBIDDEN & event.keys():
        event[name] = "***"
    return event


def configure() -> None:
    """Send this project's events and everybody else's records through one formatter to stderr."""
    here = settings.get()
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if here.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*SHARED, mask, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(here.log_level.upper())
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
