"""What the HTTP benchmarks share: a job posted with the moment its last byte left, and waiting for
jobs.

What it is not: the server (scripts/demo.py starts it).
"""

from __future__ import annotations

import http.client
import json
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

FINAL = ("completed", "failed", "cancelled")


@dataclass(frozen=True)
class Posted:
    """An accepted job and how long the server took after the last byte of the upload."""

    job: dict[str, Any]
    answer_s: float


def multipart(files: dict[str, Path]) -> tuple[bytes, str]:
    """A multipart/form-data body and its content type."""
    boundary = uuid.uuid4().hex
    parts = []
    for name, path in files.items():
        head = (
            f"--{boundary}\r\nContent-Disposition: form-data; "
            f'name="{name}"; filename="{path.name}"\r\n\r\n'
        )
        parts.append(head.encode() + path.read_bytes() + b"\r\n")
    parts.append(f"--{boundary}--\r\n".encode())
    return b"".join(parts), f"multipart/form-data; boundary={boundary}"


def post(base: str, video: Path, audio: Path) -> Posted:
    """Post one job over a fresh connection."""
    body, kind = multipart({"video": video, "audio": audio})
    where = urlsplit(base)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=120)
    connection.putrequest("POST", "/v1/videos")
    connection.putheader("Content-Type", kind)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    connection.send(body)
    sent = time.monotonic()
    answer = connection.getresponse()
    answer_s = time.monotonic() - sent
    text = answer.read()
    connection.close()
    if answer.status >= 300:
        raise RuntimeError(f"POST /v1/videos answered {answer.status}: {text[:500]!r}")
    return Posted(json.loads(text), answer_s)


def get(base: str, job_id: str) -> dict[str, Any]:
    """One job; tries again while a killed worker is replaced."""
    deadline = time.monotonic() + 60
    while True:
        try:
            answer = requests.get(f"{base}/v1/videos/{job_id}", timeout=30)
            answer.raise_for_status()
            job: dict[str, Any] = answer.json()
            return job
        except (requests.ConnectionError, requests.Timeout):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def wait(base: str, job_ids: list[str], timeout_s: float) -> list[dict[str, Any]]:
    """The jobs once all have ended.

    Raises:
        TimeoutError: they have not by then.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        jobs = [get(base, job_id) for job_id in job_ids]
        if all(job["status"] in FINAL for job in jobs):
            return jobs
        if time.monotonic() > deadline:
            raise TimeoutError(f"not finished after {timeout_s:g} s: {jobs}")
        time.sleep(0.3)
