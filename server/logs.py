"""Logs: one format for our lines, Gunicorn's and every library's, on stderr.

What it is not: metrics. Lines carry `request_id` and `job_id` where structlog's context variables
hold them; Gunicorn writes its access lines when those are gone, so they take the id from the
answer's head. Under LOG_FORMAT=json every line is one JSON object, tracebacks and warnings too.
"""

from __future__ import annotations

import logging
import logging.config
import os
import sys
import threading
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from server.settings import LogFormat, Settings

# Probes come every few seconds for ever; their successes would drown the rest.
_QUIET = ("GET /health ", "GET /v2/health/", "GET /metrics ", "HEAD /health ")
# What an access line holds beside its text; Gunicorn's names for it are in its documentation
# ("Identifier" of access_log_format). The text has most of it already: people get the id alone.
_ACCESS_FIELDS = ("method", "path", "status", "bytes", "duration_s", "client")


class QuietProbes(logging.Filter):
    """Drops access lines of probes that answered 2xx."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is kept."""
        line = record.getMessage()
        return not (any(path in line for path in _QUIET) and '" 2' in line)


class AccessFields(logging.Filter):
    """Gives Gunicorn's access lines their request id and fields; drops none."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always True."""
        if not isinstance(record.args, dict):
            return True
        atoms: dict[str, Any] = record.args
        path = atoms["U"] = _printable(str(atoms["U"]))
        found = {
            "request_id": str(atoms["{x-request-id}o"]),
            "method": atoms["m"],
            "path": path,
            "status": int(atoms["s"]),
            "bytes": atoms["B"],
            "duration_s": atoms["D"] / 1e6,
            "client": atoms["h"],
        }
        # "-" is Gunicorn's word for nothing: an answer that the app has not made has no id.
        vars(record).update({name: value for name, value in found.items() if value != "-"})
        return True


def _printable(text: str) -> str:
    """Without line breaks and other signs by which a path could pass for more lines."""
    return "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in text)


def catch_strays() -> None:
    """Log what would go to stderr in a shape of its own: warnings, and exceptions that nobody
    caught, in the main thread, in others and in destructors.
    """
    log = logging.getLogger("server.logs")
    # Gunicorn's master has no structlog set up; the standard library's loggers end in one format.
    logging.captureWarnings(True)

    def main(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
            return
        log.critical("uncaught exception", exc_info=error)

    def thread(stray: threading.ExceptHookArgs) -> None:
        if issubclass(stray.exc_type, SystemExit):
            return
        name = stray.thread.name if stray.thread else "unknown"
        error = stray.exc_value or stray.exc_type()
        log.critical("uncaught exception in thread %s", name, exc_info=error)

    def unraisable(stray: sys.UnraisableHookArgs) -> None:
        log.error(
            "%s: %r",
            stray.err_msg or "ignored exception in",
            stray.object,
            exc_info=stray.exc_value,
        )

    sys.excepthook, threading.excepthook, sys.unraisablehook = main, thread, unraisable


def configure_logs(settings: Settings) -> None:
    """Set up structlog and the standard library's logging for this process."""
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    logging.config.dictConfig(logging_config(settings))


def logging_config(settings: Settings) -> dict[str, Any]:
    """A logging.config dictionary; Gunicorn takes the same as `logconfig_dict`."""
    level = settings.log_level.upper()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": [*_shared(), _extras(settings.log_format)],
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    *_renderers(settings.log_format),
                ],
            }
        },
        "filters": {"quiet": {"()": QuietProbes}, "fields": {"()": AccessFields}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stderr",
                "formatter": "line",
            }
        },
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {
            "gunicorn.error": {"level": level, "handlers": [], "propagate": True},
            "gunicorn.access": {
                "level": "INFO",
                "handlers": [],
                "filters": ["quiet", "fields"],
                "propagate": True,
            },
            "alembic": {"level": "WARNING"},
            "werkzeug": {"level": level},
        },
    }


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_process,
        structlog.processors.StackInfoRenderer(),
    ]


def _extras(log_format: LogFormat) -> Processor:
    more = _ACCESS_FIELDS if log_format is LogFormat.JSON else ()
    return structlog.stdlib.ExtraAdder(["request_id", *more])


def _add_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The process id: after a fork or a reload two of them write to one log."""
    event["pid"] = os.getpid()
    return event


def _renderers(log_format: LogFormat) -> list[Processor]:
    if log_format is LogFormat.JSON:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    ]
