"""What an operator sees of a real server: its log as JSON, its metrics, its deep health."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.clips import small_video, tone
from tests.integration.server import ROOT, Server, start_server
from tests.unit.prometheus import promtool

SECONDS = 2.0
Line = dict[str, Any]


@dataclass
class Day:
    """A server that has made a video and written a text; its metrics after that."""

    server: Server
    video_id: str
    metrics: str

    def lines(self) -> list[Line]:
        """The log; every line must be a JSON object."""
        return [json.loads(line) for line in self.server.log.splitlines()]

    def sample(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.metrics)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@pytest.fixture(scope="module")
def day() -> Iterator[Day]:
    env = {"LOG_FORMAT": "json", "SEGMENT_S": "0.5", "GRACEFUL_TIMEOUT_S": "4"}
    with start_server(env) as server:
        video_id = make_video(server)
        with requests.post(
            f"{server.base_url}/v1/completions",
            json={"prompt": "Once upon a time", "max_tokens": 8, "stream": True},
            headers={"X-Request-Id": "the-text"},
            timeout=60,
        ) as answer:
            assert answer.status_code == 200, answer.text
        server.get("/no/such/route", 10, **{"X-Request-Id": "the-stray"})
        yield Day(server, video_id, server.ops("/metrics").body.decode())


def make_video(server: Server) -> str:
    with small_video().open("rb") as video, tone(SECONDS).open("rb") as audio:
        answer = requests.post(
            f"{server.base_url}/v1/videos",
            files={"video": video, "audio": audio},
            headers={"X-Request-Id": "the-video"},
            timeout=60,
        )
    assert answer.status_code == 200, answer.text
    video_id: str = answer.json()["id"]
    url = f"/v1/videos/{video_id}"
    server.wait(lambda: server.get(url).json["status"] == "completed", "a video", 90, 0.2)
    return video_id


def test_every_line_of_the_log_is_json_and_says_when_who_and_what(day: Day) -> None:
    loggers = set()
    for line in day.lines():
        assert {"event", "level", "timestamp", "logger", "pid"} <= line.keys(), line
        loggers.add(line["logger"])
    assert {"gunicorn.error", "gunicorn.access", "server.boot"} <= loggers


@pytest.mark.parametrize(
    ("request_id", "path", "status"),
    [
        ("the-video", "/v1/videos", 200),
        ("the-text", "/v1/completions", 200),
        ("the-stray", "/no/such/route", 404),
    ],
)
def test_the_access_log_has_the_request_s_id_and_fields(
    day: Day, request_id: str, path: str, status: int
) -> None:
    [line] = [
        line
        for line in day.lines()
        if line["logger"] == "gunicorn.access" and line.get("request_id") == request_id
    ]
    assert (line["path"], line["status"]) == (path, status)
    assert line["duration_s"] >= 0
    assert line["client"] == "127.0.0.1"


def test_a_job_can_be_followed_from_its_request_to_its_end(day: Day) -> None:
    mine = [line for line in day.lines() if line.get("job_id") == day.video_id]
    events = [line["event"] for line in mine]
    assert events[:2] == ["job_queued", "job_started"]
    assert events[-1] == "job_completed"
    assert events.count("segment_finished") == SECONDS / 0.5
    assert mine[0]["request_id"] == "the-video"
    strangers = ("job", "segment", "range", "dub")
    assert not [
        line for line in day.lines() if line["event"].startswith(strangers) and "job_id" not in line
    ]


def documented() -> set[str]:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| `(mouthpiece_\w+)`", text, re.MULTILINE))


def test_every_metric_is_documented_and_every_documented_one_is_there(day: Day) -> None:
    assert set(re.findall(r"^# HELP (\S+) ", day.metrics, re.MULTILINE)) == documented()


def test_all_but_a_gpu_s_figures_have_samples_after_a_video_and_a_text(day: Day) -> None:
    bare = set()
    for name in documented():
        kinds = (name, f"{name}_count")
        if not any(re.search(rf"^{kind}(?:{{| )", day.metrics, re.MULTILINE) for kind in kinds):
            bare.add(name)
    device = {name for name in documented() if "_gpu_" in name or "_device_" in name}
    assert bare <= device


def test_the_metrics_count_what_was_done(day: Day) -> None:
    assert day.sample("mouthpiece_frames_total") == pytest.approx(SECONDS * 25, abs=2)
    assert day.sample("mouthpiece_jobs", state="completed") == 1
    assert day.sample("mouthpiece_jobs_finished_total", state="completed") == 1
    assert day.sample("mouthpiece_job_failures_total", code="internal") == 0
    for name in ("job_wait", "job_first_segment", "job"):
        assert day.sample(f"mouthpiece_{name}_seconds_count") == 1
    first = day.sample("mouthpiece_job_first_segment_seconds_sum")
    assert 0 < first < day.sample("mouthpiece_job_seconds_sum")
    assert day.sample("mouthpiece_stage_seconds_total") > 0
    assert day.sample("mouthpiece_batch_size_sum", engine="viseme") > 0
    assert 0 < day.sample("mouthpiece_text_tokens_total") <= 8
    assert day.sample("mouthpiece_text_first_token_seconds_count") == 1
    assert day.sample("mouthpiece_requests_total", route="/v1/videos", method="POST") == 1
    assert day.sample("mouthpiece_requests_total", route="none", status="404") == 1
    assert day.sample("mouthpiece_rss_bytes") > 1e7
    assert day.sample("mouthpiece_phase", phase="ready") == 1
    assert day.sample("mouthpiece_store_up") == 1


def test_the_metrics_keep_prometheus_conventions(day: Day) -> None:
    done = subprocess.run(
        [promtool(), "check", "metrics"],
        input=day.metrics,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_broken_store_is_told_by_health_metrics_and_log(day: Day) -> None:
    """The last test of this module: the server is of no use afterwards."""
    assert day.server.ops("/health/deep").json["checks"]["database_connected"] is True
    with sqlite3.connect(day.server.data_dir / "mouthpiece.db", timeout=10) as database:
        database.execute("ALTER TABLE jobs RENAME TO gone")
    database.close()
    answer = day.server.ops("/health/deep")
    assert (answer.status, answer.json["status"]) == (503, "unhealthy")
    assert answer.json["checks"]["database_connected"] is False
    assert "no such table: jobs" in answer.json["problems"]["database_connected"]
    text = day.server.ops("/metrics").body.decode()
    assert "mouthpiece_store_up 0.0" in text
    assert "mouthpiece_jobs{" not in text
    assert day.server.get("/v1/videos", 10, **{"X-Request-Id": "in-vain"}).status == 503

    def failed() -> list[Line]:
        return [line for line in day.lines() if line.get("request_id") == "in-vain"]

    lines = day.server.wait(lambda: len(failed()) == 2 and failed(), "the request's lines", 10)
    assert [line["event"] for line in lines][0] == "store_failed"
    assert lines[1]["status"] == 503
    broken = day.server.wait(
        lambda: [line for line in day.lines() if "exception" in line], "a traceback", 15
    )
    assert "Traceback" in broken[0]["exception"]
