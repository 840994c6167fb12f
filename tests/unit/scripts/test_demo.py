"""The demo explains what goes wrong."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import demo


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers any request with the next prepared one."""

    queue: list[tuple[int, bytes]]

    def do_GET(self) -> None:
        status, body = self.queue.pop(0)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


def prepared(*answers: tuple[int, object]) -> list[tuple[int, bytes]]:
    return [(status, json.dumps(body).encode()) for status, body in answers]


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as listener:
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listener.server_port}"
        listener.shutdown()
        thread.join()


def job(status: str, progress: int) -> dict[str, object]:
    return {"id": "video_1", "status": status, "progress": progress}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(demo.DemoError, match=r"no such file: .*face\.mp4"):
        demo.run(tmp_path / "face.mp4", tmp_path / "voice.wav", tmp_path / "out.mp4")


def test_the_servers_refusal_is_shown(server: str, tmp_path: Path) -> None:
    Answers.queue = prepared((400, {"error": {"message": "audio 'a' has no sound"}}))
    (tmp_path / "v").write_bytes(b"v")
    (tmp_path / "a").write_bytes(b"a")
    with pytest.raises(demo.DemoError, match="answered 400: audio 'a' has no sound"):
        demo.post_job(server, tmp_path / "v", tmp_path / "a")


def test_progress_is_followed_to_the_end(
    server: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "POLL_S", 0.0)
    Answers.queue = prepared(
        (200, job("queued", 0)), (200, job("in_progress", 40)), (200, job("completed", 100))
    )
    assert demo.follow(server, "video_1")["status"] == "completed"
    assert "40 %" in capsys.readouterr().out


def test_a_download_appears_whole(server: str, tmp_path: Path) -> None:
    Answers.queue = [(200, b"film" * 1000)]
    demo.fetch(server, "video_1", tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").read_bytes() == b"film" * 1000
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_a_server_that_ends_at_once_is_explained_by_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOG_LEVEL", "loud")
    with (
        pytest.raises(demo.DemoError, match="(?s)did not become ready.*LOG_LEVEL='loud'"),
        demo.running_server(tmp_path),
    ):
        pass
