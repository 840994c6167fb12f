"""`/v1/videos`: video jobs in the shape of OpenAI's Videos API.

What it is not: downloads and streams (playback.py), or the work: routes read and write rows only.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

from apiflask import APIBlueprint
from flask import Response, jsonify, request

from server.http.bodies import Upload, parse_json
from server.http.document import BODY_KEY, UPLOAD_BODY, refusals
from server.http.errors import ApiError, Problem, bad_request, not_found
from server.http.intake import (
    Source,
    check_alive,
    check_draining,
    check_space,
    look_into,
    refuse_media,
    submission,
)
from server.http.lips import check_model
from server.http.service import Service, service
from server.http.shapes import Video, VideoDeleted, VideoList, VideoPage, video_of
from server.jobs.job import Job, JobRequest, JobState
from server.jobs.store import new_job_id
from server.native import run_native
from trans_dh_service.task import Loop, MediaError

bp = APIBlueprint("videos", __name__, url_prefix="/v1/videos", tag="Videos")

POLL_AFTER_MS = 1000
_VIDEO_FIELDS = ("video", "input_reference")
_KEY_MAX = 255
_SWITCH = {"true": True, "1": True, "false": False, "0": False}


@bp.post("")
@bp.output(Video, description="The job, stored; or the one that the same key made before.")
@bp.doc(responses=refusals(400, 409, 413, 415, 429, 503, 507), extensions={BODY_KEY: UPLOAD_BODY})
def create() -> Response:
    """Give a face a voice: store a job for a video (or picture) and a recording."""
    here = service()
    check_alive(here)
    check_draining(here)
    check_space(here, request.content_length or 0)
    _need_form()
    upload_v, source_v = _upload(_VIDEO_FIELDS)
    upload_a, source_a = _upload(("audio",))
    model, loop, key = _model(here), _loop(), _idempotency_key()
    restore, watermark = _switch("restore"), _switch("watermark")
    try:
        inputs = look_into(here.settings, source_v, source_a)
    except MediaError as error:
        raise refuse_media(error) from error
    job_id = new_job_id()
    job_request = JobRequest(
        video_path=str(_keep(here, upload_v, job_id, "video", source_v.name)),
        audio_path=str(_keep(here, upload_a, job_id, "audio", source_a.name)),
        model=model,
        loop=loop,
        idempotency_key=key,
        watermark=watermark,
        restore_face=restore,
    )
    wanted = submission(job_id, job_request, inputs, upload_v.sha256, upload_a.sha256)
    done = here.store.submit(wanted, here.settings.max_queued_jobs)
    if done.created:
        for upload in (upload_v, upload_a):
            upload.settle()
    return _answer(here, done.job)


@bp.get("")
@bp.input(VideoPage, location="query", arg_name="page")
@bp.output(VideoList)
@bp.doc(responses=refusals(400, 503))
def list_videos(page: VideoPage) -> VideoList:
    """List jobs, newest first unless asked otherwise."""
    here = service()
    try:
        found = here.store.list(page.after, page.limit, newest_first=page.order == "desc")
    except LookupError:
        raise bad_request(f"after={page.after!r}: there is no such job", param="after") from None
    data = [shape(here, job) for job in found.jobs]
    return VideoList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=found.has_more,
    )


@bp.get("/<video_id>")
@bp.output(Video)
@bp.doc(responses=refusals(404, 503))
def retrieve(video_id: str) -> Response:
    """Look at a job."""
    here = service()
    return _answer(here, find(here, video_id))


@bp.post("/<video_id>/cancel")
@bp.output(Video)
@bp.doc(responses=refusals(404, 503))
def cancel(video_id: str) -> Response:
    """Stop a job at its next batch. A job that has ended stays as it is."""
    here = service()
    job = here.store.cancel(video_id)
    if job is None:
        raise _missing(video_id)
    if job.state is JobState.CANCELLED and job.attempt == 0:
        # No worker ever held it, so nobody else clears up.
        here.files.discard_inputs(job)
    return _answer(here, job)


@bp.delete("/<video_id>")
@bp.output(VideoDeleted)
@bp.doc(responses=refusals(404, 503))
def delete(video_id: str) -> VideoDeleted:
    """Forget a job and remove its files; one in work stops at its next batch."""
    here = service()
    job = here.store.delete(video_id)
    if job is None:
        raise _missing(video_id)
    run_native(here.files.remove, job)
    return VideoDeleted(id=video_id)


def find(here: Service, video_id: str) -> Job:
    """The job of this id.

    Raises:
        ApiError: 404.
    """
    job = here.store.get(video_id)
    if job is None:
        raise _missing(video_id)
    return job


def _missing(video_id: str) -> ApiError:
    return not_found(
        f"there is no video {video_id!r}: it never was, was deleted, or its time is over"
    )


def shape(here: Service, job: Job) -> Video:
    """The public shape of a job, with its place in the queue."""
    position = here.store.position(job.id) if job.state is JobState.QUEUED else None
    return video_of(job, here.settings.keep_results_h * 3600, position)


def _answer(here: Service, job: Job) -> Response:
    response = jsonify(shape(here, job).model_dump(mode="json"))
    if not job.state.final:
        response.headers["openai-poll-after-ms"] = str(POLL_AFTER_MS)
    return response


def _need_form() -> None:
    """Refuse other bodies, each with the way out.

    Raises:
        ApiError: 400 or 415.
    """
    if request.is_json:
        body = parse_json(request.get_data())
        _refuse_urls(body if isinstance(body, dict) else {})
        raise bad_request(
            "send multipart/form-data with the files `video` and `audio`", code="form_needed"
        )
    if request.mimetype != "multipart/form-data":
        raise ApiError(_unsupported(request.mimetype))
    _refuse_urls(request.form.to_dict())


def _unsupported(mimetype: str) -> Problem:
    message = f"Content-Type {mimetype!r}: send multipart/form-data with `video` and `audio`"
    return Problem(415, "unsupported_media_type", message, "Content-Type")


def _refuse_urls(fields: dict[str, Any]) -> None:
    for name in ("video_url", "audio_url"):
        if fields.get(name):
            raise bad_request(
                f"{name}: fetching addresses is not enabled on this server; upload the file",
                param=name,
                code="not_enabled",
            )


def _upload(fields: tuple[str, ...]) -> tuple[Upload, Source]:
    for field in fields:
        if field in request.form:
            raise bad_request(f"{field} must be a file, not text", param=field)
        files = request.files.getlist(field)
        if len(files) > 1:
            raise bad_request(f"{field}: one file, not {len(files)}", param=field)
        if files:
            upload = cast(Upload, files[0].stream)
            return upload, Source(upload.path, Path(files[0].filename or field).name or field)
    names = " or ".join(f"`{field}`" for field in fields)
    raise bad_request(f"the file {names} is missing", param=fields[0], code="missing")


def _keep(here: Service, upload: Upload, job_id: str, role: str, name: str) -> Path:
    suffix = Path(name).suffix.lower()
    known = suffix if re.fullmatch(r"\.[a-z0-9]{1,5}", suffix) else ""
    target = here.files.upload(job_id, role, known)
    run_native(upload.sync)
    upload.rename(target)
    return target


def _model(here: Service) -> str:
    model = request.form.get("model") or here.settings.lipsync_model
    check_model(here, model)
    return model


def _loop() -> str:
    text = request.form.get("loop") or Loop.PINGPONG.value
    if text not in [loop.value for loop in Loop]:
        raise bad_request(f"loop {text!r} is not known; allowed: pingpong, restart", param="loop")
    return text


def _switch(name: str) -> bool:
    text = request.form.get(name) or "false"
    if text.lower() not in _SWITCH:
        raise bad_request(f"{name} {text!r} is not known; allowed: true, false", param=name)
    return _SWITCH[text.lower()]


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (0 < len(key) <= _KEY_MAX and key.isprintable()):
        raise bad_request(
            f"Idempotency-Key must have 1 to {_KEY_MAX} printable characters",
            param="Idempotency-Key",
        )
    return key
