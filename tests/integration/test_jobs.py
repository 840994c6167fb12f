"""Jobs over HTTP on a real server: OpenAI's client, HeyGem's, streams, cancel, broken uploads."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
import requests
from openai import NotFoundError, OpenAI
from openai.types import Video

from tests.integration.clips import small_video, tone
from tests.integration.server import Server, start_server
from tests.unit.server.http.house import FORM, form

KEY = "correct horse"
HEADERS = {"X-API-Key": KEY}
LIMIT_BYTES = 8_000_000
PLAYED_S = 20.0  # long enough to be looked at while it is made, on a fast machine, too


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server for this module; it asks for a key."""
    env = {"API_KEY": KEY, "SEGMENT_S": "0.5", "MAX_UPLOAD_BYTES": str(LIMIT_BYTES)}
    with start_server(env) as running:
        yield running


def submit(server: Server, seconds: float, **headers: str) -> dict[str, Any]:
    with small_video().open("rb") as video, tone(seconds).open("rb") as audio:
        answer = requests.post(
            f"{server.base_url}/v1/videos",
            files={"video": video, "audio": audio},
            headers={**HEADERS, **headers},
            timeout=60,
        )
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def ask(server: Server, path: str, method: str = "GET", **more: Any) -> requests.Response:
    return requests.request(method, server.base_url + path, headers=HEADERS, timeout=60, **more)


def wait_status(server: Server, job_id: str, *wanted: str, timeout_s: float = 90) -> dict[str, Any]:
    def reached() -> dict[str, Any] | None:
        body: dict[str, Any] = ask(server, f"/v1/videos/{job_id}").json()
        return body if body["status"] in wanted else None

    found: dict[str, Any] = server.wait(reached, f"status {wanted}", timeout_s, every_s=0.1)
    return found


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
def test_the_official_openai_client_makes_fetches_and_deletes_a_video(server: Server) -> None:
    client = OpenAI(api_key=KEY, base_url=f"{server.base_url}/v1", max_retries=0)
    made = client.post(
        "/videos",
        cast_to=Video,
        body={"prompt": "say it", "model": "viseme"},
        files=[
            ("input_reference", ("me.mp4", small_video().read_bytes(), "video/mp4")),
            ("audio", ("voice.wav", tone(1.0).read_bytes(), "audio/wav")),
        ],
        options={"headers": {"Content-Type": "multipart/form-data"}},
    )
    assert made.status == "queued"
    done = client.videos.poll(made.id)
    assert (done.status, done.progress, done.seconds) == ("completed", 100, "1")
    data = client.videos.download_content(made.id).read()
    assert data[4:8] == b"ftyp"
    assert client.videos.download_content(made.id, variant="thumbnail").read()[:2] == b"\xff\xd8"
    assert made.id in [video.id for video in client.videos.list(limit=5)]
    assert client.videos.delete(made.id).deleted
    with pytest.raises(NotFoundError):
        client.videos.retrieve(made.id)
    assert not list(server.data_dir.glob(f"*/{made.id}*"))
    client.close()


def test_a_job_is_played_and_followed_while_it_runs(server: Server, tmp_path: Path) -> None:
    job_id = submit(server, PLAYED_S)["id"]
    seen: list[tuple[str, dict[str, Any]]] = []
    played = b""
    with requests.get(
        f"{server.base_url}/v1/videos/{job_id}/events", headers=HEADERS, stream=True, timeout=60
    ) as events:
        assert events.headers["Content-Type"].startswith("text/event-stream")
        name = ""
        for line in events.iter_lines(decode_unicode=True):
            name = line.removeprefix("event: ") if line.startswith("event: ") else name
            if line.startswith("data: "):
                seen.append((name, json.loads(line.removeprefix("data: "))))
            if not played and seen and seen[-1][1]["segments_done"] > 0:
                text = ask(server, f"/v1/videos/{job_id}/stream.m3u8").text
                assert "#EXT-X-ENDLIST" not in text
                played = ask(server, f"/v1/videos/{job_id}/segments/0.ts").content
    progress = [body["progress"] for _, body in seen]
    assert progress == sorted(progress)
    assert len(set(progress)) > 3
    assert seen[-1][0] == "completed"
    (tmp_path / "0.ts").write_bytes(played)
    with av.open(str(tmp_path / "0.ts")) as segment:
        assert {stream.type for stream in segment.streams} == {"video", "audio"}
    text = ask(server, f"/v1/videos/{job_id}/stream.m3u8").text
    lengths_s = [float(part.split(",")[0]) for part in text.split("#EXTINF:")[1:]]
    assert sum(lengths_s) == pytest.approx(PLAYED_S, abs=0.05)
    assert text.endswith("#EXT-X-ENDLIST\n")


