"""`/easy/submit` and `/easy/query`: HeyGem's clients, unchanged.

What it is not: another job system; these are the same rows. Every answer is HTTP 200 with the
envelope, because a client ends its polling for good at anything else.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from apiflask import APIBlueprint
from flask import request

from server.http import envelope
from server.http.bodies import parse_json
from server.http.document import BODY_KEY, EASY_BODY
from server.http.intake import Source, check_alive, check_space, look_into, submission
from server.http.lips import check_model, lacks_restorer
from server.http.service import Service, service
from server.http.shapes import EasyAnswer, EasyQuery
from server.jobs.files import PathRefusedError, check_code
from server.jobs.job import Job, JobRequest, JobState
from server.jobs.store import ConflictError, QueueFullError, new_job_id
from trans_dh_service.task import Loop, MediaError

bp = APIBlueprint("easy", __name__, url_prefix="/easy", tag="easy")

_RUNNING, _DONE, _FAILED = 1, 2, 3
# These clients take "busy" for a permanent failure, and their files are on disk already, so many
# more of their jobs may wait than of those that bring uploads.
_QUEUE_FACTOR = 10


class RefusedError(ValueError):
    """A request that is answered with a code other than 10000."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Order:
    """A submit request, read."""

    video_url: str
    audio_url: str
    code: str
    loop: Loop
    watermark: bool
    restore_face: bool


@bp.post("/submit")
@bp.output(EasyAnswer)
@bp.doc(extensions={BODY_KEY: EASY_BODY})
def submit() -> EasyAnswer:
    """Store a job for files that lie in the data folder."""
    here = service()
    check_alive(here)
    check_space(here, 0)
    check_model(here, here.settings.lipsync_model)
    try:
        order = read_order(parse_json(request.get_data()))
        job = _store(here, order)
    except RefusedError as error:
        return envelope.refused(error.code, str(error))
    except (PathRefusedError, MediaError) as error:
        return envelope.refused(envelope.BAD_PARAMETER, str(error))
    except ConflictError as error:
        return envelope.refused(envelope.DUPLICATE, str(error))
    except QueueFullError as error:
        # Never 10001 (busy): its clients take that for the end of the job, as any other refusal.
        return envelope.refused(envelope.SYSTEM_ERROR, str(error))
    return envelope.accepted({"code": job.request.code}, _remark(here, order))


@bp.get("/query")
@bp.input(EasyQuery, location="query", arg_name="wanted")
@bp.output(EasyAnswer)
def query(wanted: EasyQuery) -> EasyAnswer:
    """Look at a task."""
    if not wanted.code:
        return envelope.refused(envelope.BAD_PARAMETER, "code is missing")
    here = service()
    job = here.store.by_code(wanted.code)
    if job is None:
        return envelope.refused(envelope.NO_SUCH_TASK, f"there is no task {wanted.code!r}")
    position = here.store.position(job.id) if job.state is JobState.QUEUED else None
    return envelope.accepted(task_data(job, position))


def read_order(body: Any) -> Order:
    """The meaning of a submit body.

    Raises:
        RefusedError: a field is missing or wrong; the message names it.
    """
    if not isinstance(body, dict):
        raise RefusedError(envelope.BAD_PARAMETER, "the body must be a JSON object")
    for name in ("audio_url", "video_url", "code"):
        value = body.get(name)
        if not isinstance(value, str) or not value.strip():
            raise RefusedError(envelope.BAD_PARAMETER, f"{name} is missing: give a non-empty text")
        if value.lower().startswith(("http://", "https://")):
            raise RefusedError(
                envelope.BAD_PARAMETER,
                f"{name}: fetching addresses is not enabled on this server; put the file into its "
                "data folder",
            )
    wrong = check_code(body["code"])
    if wrong is not None:
        raise RefusedError(envelope.BAD_PARAMETER, wrong)
    return Order(
        video_url=body["video_url"],
        audio_url=body["audio_url"],
        code=body["code"],
        loop=Loop.PINGPONG if _flag(body, "pn", 1) else Loop.RESTART,
        watermark=_flag(body, "watermark_switch", 0),
        restore_face=_flag(body, "chaofen", 0),
    )


def _flag(body: dict[str, Any], name: str, default: int) -> bool:
    return str(body.get(name, default)) == "1"


def _store(here: Service, order: Order) -> Job:
    video = here.files.heygem_input(order.video_url)
    audio = here.files.heygem_input(order.audio_url)
    inputs = look_into(here.settings, Source(video, str(video)), Source(audio, str(audio)))
    job_request = JobRequest(
        video_path=str(video),
        audio_path=str(audio),
        model=here.settings.lipsync_model,
        loop=order.loop.value,
        code=order.code,
        owns_inputs=False,
        watermark=order.watermark,
        restore_face=order.restore_face,
    )
    identity = [f"{path}:{_stamp(path)}" for path in (video, audio)]
    wanted = submission(new_job_id(), job_request, inputs, *identity)
    most = here.settings.max_queued_jobs * _QUEUE_FACTOR
    return here.store.submit(wanted, most).job


def _stamp(path: os.PathLike[str]) -> str:
    """What changes when a file of the same name gets other contents."""
    stat = os.stat(path)  # noqa: PTH116 - takes any path
    return f"{stat.st_size}:{stat.st_mtime_ns}"


def _remark(here: Service, order: Order) -> str:
    if order.restore_face and lacks_restorer(here):
        return "chaofen is not available on this server: done without"
    return ""


def task_data(job: Job, position: int | None) -> dict[str, Any]:
    """What a query says of a job. Times: `cost` in seconds, `video_duration` in milliseconds."""
    data: dict[str, Any] = {
        "code": job.request.code,
        "status": _status(job.state),
        "progress": job.progress,
        "result": f"/{job.request.code}-r.mp4" if job.outcome else "",
        "msg": _message(job, position),
    }
    if job.outcome is not None:
        data |= {
            "cost": round((job.finished_at or 0.0) - (job.started_at or job.created_at), 3),
            "video_duration": round(job.outcome.seconds * 1000),
            "width": job.outcome.width_px,
            "height": job.outcome.height_px,
        }
    return data


def _status(state: JobState) -> int:
    if state is JobState.COMPLETED:
        return _DONE
    return _FAILED if state.final else _RUNNING


def _message(job: Job, position: int | None) -> str:
    if job.error is not None:
        return job.error.message
    if job.state is JobState.CANCELLED:
        return "cancelled"
    if position is not None:
        return f"waiting, {position - 1} before it"
    return job.note or job.stage
