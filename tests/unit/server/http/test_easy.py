"""`/easy/*` as HeyGem's clients know it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from server.http.easy import read_order
from server.jobs.claims import Report
from server.jobs.database import StoreError
from server.jobs.job import JobState
from server.state import Phase
from tests.unit.server.http.house import House


@pytest.fixture
def easy(house: House, video_bytes: bytes, audio_bytes: bytes) -> House:
    """A house with v.mp4 and a.wav in temp/."""
    (house.files.temp / "v.mp4").write_bytes(video_bytes)
    (house.files.temp / "a.wav").write_bytes(audio_bytes)
    return house


def order(**changes: Any) -> dict[str, Any]:
    return {"video_url": "v.mp4", "audio_url": "a.wav", "code": "c-1", **changes}


def submit(house: House, **changes: Any) -> dict[str, Any]:
    answer = house.post("/easy/submit", data=json.dumps(order(**changes)))
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json
    assert set(body) == {"code", "success", "msg", "data"}
    return body


def query(house: House, code: str = "c-1") -> dict[str, Any]:
    answer = house.get(f"/easy/query?code={code}")
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json
    return body


def test_a_submit_is_accepted_whatever_the_content_type(easy: House) -> None:
    assert submit(easy) == {"code": 10000, "success": True, "msg": "", "data": {"code": "c-1"}}
    for index, kind in enumerate(("text/plain", "application/x-www-form-urlencoded", "")):
        body = json.dumps(order(code=f"d-{index}"))
        answer = easy.post("/easy/submit", data=body, content_type=kind)
        assert answer.json["code"] == 10000


def test_the_files_stay_the_clients(easy: House) -> None:
    submit(easy)
    job = easy.claim()
    assert not job.request.owns_inputs
    assert job.request.video_path == str(easy.files.temp / "v.mp4")


@pytest.mark.parametrize("name", ["video_url", "audio_url", "code"])
@pytest.mark.parametrize("value", ["", "  ", None, 7, []])
def test_a_missing_field_is_named(easy: House, name: str, value: Any) -> None:
    body = submit(easy, **{name: value})
    assert (body["code"], body["success"], body["data"]) == (10002, False, {})
    assert name in body["msg"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not valid JSON"),
        (b"[1]", "must be a JSON object"),
        (b"{", "not valid JSON"),
        (b'{"code": NaN}', "NaN is not JSON"),
        (b"[" * 100_000, "nested deeper"),
        (b'"\xff"', "not valid JSON"),
    ],
)
def test_a_body_that_is_no_order_is_10002(easy: House, body: bytes, words: str) -> None:
    answer = easy.post("/easy/submit", data=body)
    assert (answer.status_code, answer.json["code"]) == (200, 10002)
    assert words in answer.json["msg"]


def test_a_file_that_is_not_there_is_named_with_the_allowed_roots(easy: House) -> None:
    body = submit(easy, audio_url="/code/data/temp/nothing.wav")
    assert body["code"] == 10002
    assert str(easy.files.temp / "nothing.wav") in body["msg"]
    assert "/code/data" in body["msg"]


def test_a_file_that_cannot_be_used_is_named_with_its_path(easy: House) -> None:
    (easy.files.temp / "bad.wav").write_bytes(b"nonsense")
    body = submit(easy, audio_url="bad.wav")
    assert body["code"] == 10002
    assert str(easy.files.temp / "bad.wav") in body["msg"]


@pytest.mark.parametrize("url", ["http://x/v.mp4", "HTTPS://x/v.mp4"])
def test_addresses_are_not_enabled(easy: House, url: str) -> None:
    body = submit(easy, video_url=url)
    assert body["code"] == 10002
    assert "not enabled" in body["msg"]


def test_a_code_that_is_no_file_name_is_refused(easy: House) -> None:
    assert submit(easy, code="../../x")["code"] == 10002


def test_options_count_only_as_one() -> None:
    read = read_order(order(pn="0", chaofen="1", watermark_switch=1, unknown=5))
    assert (read.loop.value, read.restore_face, read.watermark) == ("restart", True, True)
    plain = read_order(order(chaofen=True))
    assert (plain.loop.value, plain.restore_face, plain.watermark) == ("pingpong", False, False)


def test_face_restoration_is_said_to_be_missing_where_it_is(easy: House) -> None:
    assert "chaofen is not available" in submit(easy, chaofen=1)["msg"]
    assert "chaofen" not in submit(easy, code="plain")["msg"]


def test_nothing_is_said_of_face_restoration_that_will_be_done(easy: House) -> None:
    easy.state.models = {**easy.state.models, "restorer": "ready"}
    assert "chaofen" not in submit(easy, chaofen=1)["msg"]


def test_sending_the_same_order_again_is_the_same_task(easy: House) -> None:
    submit(easy)
    assert submit(easy)["code"] == 10000
    assert easy.store.counts()[JobState.QUEUED] == 1


def test_another_order_under_a_code_in_use_is_a_duplicate(easy: House) -> None:
    submit(easy)
    assert submit(easy, pn=0)["code"] == 10005


def test_new_contents_under_old_names_are_another_order(easy: House, audio_bytes: bytes) -> None:
    submit(easy)
    (easy.files.temp / "a.wav").write_bytes(audio_bytes[:-320])
    assert submit(easy)["code"] == 10005


def test_many_more_orders_may_wait_than_uploads(
    tmp_path: Path, video_bytes: bytes, audio_bytes: bytes
) -> None:
    house = House(tmp_path, max_queued_jobs=1)
    (house.files.temp / "v.mp4").write_bytes(video_bytes)
    (house.files.temp / "a.wav").write_bytes(audio_bytes)
    codes = [submit(house, code=f"c-{index}")["code"] for index in range(11)]
    assert codes == [10000] * 10 + [9999]
    house.close()


def test_a_draining_worker_still_stores_orders(easy: House) -> None:
    easy.state.draining.set()
    assert submit(easy)["code"] == 10000


def test_a_failed_worker_is_a_system_error(easy: House) -> None:
    easy.state.phase, easy.state.reason = Phase.FAILED, "no kernel image"
    body = submit(easy)
    assert body["code"] == 9999
    assert "no kernel image" in body["msg"]


def test_a_waiting_task_runs_with_no_progress(easy: House) -> None:
    submit(easy)
    submit(easy, code="c-2")
    assert query(easy, "c-2") == {
        "code": 10000,
        "success": True,
        "msg": "",
        "data": {
            "code": "c-2",
            "status": 1,
            "progress": 0,
            "result": "",
            "msg": "waiting, 1 before it",
        },
    }


def test_a_running_task_shows_its_progress(easy: House) -> None:
    submit(easy)
    easy.store.report(easy.claim(), Report("render", 42, 1, 3))
    data = query(easy)["data"]
    assert (data["status"], data["progress"], data["msg"]) == (1, 42, "render")


def test_a_finished_task_has_its_file_and_numbers_and_stays(
    easy: House, result_bytes: bytes
) -> None:
    submit(easy)
    easy.complete(result_bytes)
    for _ in range(2):
        data = query(easy)["data"]
        assert (data["status"], data["progress"], data["result"]) == (2, 100, "/c-1-r.mp4")
        assert (data["video_duration"], data["width"], data["height"]) == (1500, 64, 48)
        assert 0 <= data["cost"] < 60
    assert (easy.files.temp / "c-1-r.mp4").read_bytes() == result_bytes


def test_a_failed_or_cancelled_task_is_status_3_with_the_reason(easy: House) -> None:
    submit(easy)
    easy.fail("the reason")
    assert query(easy)["data"]["status"] == 3
    assert query(easy)["data"]["msg"] == "the reason"
    submit(easy, code="c-2")
    job = easy.store.by_code("c-2")
    assert job is not None
    easy.store.cancel(job.id)
    data = query(easy, "c-2")["data"]
    assert (data["status"], data["msg"]) == (3, "cancelled")


def test_unknown_and_missing_codes_have_their_own_answers(house: House) -> None:
    assert query(house, "healthcheck")["code"] == 10004
    assert query(house, "")["code"] == 10002
    assert house.get("/easy/query").json["code"] == 10002


def test_whatever_goes_wrong_is_still_http_200(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_code: str) -> None:
        raise StoreError("database is locked")

    monkeypatch.setattr(house.store, "by_code", broken)
    assert query(house)["code"] == 9999
    for method, path in (("DELETE", "/easy/submit"), ("GET", "/easy/nothing")):
        answer = house.ask(method, path, documented=False)
        assert (answer.status_code, answer.json["code"]) == (200, 10002)


def test_a_body_that_is_too_large_is_still_http_200(house: House) -> None:
    answer = house.post("/easy/submit", data=b" " * (1024 * 1024 + 1))
    assert (answer.status_code, answer.json["code"]) == (200, 10002)
    assert "1048576" in answer.json["msg"]
