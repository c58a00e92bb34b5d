"""Structured logging: events with ids and numbers. Prompts, answers and keys are never logged."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from tasks import settings
from tasks.log_output import LogOutput

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
    render = _renderer(here.log_format)
    rendered: list[Processor] = [mask, structlog.processors.format_exc_info, render]
    output = _output(render)
    structlog.configure(
        processors=[*SHARED, *rendered],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(output),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(output)
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


def shield_printing() -> None:
    """Let nothing that this process prints fail it either, as Celery prints a banner when it starts."""
    for name in ("stdout", "stderr"):
        with contextlib.suppress(io.UnsupportedOperation, ValueError):
            output = LogOutput(getattr(sys, name).fileno(), lambda lines: f"{lines} lines were lost here\n")
            setattr(sys, name, output)
            setattr(sys, f"__{name}__", output)


def _output(render: Processor) -> TextIO:
    """Standard error, without its faults."""

    def lost(lines: int) -> str:
        event: EventDict = {"event": "log.lost", "lines": lines}
        for process in (*SHARED, render):
            event = process(None, "warning", event)  # type: ignore[assignment]  # the last one makes a line of it
        return f"{event}\n"

    try:
        fd = sys.stderr.fileno()
    except (io.UnsupportedOperation, ValueError):  # not a file: a test looks at what is written
        return sys.stderr
    return cast(TextIO, LogOutput(fd, lost))


def _renderer(form: str) -> Processor:
    if form == "json":
        return structlog.processors.JSONRenderer()
    # Plain: a traceback with the values of variables would show prompts.
    plain = structlog.dev.plain_traceback
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
