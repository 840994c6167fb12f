"""An app for tests: a store, files, a state, Flask's test client; every answer is checked against
the OpenAPI document.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from server.http.app import create_app
from server.http.probes import create_ops_app
from server.jobs.files import JobFiles
from server.jobs.job import Job, JobError, JobOutcome
from server.jobs.store import open_store
from server.settings import load_settings
from server.state import Phase, WorkerState
from server.texts import Texts
from tests.unit.server.jobs.rows import LEASE_S, ME

BOUNDARY = "7f3a"


class House:
    """The app and what it stands on."""

    def __init__(self, folder: Path, texts: Texts | None = None, **settings: object) -> None:
        folders = {"data_dir": folder / "data", "weights_dir": folder / "weights"}
        self.settings = load_settings(**folders, **settings)
        self.store = open_store(self.settings)
        self.files = JobFiles(self.settings.data_dir)
        self.state = WorkerState(phase=Phase.READY)
        self.app = create_app(self.settings, self.state, self.store, self.files, texts)
        self.ops = create_ops_app(self.settings, self.state, self.store, texts)
        self.client: FlaskClient = self.app.test_client()
        self.headers: dict[str, str] = {}
        self.document: dict[str, Any] = self.app.spec  # type: ignore[assignment]

    def close(self) -> None:
        self.store.close()

    def ask(self, method: str, path: str, *, documented: bool = True, **more: Any) -> Any:
        """Send a request; the answer must be one that the document promises."""
        headers = {**self.headers, **more.pop("headers", {})}
        answer = self.client.open(path, method=method, headers=headers, buffered=True, **more)
        assert answer.headers["x-request-id"]
        if documented:
            check_answer(self.app, self.document, method, answer)
        return answer

    def get(self, path: str, **more: Any) -> Any:
        return self.ask("GET", path, **more)

    def post(self, path: str, **more: Any) -> Any:
        return self.ask("POST", path, **more)

    def send(self, parts: dict[str, Any], **more: Any) -> Any:
        """POST /v1/videos with a form: values are text, or (file name, bytes)."""
        return self.post("/v1/videos", data=form(parts), content_type=FORM, **more)

    def uploads(self) -> list[str]:
        """Names of what lies in uploads/."""
        return sorted(path.name for path in self.files.uploads.iterdir())

    def claim(self) -> Job:
        """The next job, held by a worker."""
        job = self.store.claim(ME, LEASE_S)
        assert job is not None
        return job

    def complete(self, data: bytes, **outcome: Any) -> Job:
        """Claim the next job and finish it with this file."""
        job = self.claim()
        made = self.files.root / "made.mp4"
        made.write_bytes(data)
        path = self.files.publish(made, job)
        values = {"seconds": 1.5, "width_px": 64, "height_px": 48, **outcome}
        assert self.store.complete(job, JobOutcome(str(path), bytes=len(data), **values))
        return job

    def fail(self, message: str) -> Job:
        """Claim the next job and fail it."""
        job = self.claim()
        assert self.store.fail(job, JobError("internal", message))
        return job


FORM = f"multipart/form-data; boundary={BOUNDARY}"


def form(parts: dict[str, Any]) -> bytes:
    """The bytes of a form."""
    body = b""
    for name, value in parts.items():
        for item in value if isinstance(value, list) else [value]:
            body += f"--{BOUNDARY}\r\nContent-Disposition: form-data; name={name}".encode()
            if isinstance(item, tuple):
                body += f'; filename="{item[0]}"'.encode() + b"\r\n\r\n" + item[1] + b"\r\n"
            else:
                body += b"\r\n\r\n" + str(item).encode() + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


def check_answer(app: Any, document: dict[str, Any], method: str, answer: TestResponse) -> None:
    """Assert that route, status, type and body of an answer are in the document."""
    with app.test_request_context(answer.request.path, method=method) as context:
        rule = context.request.url_rule
        assert rule is not None, f"no route {answer.request.path}"
    path = rule.rule.replace("<int:", "<").replace("<", "{").replace(">", "}")
    verb = "get" if method == "HEAD" else method.lower()
    responses = document["paths"][path][verb]["responses"]
    assert str(answer.status_code) in responses, (
        f"{method} {path} → {answer.status_code} is undocumented"
    )
    described = responses[str(answer.status_code)].get("content", {})
    if answer.status_code == 304:
        return
    assert answer.mimetype in described, f"{answer.mimetype} is not among {list(described)}"
    if answer.mimetype == "application/json" and method != "HEAD":
        schema = {**described["application/json"]["schema"], "components": document["components"]}
        jsonschema.validate(answer.json, schema)
