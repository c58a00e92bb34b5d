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
    """Send this project's events and everybody else's records to stderr, in one form.

    Ours go there at once and not through logging, whose handlers let one thread in at a time: with many calls in
    flight that took three times the CPU.
    """
    here = settings.get()
    level = logging.getLevelNamesMapping()[here.log_level.upper()]
    rendered: list[Processor] = [mask, structlog.processors.format_exc_info, _renderer(here.log_format)]
    structlog.configure(
        processors=[*SHARED, *rendered],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _renderer(form: str) -> Processor:
    if form == "json":
        return structlog.processors.JSONRenderer()
    # Plain: a traceback with the values of variables would show prompts.
    plain = structlog.dev.plain_traceback
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