def test_a_heygem_client_gets_its_file_in_the_shared_folder(server: Server) -> None:
    temp = server.data_dir / "temp"
    shutil.copy(small_video(), temp / "face.mp4")
    shutil.copy(tone(1.0), temp / "voice.wav")
    order = {"video_url": "/code/data/temp/face.mp4", "audio_url": "voice.wav", "code": "task-1"}
    answer = ask(server, "/easy/submit", "POST", data=json.dumps(order))
    assert answer.json() == {"code": 10000, "success": True, "msg": "", "data": {"code": "task-1"}}

    def done() -> dict[str, Any] | None:
        body = ask(server, "/easy/query?code=task-1").json()
        assert (body["code"], body["data"]["code"]) == (10000, "task-1")
        data: dict[str, Any] = body["data"]
        return data if data["status"] != 1 else None

    data = server.wait(done, "the task's end", 60)
    assert (data["status"], data["result"], data["progress"]) == (2, "/task-1-r.mp4", 100)
    with av.open(str(temp / "task-1-r.mp4")) as made:
        video = made.streams.video[0]
        assert (video.width, video.height) == (data["width"], data["height"])
        assert made.duration is not None
        assert made.duration / 1000 == pytest.approx(data["video_duration"], abs=60)
    assert (temp / "face.mp4").is_file()


def test_a_running_job_is_cancelled_at_its_next_batch_and_leaves_nothing(server: Server) -> None:
    job_id = submit(server, 60.0)["id"]
    wait_status(server, job_id, "in_progress")
    server.wait(lambda: list(server.data_dir.glob(f"jobs/{job_id}/*")), "work")
    assert ask(server, f"/v1/videos/{job_id}/cancel", "POST").json()["status"] == "cancelled"
    server.wait(lambda: not list(server.data_dir.glob(f"*/{job_id}*")), "an empty disk", 5)
    assert ask(server, f"/v1/videos/{job_id}").json()["status"] == "cancelled"


def test_a_deleted_running_job_leaves_nothing(server: Server) -> None:
    job_id = submit(server, 60.0)["id"]
    wait_status(server, job_id, "in_progress")
    server.wait(lambda: list(server.data_dir.glob(f"jobs/{job_id}/*")), "work")
    assert ask(server, f"/v1/videos/{job_id}", "DELETE").json()["deleted"]
    # Once gone it must stay gone: the worker may write for one batch more.
    time.sleep(1.0)
    server.wait(lambda: not list(server.data_dir.glob(f"*/{job_id}*")), "an empty disk", 5)


def raw(server: Server, head: str, body: bytes, *, half: bool = False) -> bytes:
    """Send bytes as they are; the answer. `half` ends our side of the connection after them."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
        lines = f"POST /v1/videos HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n{head}\r\n\r\n"
        sock.sendall(lines.encode() + body)
        if half:
            sock.shutdown(socket.SHUT_WR)
        answer = b""
        while b"\r\n\r\n" not in answer and (data := sock.recv(65536)):
            answer += data
    return answer


def chunked(data: bytes, size: int = 50_000) -> bytes:
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def upload_form() -> bytes:
    video, audio = small_video().read_bytes(), tone(0.5).read_bytes()
    return form({"video": ("v.mp4", video), "audio": ("a.wav", audio)})


def leftovers(server: Server) -> list[Path]:
    return list(server.data_dir.glob("uploads/part-*"))


def test_an_upload_without_a_length_is_taken(server: Server) -> None:
    head = f"Content-Type: {FORM}\r\nTransfer-Encoding: chunked\r\nConnection: close"
    assert raw(server, head, chunked(upload_form())).startswith(b"HTTP/1.1 200")


def test_an_upload_without_a_length_is_stopped_at_the_limit(server: Server) -> None:
    head = f"Content-Type: {FORM}\r\nTransfer-Encoding: chunked\r\nConnection: close"
    body = form({"video": ("v.mp4", b"x" * LIMIT_BYTES), "audio": ("a.wav", b"x")})
    assert raw(server, head, chunked(body)).startswith(b"HTTP/1.1 413")
    server.wait(lambda: not leftovers(server), "an empty disk", 5)


def test_an_upload_that_says_it_is_too_long_is_refused_before_it_is_sent(server: Server) -> None:
    head = f"Content-Type: {FORM}\r\nContent-Length: {LIMIT_BYTES * 1000}"
    began = time.monotonic()
    assert raw(server, head, b"").startswith(b"HTTP/1.1 413")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("mode", ["length", "chunked"])
def test_an_upload_that_is_cut_off_is_refused_and_leaves_nothing(server: Server, mode: str) -> None:
    body = upload_form()
    if mode == "length":
        head = f"Content-Type: {FORM}\r\nContent-Length: {len(body)}"
        sent = body[: len(body) // 2]
    else:
        head = f"Content-Type: {FORM}\r\nTransfer-Encoding: chunked"
        sent = chunked(body)[: len(body) // 2]
    before = ask(server, "/v1/videos?limit=100").json()["data"]
    answer = raw(server, head, sent, half=True)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
    server.wait(lambda: not leftovers(server), "an empty disk", 5)
    after = ask(server, "/v1/videos?limit=100").json()["data"]
    assert len(after) == len(before)


def test_a_race_for_one_idempotency_key_makes_one_job(server: Server) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(submit, server, 0.5, **{"Idempotency-Key": "k"}) for _ in range(4)]
        found = {future.result()["id"] for future in futures}
    assert len(found) == 1
    wait_status(server, found.pop(), "completed")
