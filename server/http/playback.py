"""Watching a job and its video: download, thumbnail, events, HLS.

What it is not: making any of it, but for the thumbnail, which server/thumbnail.py makes once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

from apiflask import APIBlueprint
from flask import Response, send_file

from server.http.document import answers, media
from server.http.errors import ApiError, Problem, not_found
from server.http.service import Service, service
from server.http.shapes import ContentQuery
from server.http.videos import find, shape
from server.jobs.database import StoreError
from server.jobs.job import Job, JobState
from server.native import run_native
from server.thumbnail import make_thumbnail
from trans_dh_service.plan import playlist, segment_path

bp = APIBlueprint("playback", __name__, url_prefix="/v1/videos", tag="Playback")

_LOOK_S = 0.3
# A client that left is seen only when something is written to it.
_PING_S = 5.0
_RECONNECT_MS = 2000
_BUSY_S = 5
HLS_TYPE = "application/vnd.apple.mpegurl"


@bp.get("/<video_id>/content")
@bp.input(ContentQuery, location="query", arg_name="wanted")
@bp.doc(
    responses=answers(
        {
            200: media("The file.", "video/mp4", "image/jpeg"),
            206: media("The part that Range asked for.", "video/mp4", "image/jpeg"),
            304: {"description": "The client's copy, by ETag or date, is still good."},
        },
        400,
        404,
        416,
        503,
    )
)
def content(video_id: str, wanted: ContentQuery) -> Response:
    """Download the finished video, or a picture of it. Range, ETag and If-Range work."""
    here = service()
    job = find(here, video_id)
    path = _result(here, job)
    if wanted.variant == "thumbnail":
        path = run_native(make_thumbnail, path, here.files.thumbnail(job.id))
        return _send(path, "image/jpeg", f"{job.id}.jpg")
    return _send(path, "video/mp4", f"{job.id}.mp4")


def _send(path: Path, mimetype: str, name: str) -> Response:
    return send_file(path, mimetype=mimetype, download_name=name, conditional=True, etag=True)


def _result(here: Service, job: Job) -> Path:
    if job.state is JobState.FAILED and job.error is not None:
        raise not_found(f"video {job.id} failed: {job.error.message}", code="failed")
    if job.state is not JobState.COMPLETED:
        raise not_found(
            f"video {job.id} is {job.state.value} ({job.progress} %): there is no file yet"
            if not job.state.final
            else f"video {job.id} was cancelled: there is no file",
            code="not_ready",
        )
    path = here.files.result(job.id)
    if not path.is_file():
        raise not_found(f"the file of video {job.id} is gone from the server's disk", code="gone")
    return path


@bp.get("/<video_id>/stream.m3u8")
@bp.doc(responses=answers({200: media("The playlist.", HLS_TYPE)}, 404, 503))
def stream(video_id: str) -> Response:
    """Play while the job runs: an HLS playlist that grows until the end."""
    here = service()
    job = find(here, video_id)
    work_dir = here.files.work_dir(job.id)
    text = None if _ended_without_video(job) else playlist(work_dir, "segments/{}.ts".format)
    if text is None or "#EXTINF" not in text:
        raise not_found(f"video {job.id} is {job.state.value}: nothing to play", code="not_ready")
    headers = {"Cache-Control": "no-cache"}
    return Response(text, mimetype=HLS_TYPE, headers=headers)


def _ended_without_video(job: Job) -> bool:
    return job.state.final and job.state is not JobState.COMPLETED


@bp.get("/<video_id>/segments/<int:index>.ts")
@bp.doc(
    responses=answers(
        {
            200: media("The segment.", "video/mp2t"),
            206: media("The part that Range asked for.", "video/mp2t"),
            304: {"description": "The client's copy is still good."},
        },
        404,
        416,
        503,
    )
)
def segment(video_id: str, index: int) -> Response:
    """One segment of the playlist."""
    here = service()
    job = find(here, video_id)
    path = segment_path(here.files.work_dir(job.id), index)
    if not path.is_file():
        raise not_found(f"video {job.id} has no segment {index} yet", code="not_ready")
    return _send(path, "video/mp2t", path.name)


@bp.get("/<video_id>/events")
@bp.doc(
    responses=answers(
        {
            200: media(
                "Server-sent events named progress, then one named as the end.", "text/event-stream"
            ),
        },
        404,
        429,
        503,
    )
)
def events(video_id: str) -> Response:
    """Follow a job: an event whenever its row changes, until it ends."""
    here = service()
    job = find(here, video_id)
    if not here.streams.take():
        message = f"{here.streams.count} event streams are open (limit MAX_EVENT_STREAMS)"
        headers = {"Retry-After": str(_BUSY_S)}
        raise ApiError(Problem(429, "too_many_streams", message, headers=headers))
    response = Response(
        _follow(here, job),
        mimetype="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )
    response.call_on_close(here.streams.leave)
    return response


def _follow(here: Service, job: Job) -> Iterator[str]:
    yield f"retry: {_RECONNECT_MS}\n\n"
    last = ""
    written_at = time.monotonic()
    while True:
        text = _event(here, job)
        now = time.monotonic()
        if text and text != last:
            last, written_at = text, now
            yield text
        elif now - written_at >= _PING_S:
            written_at = now
            yield ": ping\n\n"
        if job.state.final:
            return
        if here.draining:
            # The browser comes back by itself, to the next worker.
            yield ": this worker ends\n\n"
            return
        time.sleep(_LOOK_S)
        found = _look(here, job)
        if found is None:
            yield _format("deleted", json.dumps({"id": job.id, "deleted": True}))
            return
        job = found


def _look(here: Service, job: Job) -> Job | None:
    try:
        return here.store.get(job.id)
    except StoreError:
        return job


def _event(here: Service, job: Job) -> str:
    name = job.state.value if job.state.final else "progress"
    try:
        return _format(name, json.dumps(shape(here, job).model_dump(mode="json")))
    except StoreError:
        return ""


def _format(name: str, data: str) -> str:
    return f"event: {name}\ndata: {data}\n\n"
