"""Taking a job in: may it come, are its files usable, into the store with it.

What it is not: a route. videos.py and easy.py both come through here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from server.http.errors import NO_RETRY, ApiError, Problem, bad_request
from server.http.service import Service
from server.jobs.job import JobRequest
from server.jobs.store import Submission
from server.native import run_native
from server.settings import Settings
from server.state import Phase
from trans_dh_service.probe import AudioInfo, VideoInfo, probe_audio, probe_video
from trans_dh_service.task import MediaError, MediaLimits

RETRY_DRAIN_S = 5


@dataclass(frozen=True)
class Source:
    """A file of a job: where it lies and what the client calls it."""

    path: Path
    name: str


@dataclass(frozen=True)
class Inputs:
    """Both files, looked into."""

    video: VideoInfo
    audio: AudioInfo


def check_alive(service: Service) -> None:
    """Refuse work that nobody would do.

    Raises:
        ApiError: 503, the worker has failed.
    """
    if service.state.phase is Phase.FAILED:
        message = f"this server cannot work: {service.state.reason}"
        raise ApiError(Problem(503, "failed", message, headers={"Retry-After": "60"}))


def check_draining(service: Service) -> None:
    """Refuse an upload to a worker that ends; the next one answers in seconds.

    Raises:
        ApiError: 503 with Retry-After.
    """
    if service.draining:
        message = f"this server is ending; try again in {RETRY_DRAIN_S} s"
        headers = {"Retry-After": str(RETRY_DRAIN_S)}
        raise ApiError(Problem(503, "draining", message, headers=headers))


def check_space(service: Service, incoming_bytes: int) -> None:
    """Refuse what would fill the disk.

    Raises:
        ApiError: 507 with the numbers.
    """
    free = service.files.free_bytes()
    floor = service.settings.min_free_disk_bytes
    if free - incoming_bytes < floor:
        message = (
            f"the disk has {free} bytes free; after {incoming_bytes} bytes of upload fewer than "
            f"MIN_FREE_DISK_BYTES={floor} would be left"
        )
        raise ApiError(Problem(507, "no_space", message, headers=dict(NO_RETRY)))


def look_into(settings: Settings, video: Source, audio: Source) -> Inputs:
    """Probe both files against the limits.

    Raises:
        MediaError: a file cannot be used; the message calls it by the client's name.
    """
    limits = MediaLimits(
        settings.max_video_s, settings.max_audio_s, settings.max_pixels, settings.max_fps
    )
    return run_native(_probe, video, audio, limits)


def _probe(video: Source, audio: Source, limits: MediaLimits) -> Inputs:
    here = video
    try:
        pictures = probe_video(video.path, limits)
        here = audio
        return Inputs(pictures, probe_audio(audio.path, limits))
    except MediaError as error:
        text = str(error).replace(str(here.path), here.name).replace(here.path.name, here.name)
        raise MediaError(error.role, text) from error


def refuse_media(error: MediaError) -> ApiError:
    """The answer to a file that cannot be used."""
    return bad_request(str(error), param=error.role, code=f"invalid_{error.role}")


def submission(job_id: str, request: JobRequest, inputs: Inputs, *identity: str) -> Submission:
    """A job ready for the store. `identity` is what makes its files these and no others."""
    options = (request.model, request.loop, str(request.watermark), str(request.restore_face))
    text = "\0".join((*identity, *options))
    return Submission(
        id=job_id,
        request=request,
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        # The result is as long as the recording.
        seconds=inputs.audio.duration_s,
        width_px=inputs.video.width_px,
        height_px=inputs.video.height_px,
    )
