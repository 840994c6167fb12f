"""Downloads, thumbnails, events and HLS."""

from __future__ import annotations

import json
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from server.http import playback
from server.jobs.database import StoreError
from server.jobs.job import Job
from tests.unit.server.http.house import House
from trans_dh_service.plan import Plan, save_plan, segment_path
from trans_dh_service.task import Loop


@pytest.fixture
def job_id(house: House, video_bytes: bytes, audio_bytes: bytes) -> str:
    """A queued job."""
    sent = {"video": ("v.mp4", video_bytes), "audio": ("a.wav", audio_bytes)}
    made: str = house.send(sent).json["id"]
    return made


def test_a_finished_video_is_downloaded_whole(
    house: House, job_id: str, result_bytes: bytes
) -> None:
    house.complete(result_bytes)
    answer = house.get(f"/v1/videos/{job_id}/content")
    assert (answer.status_code, answer.mimetype, answer.data) == (200, "video/mp4", result_bytes)
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["ETag"]


def test_a_range_gives_that_part(house: House, job_id: str, result_bytes: bytes) -> None:
    house.complete(result_bytes)
    path = f"/v1/videos/{job_id}/content"
    part = house.get(path, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.data) == (206, result_bytes[10:20])
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(result_bytes)}"
    tail = house.get(path, headers={"Range": "bytes=-5"})
    assert tail.data == result_bytes[-5:]
    wrong = house.get(path, headers={"Range": "bytes=99999999-"})
    assert wrong.status_code == 416
    assert wrong.headers["Content-Range"] == f"bytes */{len(result_bytes)}"


def test_etag_and_if_range_are_honoured(house: House, job_id: str, result_bytes: bytes) -> None:
    house.complete(result_bytes)
    path = f"/v1/videos/{job_id}/content"
    etag = house.get(path).headers["ETag"]
    assert house.get(path, headers={"If-None-Match": etag}).status_code == 304
    same = house.get(path, headers={"Range": "bytes=0-0", "If-Range": etag})
    assert same.status_code == 206
    other = house.get(path, headers={"Range": "bytes=0-0", "If-Range": '"old"'})
    assert other.status_code == 200


def test_a_head_request_tells_the_size_only(house: House, job_id: str, result_bytes: bytes) -> None:
    house.complete(result_bytes)
    answer = house.ask("HEAD", f"/v1/videos/{job_id}/content")
    assert (answer.content_length, answer.data) == (len(result_bytes), b"")


def test_the_thumbnail_is_a_small_jpeg_made_once(
    house: House, job_id: str, result_bytes: bytes
) -> None:
    house.complete(result_bytes)
    path = f"/v1/videos/{job_id}/content?variant=thumbnail"
    answer = house.get(path)
    assert answer.mimetype == "image/jpeg"
    assert answer.data[:3] == b"\xff\xd8\xff"
    house.files.thumbnail(job_id).write_bytes(b"\xff\xd8\xffkept")
    assert house.get(path).data == b"\xff\xd8\xffkept"


def test_an_unknown_variant_is_refused(house: House, job_id: str, result_bytes: bytes) -> None:
    house.complete(result_bytes)
    answer = house.get(f"/v1/videos/{job_id}/content?variant=spritesheet")
    assert (answer.status_code, answer.json["error"]["param"]) == (400, "variant")


def test_before_the_end_there_is_nothing_to_download_and_no_reason_to_retry(
    house: House, job_id: str
) -> None:
    answer = house.get(f"/v1/videos/{job_id}/content")
    assert (answer.status_code, answer.json["error"]["code"]) == (404, "not_ready")
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("end", ["failed", "cancelled", "gone"])
def test_a_video_that_will_never_come_says_why(
    house: House, job_id: str, result_bytes: bytes, end: str
) -> None:
    if end == "failed":
        house.fail("the reason")
    elif end == "cancelled":
        house.store.cancel(job_id)
    else:
        house.complete(result_bytes)
        house.files.result(job_id).unlink()
    error = house.get(f"/v1/videos/{job_id}/content").json["error"]
    words = {"failed": "the reason", "cancelled": "was cancelled", "gone": "is gone"}
    assert words[end] in error["message"]


def plan_of(house: House, job_id: str, segments_done: int) -> Path:
    work_dir = house.files.work_dir(job_id)
    work_dir.mkdir()
    save_plan(work_dir, Plan(Fraction(25), 150, 50, 64, 48, 25, Loop.PINGPONG, 6.0, "x"))
    for index in range(segments_done):
        segment_path(work_dir, index).write_bytes(b"G" * 188)
    return work_dir


