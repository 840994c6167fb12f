"""What holds for every route: request ids, the key, errors, strict bodies, no CORS."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from flask import Response

from server.http.app import OPEN_ENDPOINTS
from server.jobs.database import StoreError
from tests.unit.server.http.house import House

KEY = "correct horse"


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[House]:
    """A house that asks for a key."""
    made = House(tmp_path, api_key=KEY)
    yield made
    made.close()


def routes(house: House) -> list[tuple[str, str, str]]:
    """(method, path, endpoint) of every route."""
    return [
        (method, re.sub("<[^>]*>", "0", rule.rule), rule.endpoint)
        for rule in house.app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]


def test_every_route_but_the_probes_asks_for_the_key(locked: House) -> None:
    asked = routes(locked)
    assert len(asked) > 14
    for method, path, endpoint in asked:
        answer = locked.ask(method, path, documented=False)
        assert (answer.status_code == 401) == (endpoint not in OPEN_ENDPOINTS), path


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": KEY},
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer {KEY} "},
    ],
)
def test_the_key_opens_by_either_header(locked: House, headers: dict[str, str]) -> None:
    assert locked.get("/v1/videos", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": "wrong"},
        {"X-API-Key": KEY + "x"},
        {"X-API-Key": "\xe4"},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": "Bearer"},
    ],
)
def test_anything_else_is_401_with_the_way_in(locked: House, headers: dict[str, str]) -> None:
    answer = locked.get("/v1/videos", headers=headers)
    assert answer.status_code == 401
    assert answer.json["error"]["type"] == "authentication_error"
    assert "X-API-Key" in answer.json["error"]["message"]
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_missing_key_is_told_to_heygem_clients_in_their_envelope(locked: House) -> None:
    answer = locked.get("/easy/query?code=x", documented=False)
    assert (answer.status_code, answer.json["code"]) == (401, 10002)


def test_an_unknown_path_is_not_told_apart_without_the_key(locked: House) -> None:
    assert locked.get("/nothing", documented=False).status_code == 401


def test_a_clients_request_id_comes_back_and_a_strange_one_is_replaced(house: House) -> None:
    own = house.get("/health", headers={"X-Request-Id": "abc-1"})
    assert own.headers["x-request-id"] == "abc-1"
    strange = house.get("/health", headers={"X-Request-Id": "a b <script>"})
    assert strange.headers["x-request-id"] not in ("a b <script>", "")


def test_an_unknown_route_and_method_are_told_in_the_one_body(house: House) -> None:
    missing = house.get("/nothing", documented=False)
    assert missing.status_code == 404
    assert missing.json["error"] == {
        "message": "there is no route '/nothing'; /openapi.json lists all",
        "type": "not_found_error",
        "param": None,
        "code": "not_found",
    }
    wrong = house.ask("PUT", "/v1/videos", documented=False)
    assert wrong.status_code == 405
    assert "PUT is not allowed for /v1/videos; allowed: GET, HEAD, OPTIONS, POST" in wrong.text
    assert set(wrong.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}


def test_a_busy_store_is_503_with_a_time_to_come_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_video_id: str) -> None:
        raise StoreError("database is locked")

    monkeypatch.setattr(house.store, "get", broken)
    answer = house.get("/v1/videos/x")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert "database is locked" in answer.json["error"]["message"]


@pytest.mark.parametrize("error", [RuntimeError("secret"), OSError(errno.EIO, "secret")])
def test_a_fault_of_ours_is_500_and_tells_nothing_of_the_inside(
    house: House, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(_video_id: str) -> None:
        raise error

    monkeypatch.setattr(house.store, "get", broken)
    answer = house.get("/v1/videos/x")
    assert (answer.status_code, answer.json["error"]["code"]) == (500, "internal")
    assert "secret" not in answer.text


def test_other_sites_are_not_let_in(house: House) -> None:
    answer = house.get("/health", headers={"Origin": "https://elsewhere.example"})
    names = [name for name, _ in answer.headers]
    assert not [name for name in names if name.startswith("Access-Control")]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[" * 200_000, "nested deeper"),
        (b"[" * 33 + b"]" * 33, "nested deeper than 32 levels"),
        (b'{"a": Infinity}', "Infinity is not JSON"),
        (b'{"a": "\\u0000"}', "NUL"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b"\xff\xfe", "not valid JSON"),
    ],
)
def test_json_that_is_out_of_bounds_is_400(house: House, body: bytes, words: str) -> None:
    answer = house.post("/v1/videos", data=body, content_type="application/json")
    assert (answer.status_code, answer.json["error"]["code"]) == (400, "invalid_json")
    assert words in answer.json["error"]["message"]


def test_json_within_bounds_is_read() -> None:
    from server.http.bodies import parse_json

    assert parse_json(b"[" * 32 + b"]" * 32)
    assert parse_json('{"a": [1.5, "\u4efb\\ud83d\\ude00", null, true]}') == {
        "a": [1.5, "\u4efb\U0001f600", None, True]
    }


def test_large_json_is_refused_by_its_length(house: House) -> None:
    body = b'"' + b"x" * 1024 * 1024 + b'"'
    answer = house.post("/v1/videos", data=body, content_type="application/json")
    assert (answer.status_code, answer.json["error"]["code"]) == (413, "too_large")


def test_requests_are_counted_by_route_and_status(house: House) -> None:
    house.get("/v1/videos/abc")
    text = house.get("/metrics").text
    assert 'route="/v1/videos/<video_id>",status="404"' in text
    assert "abc" not in text


def bound() -> str | None:
    found: str | None = structlog.contextvars.get_contextvars().get("request_id")
    return found


def test_lines_of_a_request_are_named_until_its_stream_ends(house: House) -> None:
    seen: list[str | None] = []

    def stream() -> Iterator[str]:
        for _ in range(2):
            seen.append(bound())
            yield "x"

    house.app.add_url_rule("/s", "s", lambda: Response(stream()))
    for name in ("one", "two"):
        answer = house.client.get("/s", headers={"X-Request-Id": name}, buffered=False)
        assert answer.get_data() == b"xx"
        answer.close()
        assert bound() is None
    assert seen == ["one", "one", "two", "two"]


def fall() -> Response:
    raise ZeroDivisionError("a fault of ours")


def test_a_plain_answer_a_file_and_a_failure_leave_no_name_behind(house: House) -> None:
    house.app.add_url_rule("/boom", "boom", fall)
    for path in ("/v1/videos", "/openapi.json", "/nowhere", "/boom"):
        house.client.get(path, headers={"X-Request-Id": "me"})
        assert bound() is None, path


def test_a_fault_s_line_has_the_traceback_and_the_request_s_id(house: House) -> None:
    house.app.add_url_rule("/boom", "boom", fall)
    processors = [structlog.contextvars.merge_contextvars]
    with structlog.testing.capture_logs(processors=processors) as lines:
        assert house.client.get("/boom", headers={"X-Request-Id": "me"}).status_code == 500
    [line] = [line for line in lines if line["event"] == "request_failed"]
    assert line["request_id"] == "me"
    assert isinstance(line["exc_info"], ZeroDivisionError)
