"""Logs: one format for all, with the ids that are bound."""

from __future__ import annotations

import json
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from gunicorn.glogging import SafeAtoms

from server.logs import AccessFields, QuietProbes, catch_strays, configure_logs
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


def access_record(**changes: Any) -> logging.LogRecord:
    """What Gunicorn logs for a request."""
    atoms = {
        "h": "10.0.0.9",
        "m": "POST",
        "U": "/v1/videos",
        "H": "HTTP/1.1",
        "s": "200",
        "b": "12",
        "B": 12,
        "M": 34,
        "D": 34567,
        "{x-request-id}o": "abc",
        **changes,
    }
    form = '%(h)s "%(m)s %(U)s %(H)s" %(s)s %(b)s %(M)sms'
    return logging.LogRecord("gunicorn.access", 20, "", 0, form, (SafeAtoms(atoms),), None)


def test_an_access_line_has_the_request_id_and_its_fields(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs(load_settings(LOG_FORMAT="json"))
    logging.getLogger("gunicorn.access").handle(access_record())
    line = json.loads(capsys.readouterr().err)
    assert line["event"] == '10.0.0.9 "POST /v1/videos HTTP/1.1" 200 12 34ms'
    fields = ("request_id", "method", "path", "status", "bytes", "duration_s", "client")
    assert [line[name] for name in fields] == [
        "abc",
        "POST",
        "/v1/videos",
        200,
        12,
        0.034567,
        "10.0.0.9",
    ]


def test_people_see_the_access_line_s_text_and_id_only(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(load_settings(LOG_FORMAT="console"))
    logging.getLogger("gunicorn.access").handle(access_record())
    line = capsys.readouterr().err
    assert "request_id=abc" in line
    assert "duration_s" not in line


def test_an_answer_that_the_app_did_not_make_has_no_request_id() -> None:
    record = access_record(**{"{x-request-id}o": "-"})
    assert AccessFields().filter(record) is True
    assert not hasattr(record, "request_id")


def test_a_path_cannot_pass_for_another_line() -> None:
    record = access_record(U="/x\nERROR \x1b[31mall is lost")
    AccessFields().filter(record)
    assert record.getMessage().count("\n") == 0
    assert "/x\\x0aERROR \\x1b[31mall is lost" in record.getMessage()


def test_a_line_that_is_no_access_line_is_left_as_it_is() -> None:
    record = logging.LogRecord("gunicorn.access", 20, "", 0, "%s", ("plain",), None)
    assert AccessFields().filter(record) is True
    assert record.getMessage() == "plain"


Catch = Callable[[Callable[[], object]], str]


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Catch]:
    """What is logged while something is done with catch_strays in force."""
    for name in ("excepthook", "unraisablehook"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)

    def log_of(action: Callable[[], object]) -> str:
        configure_logs(load_settings(LOG_FORMAT="json"))
        catch_strays()
        action()
        return capsys.readouterr().err

    yield log_of
    logging.captureWarnings(False)


def fail() -> None:
    raise ValueError("stray")


def in_thread(target: Callable[[], object]) -> None:
    thread = threading.Thread(target=target, name="worker-bee")
    thread.start()
    thread.join()


def test_an_exception_that_nobody_caught_is_one_line(caught: Catch) -> None:
    line = json.loads(caught(lambda: sys.excepthook(ValueError, ValueError("stray"), None)))
    assert (line["event"], line["level"]) == ("uncaught exception", "critical")
    assert "ValueError: stray" in line["exception"]


def test_an_exception_that_ends_a_thread_is_one_line(caught: Catch) -> None:
    line = json.loads(caught(lambda: in_thread(fail)))
    assert line["event"] == "uncaught exception in thread worker-bee"
    assert "ValueError: stray" in line["exception"]


def test_a_thread_that_leaves_by_sys_exit_is_no_news(caught: Catch) -> None:
    assert caught(lambda: in_thread(sys.exit)) == ""


def test_ctrl_c_is_left_to_python(caught: Catch) -> None:
    text = caught(lambda: sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None))
    assert text.strip() == "KeyboardInterrupt"


def test_an_exception_in_a_destructor_is_one_line(caught: Catch) -> None:
    class Broken:
        def __del__(self) -> None:
            fail()

    line = json.loads(caught(Broken))
    assert "ValueError: stray" in line["exception"]


def test_a_warning_is_one_line(caught: Catch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        line = json.loads(caught(lambda: warnings.warn("old ways", UserWarning, stacklevel=1)))
    assert (line["logger"], line["level"]) == ("py.warnings", "warning")
    assert "UserWarning: old ways" in line["event"]
