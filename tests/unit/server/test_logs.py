"""Logs: one format for all, with the ids that are bound."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from server.logs import QuietProbes, configure_logs
from server.settings import load_settings


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Give the root logger its handlers back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def test_our_lines_and_the_standard_library_s_have_one_json_shape(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs(load_settings(LOG_FORMAT="json"))
    with structlog.contextvars.bound_contextvars(job_id="video_1"):
        structlog.get_logger("ours").info("made", frames=3)
        logging.getLogger("theirs").warning("odd %s", "thing")
    ours, theirs = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["frames"], ours["job_id"]) == ("made", 3, "video_1")
    assert (theirs["event"], theirs["level"], theirs["logger"]) == (
        "odd thing",
        "warning",
        "theirs",
    )
    assert ours.keys() - {"frames"} == theirs.keys()


def test_an_exception_is_part_of_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(load_settings(LOG_FORMAT="json"))
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger("ours").exception("failed")
    assert "ValueError: broken" in json.loads(capsys.readouterr().err)["exception"]


def test_the_console_format_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(load_settings(LOG_FORMAT="console"))
    structlog.get_logger("ours").info("made", frames=3)
    line = capsys.readouterr().err
    assert "made" in line
    assert "frames=3" in line


def test_lines_below_the_level_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(load_settings(LOG_LEVEL="warning"))
    structlog.get_logger("ours").info("small talk")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ('127.0.0.1 "GET /health HTTP/1.1" 200 10 1ms', False),
        ('127.0.0.1 "GET /v2/health/ready HTTP/1.1" 200 10 1ms', False),
        ('127.0.0.1 "GET /health HTTP/1.1" 503 10 1ms', True),
        ('127.0.0.1 "GET /v1/videos HTTP/1.1" 200 10 1ms', True),
    ],
)
def test_successful_probes_are_left_out_of_the_access_log(line: str, kept: bool) -> None:
    record = logging.LogRecord("gunicorn.access", logging.INFO, "", 0, line, None, None)
    assert QuietProbes().filter(record) is kept
