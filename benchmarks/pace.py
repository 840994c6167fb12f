"""How fast the embedded lips are: model and renderer alone, and the first segment of a known video.

What it is not: the whole pipeline against a re-encode (benchmarks/pipeline.py). A part of
benchmarks/lips.py.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import cv2
import numpy as np
import requests

from benchmarks import client
from face_detect_utils.haar import load as load_faces
from models.audio.viseme import load as load_speech
from models.lipsync.base import FaceSample, LipItem
from models.lipsync.viseme import load as load_lips
from scripts.demo import RunningServer
from trans_dh_service.compose import colours_for, cut, paste
from trans_dh_service.faces import FaceBook
from trans_dh_service.probe import probe_video
from trans_dh_service.source import Source
from trans_dh_service.speech import SpeechReader, prepare_sound
from trans_dh_service.task import MediaLimits

FRAMES = 200
LEARNED_EVERY = 3
LEARNED_OF = 100
POLL_S = 0.04


class Sitting:
    """A video with its faces followed and its mouth learned, before anything is measured."""

    def __init__(self, video: Path, audio: Path, folder: Path) -> None:
        limits, nowhere = MediaLimits(), Path()
        self.source = Source(video, probe_video(video, limits), limits)
        book = FaceBook(load_faces("cpu", nowhere), 5, self.source, folder)
        with_faces = []
        for frame in self.source.forward(0, min(FRAMES, self.source.frames)):
            book.follow(frame.picture)
            with_faces.append((frame.picture, book.glimpse(frame.index)))
        look = self.source.look
        self.colours = colours_for(look.colorspace, look.color_range, look.height_px)
        self.lips = load_lips("cpu", nowhere)
        self.shots = [(picture, pose) for picture, pose in with_faces if pose is not None]
        self.learned = self.lips.learn(
            [self._sample(i) for i in range(0, LEARNED_OF, LEARNED_EVERY)]
        )
        sound = prepare_sound(audio, folder, limits, "none", lambda: False)
        self.reader = SpeechReader(sound, load_speech("cpu", nowhere), Fraction(25), FRAMES)

    def _sample(self, index: int) -> FaceSample:
        item = self.item(index, np.zeros(5, np.float32), None)
        return FaceSample(item.crop, item.pose, index / 25)

    def item(self, index: int, feature: Any, learned: Any) -> LipItem:
        """A frame's work as the pipeline gives it to the lane."""
        picture, pose = self.shots[index]
        crop = cut(picture, self.lips.crop_box(pose), self.colours)
        if crop is None:
            raise ValueError(f"the face of frame {index} lies outside the picture")
        moved = pose.moved(-crop.x, -crop.y)
        return LipItem(crop.image, moved, feature, learned, index, crop.x, crop.y)


def speed(video: Path, audio: Path) -> dict[str, float]:
    """Frames per second in one thread: speech network, alignment and painting alone; and with the
    cut and the blend around them. `video` as it is; the recording is read as often as needed.
    """
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        sitting = Sitting(video, audio, Path(name))
        count = len(sitting.shots)
        items = [sitting.item(i, sitting.reader.feature(0), sitting.learned) for i in range(count)]
        alone_s = _alone_s(sitting, items)
        whole_s = _whole_s(sitting, count)
    return {"model_fps": count / alone_s, "model_and_picture_fps": count / whole_s}


def _alone_s(sitting: Sitting, items: list[LipItem]) -> float:
    began = time.perf_counter()
    for index, item in enumerate(items):
        feature = sitting.reader.feature(index)
        args = (item.crop, item.pose, feature, item.source, index)
        sitting.lips.render([LipItem(*args)])
    return time.perf_counter() - began


def _whole_s(sitting: Sitting, count: int) -> float:
    began = time.perf_counter()
    for index in range(count):
        item = sitting.item(index, sitting.reader.feature(index), sitting.learned)
        patch = sitting.lips.render([item])[0]
        there = replace(patch, x=patch.x + item.left_px, y=patch.y + item.top_px)
        paste(sitting.shots[index][0], there, 1.0, sitting.colours)
    return time.perf_counter() - began


def first_s(server: RunningServer, video: Path, audio: Path) -> float:
    """Seconds from the first byte of a submit to the last byte of the job's first segment, over
    HTTP, upload included.
    """
    began = time.perf_counter()
    job_id = client.post(server.base, video, audio).job["id"]
    playlist = f"{server.base}/v1/videos/{job_id}/stream.m3u8"
    while time.perf_counter() - began < 120:
        listed = requests.get(playlist, timeout=30)
        names = [line for line in listed.text.splitlines() if line and not line.startswith("#")]
        if listed.ok and names:
            part = requests.get(urljoin(playlist, names[0]), timeout=30)
            part.raise_for_status()
            took_s = time.perf_counter() - began
            client.wait(server.base, [job_id], timeout_s=300)
            return took_s
        time.sleep(POLL_S)
    raise TimeoutError(
        f"no segment of {video.name} within 120 s: {client.get(server.base, job_id)}"
    )


def scaled(video: Path, size: str, made: Path) -> Path:
    """The video in another size ("720:1280"), without its sound."""
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(video), "-an", "-vf", f"scale={size}"]
    command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "12", str(made)]
    subprocess.run(command, check=True)
    return made
