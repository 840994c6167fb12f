"""Logs: one format for our lines, Gunicorn's and every library's, on stderr.

What it is not: metrics. Lines carry `request_id` and `job_id` where structlog's context variables
hold them.
"""

from __future__ import annotations

import logging
import logging.config
import os
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from server.settings import LogFormat, Settings

# Probes come every few seconds for ever; their successes would drown the rest.
_QUIET = ("GET /health ", "GET /v2/health/", "GET /metrics ", "HEAD /health ")


class QuietProbes(logging.Filter):
    """Drops access lines of probes that answered 2xx."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is kept."""
        line = record.getMessage()
        return not (any(path in line for path in _QUIET) and '" 2' in line)


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
                "foreign_pre_chain": _shared(),
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    *_renderers(settings.log_format),
                ],
            }
        },
        "filters": {"quiet": {"()": QuietProbes}},
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
                "filters": ["quiet"],
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