def test_a_running_job_is_played_by_a_playlist_that_grows(house: House, job_id: str) -> None:
    house.claim()
    work_dir = plan_of(house, job_id, 2)
    answer = house.get(f"/v1/videos/{job_id}/stream.m3u8")
    assert answer.mimetype == "application/vnd.apple.mpegurl"
    assert answer.headers["Cache-Control"] == "no-cache"
    text = answer.text
    assert text.startswith("#EXTM3U")
    assert "segments/1.ts" in text
    assert "#EXT-X-ENDLIST" not in text
    segment = house.get(f"/v1/videos/{job_id}/segments/1.ts")
    assert (segment.mimetype, segment.data) == ("video/mp2t", b"G" * 188)
    assert house.get(f"/v1/videos/{job_id}/segments/2.ts").status_code == 404
    segment_path(work_dir, 2).touch()
    assert "#EXT-X-ENDLIST" in house.get(f"/v1/videos/{job_id}/stream.m3u8").text


@pytest.mark.parametrize("end", ["no plan", "no segment", "cancelled"])
def test_there_is_no_playlist_before_the_first_segment_or_without_a_video(
    house: House, job_id: str, end: str
) -> None:
    if end != "no plan":
        plan_of(house, job_id, 0 if end == "no segment" else 2)
    if end == "cancelled":
        house.store.cancel(job_id)
    answer = house.get(f"/v1/videos/{job_id}/stream.m3u8")
    assert (answer.status_code, answer.json["error"]["code"]) == (404, "not_ready")


def events_of(text: str) -> list[tuple[str, Any]]:
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def soon(call: Any) -> threading.Thread:
    thread = threading.Timer(0.2, call)
    thread.start()
    return thread


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playback, "_LOOK_S", 0.02)


def test_events_follow_a_job_to_its_end(house: House, job_id: str, result_bytes: bytes) -> None:
    thread = soon(lambda: house.complete(result_bytes))
    answer = house.get(f"/v1/videos/{job_id}/events")
    assert answer.mimetype == "text/event-stream"
    text = answer.text
    thread.join()
    assert text.startswith("retry: 2000\n\n")
    seen = events_of(text)
    assert seen[0][0] == "progress"
    assert seen[0][1]["queue_position"] == 1
    assert (seen[-1][0], seen[-1][1]["progress"]) == ("completed", 100)


def test_events_of_a_job_that_has_ended_are_one_event(house: House, job_id: str) -> None:
    house.fail("x")
    assert [name for name, _ in events_of(house.get(f"/v1/videos/{job_id}/events").text)] == [
        "failed"
    ]


def test_events_end_when_the_job_is_deleted(house: House, job_id: str) -> None:
    thread = soon(lambda: house.store.delete(job_id))
    seen = events_of(house.get(f"/v1/videos/{job_id}/events").text)
    thread.join()
    assert seen[-1] == ("deleted", {"id": job_id, "deleted": True})


def test_events_end_when_the_worker_does(house: House, job_id: str) -> None:
    thread = soon(house.state.draining.set)
    text = house.get(f"/v1/videos/{job_id}/events").text
    thread.join()
    assert text.endswith(": this worker ends\n\n")


def test_a_quiet_stream_is_pinged(
    house: House, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(playback, "_PING_S", 0.05)
    thread = soon(lambda: house.store.cancel(job_id))
    assert ": ping\n\n" in house.get(f"/v1/videos/{job_id}/events").text
    thread.join()


def test_a_store_that_is_busy_does_not_end_a_stream(
    house: House, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = house.store.get
    calls: list[int] = []

    def flaky(wanted: str) -> Job | None:
        calls.append(1)
        if 1 < len(calls) < 4:
            raise StoreError("busy")
        return real(wanted)

    def busy_position(_job_id: str) -> int | None:
        raise StoreError("busy")

    monkeypatch.setattr(house.store, "get", flaky)
    monkeypatch.setattr(house.store, "position", busy_position)
    thread = soon(lambda: house.store.cancel(job_id))
    seen = events_of(house.get(f"/v1/videos/{job_id}/events").text)
    thread.join()
    assert [name for name, _ in seen] == ["cancelled"]


def test_streams_are_bounded_and_places_come_back(
    house: House, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/v1/videos/{job_id}/events"
    limit = house.settings.max_event_streams
    held = [house.client.get(path, buffered=False) for _ in range(limit)]
    full = house.get(path)
    assert (full.status_code, full.headers["Retry-After"]) == (429, "5")
    assert "4 event streams" in full.json["error"]["message"]
    for answer in held:
        answer.close()
    again = house.client.get(path, buffered=False)
    assert again.status_code == 200
    again.close()
    time.sleep(0)
