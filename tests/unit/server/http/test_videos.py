"""`/v1/videos`: submitting, looking, ending."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from server.jobs.claims import Report
from server.jobs.job import JobState
from server.state import Phase
from tests.unit.server.http.house import FORM, House, form


def parts(video: bytes, audio: bytes, **more: Any) -> dict[str, Any]:
    return {"video": ("me.mp4", video), "audio": ("voice.wav", audio), **more}


def test_a_video_and_a_recording_become_a_queued_job(
    house: House, video_bytes: bytes, audio_bytes: bytes
) -> None:
    answer = house.send(parts(video_bytes, audio_bytes, loop="restart", prompt="hello"))
    assert answer.status_code == 200
    body = answer.json
    assert body["object"] == "video"
    assert body["status"] == "queued"
    assert (body["seconds"], body["size"], body["queue_position"]) == ("1.5", "64x48", 1)
    assert answer.headers["openai-poll-after-ms"] == "1000"
    job = house.store.get(body["id"])
    assert job is not None
    assert (job.request.loop, job.request.model) == ("restart", "viseme")
    assert Path(job.request.video_path).read_bytes() == video_bytes
    assert Path(job.request.audio_path).read_bytes() == audio_bytes
    assert house.uploads() == [f"{job.id}-audio.wav", f"{job.id}-video.mp4"]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({}, (False, False)),
        ({"restore": "true", "watermark": "0"}, (True, False)),
        ({"restore": "", "watermark": "TRUE"}, (False, True)),
    ],
)
def test_restoring_and_marking_are_asked_for_by_name(
    house: House,
    video_bytes: bytes,
    audio_bytes: bytes,
    sent: dict[str, str],
    kept: tuple[bool, bool],
) -> None:
    answer = house.send(parts(video_bytes, audio_bytes, **sent))
    job = house.store.get(answer.json["id"])
    assert job is not None
    assert (job.request.restore_face, job.request.watermark) == kept


def test_the_face_may_come_under_openais_name(
    house: House, video_bytes: bytes, audio_bytes: bytes
) -> None:
    wanted = {"input_reference": ("a.mp4", video_bytes), "audio": ("b", audio_bytes)}
    assert house.send(wanted).status_code == 200


def test_a_job_is_taken_while_models_still_load(
    house: House, video_bytes: bytes, audio_bytes: bytes
) -> None:
    house.state.phase = Phase.LOADING
    assert house.send(parts(video_bytes, audio_bytes)).status_code == 200


@pytest.mark.parametrize(
    ("change", "param", "words"),
    [
        ({"video": None}, "video", "the file `video` or `input_reference` is missing"),
        ({"audio": None}, "audio", "the file `audio` is missing"),
        ({"video": "text"}, "video", "must be a file, not text"),
        ({"video": [("a", b"1"), ("b", b"2")]}, "video", "one file, not 2"),
        ({"video": ("bad.mp4", b"nonsense")}, "video", "video 'bad.mp4'"),
        ({"audio": ("bad.wav", b"nonsense")}, "audio", "audio 'bad.wav'"),
        ({"video": ("empty.mp4", b"")}, "video", "empty"),
        (
            {"model": "sora-2"},
            "model",
            "'sora-2' is not known; allowed: musetalk, musetalk-v1.5, viseme,",
        ),
        ({"loop": "spin"}, "loop", "'spin' is not known; allowed: pingpong, restart"),
        ({"restore": "yes"}, "restore", "'yes' is not known; allowed: true, false"),
        ({"watermark": "2"}, "watermark", "'2' is not known; allowed: true, false"),
        ({"audio_url": "http://x/"}, "audio_url", "not enabled"),
    ],
)
def test_what_is_wrong_with_a_form_is_said_and_nothing_is_kept(
    house: House, video_bytes: bytes, audio_bytes: bytes, change: Any, param: str, words: str
) -> None:
    sent = {**parts(video_bytes, audio_bytes), **change}
    answer = house.send({name: value for name, value in sent.items() if value is not None})
    assert answer.status_code == 400
    assert answer.json["error"]["param"] == param
    assert words in answer.json["error"]["message"]
    assert house.uploads() == []
    assert house.store.counts()[JobState.QUEUED] == 0


def test_a_limit_is_named_with_its_value(
    tmp_path: Path, video_bytes: bytes, audio_bytes: bytes
) -> None:
    house = House(tmp_path, max_audio_s=0.5)
    error = house.send(parts(video_bytes, audio_bytes)).json["error"]
    assert error["code"] == "invalid_audio"
    assert "voice.wav" in error["message"]
    assert "0.5" in error["message"]
    house.close()


@pytest.mark.parametrize("field", ["video_url", "audio_url"])
def test_addresses_in_json_are_not_enabled(house: House, field: str) -> None:
    answer = house.post("/v1/videos", json={field: "http://169.254.169.254/"})
    assert answer.status_code == 400
    assert (answer.json["error"]["code"], answer.json["error"]["param"]) == ("not_enabled", field)


@pytest.mark.parametrize(
    ("kind", "body", "status", "code"),
    [
        ("application/json", b"[1]", 400, "form_needed"),
        ("application/json", b"{", 400, "invalid_json"),
        ("text/plain", b"hello", 415, "unsupported_media_type"),
        ("multipart/form-data", b"x", 400, "invalid_body"),
        (FORM, b"--7f3a\r\nContent-Disposition: form-data; name=a\r\n\r\nx", 400, "invalid_body"),
    ],
)
def test_other_bodies_are_refused_with_the_way_out(
    house: House, kind: str, body: bytes, status: int, code: str
) -> None:
    answer = house.post("/v1/videos", data=body, content_type=kind)
    assert (answer.status_code, answer.json["error"]["code"]) == (status, code)


def test_a_body_cut_off_in_a_file_is_refused_and_leaves_nothing(
    house: House, video_bytes: bytes, audio_bytes: bytes
) -> None:
    whole = form(parts(video_bytes, audio_bytes))
    answer = house.post("/v1/videos", data=whole[: len(whole) // 2], content_type=FORM)
    assert (answer.status_code, answer.json["error"]["code"]) == (400, "invalid_body")
    assert house.uploads() == []


def test_a_body_over_the_limit_is_refused_by_its_length(
    tmp_path: Path, video_bytes: bytes, audio_bytes: bytes
) -> None:
    house = House(tmp_path, max_upload_bytes=500)
    answer = house.send(parts(video_bytes, audio_bytes))
    assert answer.status_code == 413
    assert "(MAX_UPLOAD_BYTES) is 500" in answer.json["error"]["message"]
    house.close()


def test_a_body_without_a_length_is_refused_where_it_passes_the_limit(
    tmp_path: Path, video_bytes: bytes, audio_bytes: bytes
) -> None:
    import io

    house = House(tmp_path, max_upload_bytes=500)
    stream = io.BytesIO(form(parts(video_bytes, audio_bytes)))
    answer = house.post(
        "/v1/videos",
        content_type=FORM,
        environ_overrides={"wsgi.input": stream, "wsgi.input_terminated": True},
    )
    assert answer.status_code == 413
    assert house.uploads() == []
    house.close()


def test_the_same_key_gives_the_same_job_and_keeps_one_copy(
    house: House, video_bytes: bytes, audio_bytes: bytes
) -> None:
    sent = parts(video_bytes, audio_bytes)
    first = house.send(sent, headers={"Idempotency-Key": "k"}).json["id"]
    assert house.send(sent, headers={"Idempotency-Key": "k"}).json["id"] == first
    assert len(house.uploads()) == 2
    other = house.send({**sent, "loop": "restart"}, headers={"Idempotency-Key": "k"})
    assert other.status_code == 409
    assert other.headers["x-should-retry"] == "false"
    assert len(house.uploads()) == 2


@pytest.mark.parametrize("key", ["x" * 256, "a\tb"])
def test_a_key_that_cannot_be_stored_is_refused(
    house: House, video_bytes: bytes, audio_bytes: bytes, key: str
) -> None:
    answer = house.send(parts(video_bytes, audio_bytes), headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json["error"]["param"]) == (400, "Idempotency-Key")


def test_a_full_queue_is_429_with_a_time_to_come_back(
    tmp_path: Path, video_bytes: bytes, audio_bytes: bytes
) -> None:
    house = House(tmp_path, max_queued_jobs=1)
    sent = parts(video_bytes, audio_bytes)
    assert house.send(sent).status_code == 200
    answer = house.send(sent)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "30")
    assert answer.json["error"]["type"] == "rate_limit_error"
    assert len(house.uploads()) == 2
    house.close()


def test_a_draining_worker_sends_clients_to_the_next_one(house: House) -> None:
    house.state.draining.set()
    answer = house.send({})
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "draining")
    assert answer.headers["Retry-After"] == "5"


def test_a_failed_worker_takes_no_jobs_and_says_why(house: House) -> None:
    house.state.phase, house.state.reason = Phase.FAILED, "no kernel image"
    answer = house.send({})
    assert answer.status_code == 503
    assert "no kernel image" in answer.json["error"]["message"]


def test_a_nearly_full_disk_is_507_with_the_numbers(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(house.files), "free_bytes", lambda _self: 1000)
    answer = house.send({})
    assert answer.status_code == 507
    assert re.search(
        r"has 1000 bytes free.*MIN_FREE_DISK_BYTES=\d+", answer.json["error"]["message"]
    )


def test_a_disk_that_fills_up_during_the_upload_is_507(
    house: House, video_bytes: bytes, audio_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from server.http.bodies import Upload

    def full(_self: Upload, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Upload, "write", full)
    answer = house.send(parts(video_bytes, audio_bytes))
    assert (answer.status_code, answer.json["error"]["code"]) == (507, "no_space")
    assert house.uploads() == []


def test_jobs_are_listed_page_by_page(house: House, video_bytes: bytes, audio_bytes: bytes) -> None:
    made = [house.send(parts(video_bytes, audio_bytes)).json["id"] for _ in range(3)]
    page = house.get("/v1/videos?limit=2").json
    assert ([item["id"] for item in page["data"]], page["has_more"]) == (made[:0:-1], True)
    assert (page["first_id"], page["last_id"]) == (made[2], made[1])
    rest = house.get(f"/v1/videos?after={page['last_id']}").json
    assert ([item["id"] for item in rest["data"]], rest["has_more"]) == (made[:1], False)
    assert house.get("/v1/videos?order=asc&limit=1").json["first_id"] == made[0]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=up", "after=nobody"])
def test_a_wrong_page_is_refused_by_name(house: House, query: str) -> None:
    answer = house.get(f"/v1/videos?{query}")
    assert answer.status_code == 400
    assert answer.json["error"]["param"] == query.split("=")[0]


def test_an_empty_list_has_no_ends(house: House) -> None:
    body = house.get("/v1/videos").json
    assert (body["data"], body["first_id"], body["last_id"]) == ([], None, None)


def test_a_job_in_work_shows_stage_progress_and_segments(
    house: House, video_bytes: bytes, audio_bytes: bytes
) -> None:
    made = house.send(parts(video_bytes, audio_bytes)).json["id"]
    house.store.report(house.claim(), Report("render", 42, 1, 3))
    body = house.get(f"/v1/videos/{made}").json
    assert (body["status"], body["progress"], body["stage"]) == ("in_progress", 42, "render")
    assert (body["segments_done"], body["segments_total"]) == (1, 3)
    assert body["queue_position"] is None


def test_a_finished_job_says_until_when_it_is_kept(
    house: House, video_bytes: bytes, audio_bytes: bytes, result_bytes: bytes
) -> None:
    made = house.send(parts(video_bytes, audio_bytes)).json["id"]
    house.complete(result_bytes)
    answer = house.get(f"/v1/videos/{made}")
    body = answer.json
    assert (body["status"], body["progress"]) == ("completed", 100)
    assert body["expires_at"] - body["completed_at"] == 168 * 3600
    assert "openai-poll-after-ms" not in answer.headers


def test_a_failed_job_says_why(house: House, video_bytes: bytes, audio_bytes: bytes) -> None:
    made = house.send(parts(video_bytes, audio_bytes)).json["id"]
    house.fail("the reason")
    body = house.get(f"/v1/videos/{made}").json
    assert (body["status"], body["error"]["message"]) == ("failed", "the reason")


def test_cancelling_a_waiting_job_ends_it_and_removes_its_inputs(
    house: House, video_bytes: bytes, audio_bytes: bytes
) -> None:
    made = house.send(parts(video_bytes, audio_bytes)).json["id"]
    for _ in range(2):
        body = house.post(f"/v1/videos/{made}/cancel").json
        assert body["status"] == "cancelled"
    assert house.uploads() == []


def test_cancelling_a_job_in_work_leaves_its_files_to_the_worker(
    house: House, video_bytes: bytes, audio_bytes: bytes
) -> None:
    made = house.send(parts(video_bytes, audio_bytes)).json["id"]
    job = house.claim()
    assert house.post(f"/v1/videos/{made}/cancel").json["status"] == "cancelled"
    assert len(house.uploads()) == 2
    assert not house.store.held(job)


def test_deleting_removes_job_and_files(
    house: House, video_bytes: bytes, audio_bytes: bytes, result_bytes: bytes
) -> None:
    made = house.send(parts(video_bytes, audio_bytes)).json["id"]
    house.complete(result_bytes)
    body = house.ask("DELETE", f"/v1/videos/{made}").json
    assert body == {"id": made, "object": "video.deleted", "deleted": True}
    assert house.uploads() == []
    assert not house.files.result(made).exists()
    assert house.get(f"/v1/videos/{made}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/videos/x"),
        ("GET", "/v1/videos/x/content"),
        ("GET", "/v1/videos/x/events"),
        ("GET", "/v1/videos/x/stream.m3u8"),
        ("GET", "/v1/videos/x/segments/0.ts"),
        ("POST", "/v1/videos/x/cancel"),
        ("DELETE", "/v1/videos/x"),
    ],
)
def test_an_unknown_video_is_404_and_not_worth_a_retry(
    house: House, method: str, path: str
) -> None:
    answer = house.ask(method, path)
    assert answer.status_code == 404
    assert "'x'" in answer.json["error"]["message"]
    assert answer.headers["x-should-retry"] == "false"
