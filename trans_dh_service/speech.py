"""The recording: decoded once into files of the work folder, read from there in blocks.

What it is not: the speech network (models/audio). Two files are made in one pass: 16 kHz mono
samples for the network, and the result's sound, already AAC. The AAC is encoded once, so its frame
grid is the same for every segment, before and after a resume (docs/decisions/0051).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray

from models.audio import loudness
from models.audio.base import SAMPLE_RATE_HZ, SpeechModel
from trans_dh_service.plan import part_path, write_whole
from trans_dh_service.probe import audio_stream, open_media
from trans_dh_service.task import MediaError, MediaLimits, StoppedError

AAC_SAMPLES = 1024
"""Samples in a frame of AAC-LC, and its encoder's delay (ISO/IEC 14496-3)."""
KEPT_RATES_HZ = (32000, 44100, 48000)
"""Rates that every player takes; others become 48 kHz."""
BIT_RATES = {1: 96_000, 2: 160_000}
BLOCK_FRAMES = 128
"""Frames whose features are made in one call; blocks lie on a fixed grid."""
_ADTS_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_CHECK_EVERY = 256
FULL_SCALE = 32768.0
"""What 1.0 is in the samples of `Sound.pcm`."""
_VERSION = 1


@dataclass(frozen=True)
class Sound:
    """The decoded recording: exact length in samples at `rate_hz`, `speech` samples at 16 kHz."""

    folder: Path
    rate_hz: int
    channels: int
    samples: int
    speech_samples: int
    source: str

    @property
    def seconds(self) -> float:
        """Exact length."""
        return self.samples / self.rate_hz

    @property
    def pcm(self) -> Path:
        """16 kHz mono, 16 bit little endian."""
        return self.folder / "speech.s16"

    @property
    def aac(self) -> Path:
        """The result's sound: AAC-LC with ADTS headers."""
        return self.folder / "sound.aac"


@dataclass(frozen=True)
class AacFrame:
    """One encoded frame with its header; `start` is its first sample, -1024 for the first one
    (the encoder's delay), `samples` how many of it belong to the recording.
    """

    data: bytes
    start: int
    samples: int


def prepare_sound(
    path: Path, folder: Path, limits: MediaLimits, source: str, stopped: Callable[[], bool]
) -> Sound:
    """Decode a recording into `folder`, or take what an earlier attempt finished there (`source`,
    the content hash, tells that it is the same recording).

    Raises:
        MediaError: it cannot be decoded or is longer than allowed, whatever its header says.
        StoppedError: `stopped` said so.
    """
    done = _load(folder, source)
    if done is not None:
        return done
    with open_media(path, "audio", limits) as container:
        stream = audio_stream(container, path)
        writer = _Writer(folder, limits.max_audio_s, path.name)
        with writer:
            for number, packet in enumerate(container.demux(stream)):
                if number % _CHECK_EVERY == 0 and stopped():
                    raise StoppedError(f"stopped while decoding {path.name!r}")
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    continue
                for frame in frames:
                    writer.write(frame)
            writer.finish()
    if writer.samples == 0:
        raise MediaError("audio", f"audio {path.name!r}: it holds no samples that can be decoded")
    sound = Sound(
        folder, writer.rate_hz, writer.channels, writer.samples, writer.speech_samples, source
    )
    data = {**asdict(sound), "folder": "", "version": _VERSION}
    write_whole(folder / "sound.json", json.dumps(data).encode())
    return sound


def aac_frames(sound: Sound) -> Iterator[AacFrame]:
    """The encoded sound in order, a frame at a time."""
    start = -AAC_SAMPLES
    with sound.aac.open("rb") as file:
        while len(head := file.read(7)) == 7:
            size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
            left = max(1, min(AAC_SAMPLES, sound.samples - start))
            yield AacFrame(head + file.read(size - 7), start, left)
            start += AAC_SAMPLES


class SpeechReader:
    """Features of any output frame, made in blocks on a fixed grid, so a resume gets the same."""

    def __init__(self, sound: Sound, model: SpeechModel, fps: Fraction, frames: int) -> None:
        self._model = model.for_length(sound.speech_samples)
        self._fps = fps
        self._frames = frames
        self._pcm = np.memmap(sound.pcm, np.dtype("<i2"), "r", shape=(sound.speech_samples,))
        self._gain = np.float32(1 / FULL_SCALE)
        if self._model.level_db is not None:
            found_db = loudness.loudest_db(self._pcm, FULL_SCALE)
            self._gain *= np.float32(loudness.gain(found_db, self._model.level_db))
        self._block = -1
        self._features: NDArray[np.float32] = np.empty(0, np.float32)

    def feature(self, index: int) -> NDArray[np.float32]:
        """The feature of output frame `index`, which is shown from `index / fps` on."""
        block = index // BLOCK_FRAMES
        if block != self._block:
            first = block * BLOCK_FRAMES
            last = min(first + BLOCK_FRAMES, self._frames)
            self._features, self._block = self._made(first, last), block
        return np.asarray(self._features[index - block * BLOCK_FRAMES])

    def _made(self, first: int, last: int) -> NDArray[np.float32]:
        times_s = np.arange(first, last, dtype=np.float64) * float(1 / self._fps)
        rate = SAMPLE_RATE_HZ
        start = int(np.floor((times_s[0] - self._model.before_s) * rate)) - 1
        stop = int(np.ceil((times_s[-1] + self._model.after_s) * rate)) + 1
        samples = np.zeros(stop - start, np.float32)
        low, high = max(0, start), min(stop, len(self._pcm))
        if low < high:
            samples[low - start : high - start] = self._pcm[low:high]
        samples *= self._gain
        return self._model.features(samples, start / rate, times_s)


class _Writer:
    """Takes decoded frames; writes both files under other names and renames them when complete."""

    def __init__(self, folder: Path, limit_s: float, name: str) -> None:
        self.rate_hz = self.channels = self.samples = self.speech_samples = 0
        self._limit_s, self._name = limit_s, name
        self._places = (folder / "speech.s16", folder / "sound.aac")
        self._parts = (part_path(self._places[0]), part_path(self._places[1]))
        self._pcm = self._parts[0].open("wb")
        self._aac = self._parts[1].open("wb")
        self._mono = _Resampler("s16", "mono", SAMPLE_RATE_HZ)
        self._full: _Resampler | None = None
        self._fifo = av.AudioFifo()
        self._encoder: AudioCodecContext | None = None

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._pcm.close()
        self._aac.close()
        for part in self._parts:
            part.unlink(missing_ok=True)

    def write(self, frame: av.AudioFrame) -> None:
        if not frame.samples:
            return
        if self._full is None:
            self._begin(frame)
        self._take(frame)
        if self.speech_samples > self._limit_s * SAMPLE_RATE_HZ:
            raise MediaError(
                "audio",
                f"audio {self._name!r}: it is longer than the {self._limit_s:g} s that are allowed",
            )

    def finish(self) -> None:
        if self._encoder is None:
            return
        self._take(None)
        self._encode_whole(partial=True)
        for packet in self._encoder.encode(None):
            self._put(packet)
        _close_synced(self._pcm)
        _close_synced(self._aac)
        for part, place in zip(self._parts, self._places, strict=True):
            part.replace(place)

    def _begin(self, frame: av.AudioFrame) -> None:
        self.rate_hz = frame.sample_rate if frame.sample_rate in KEPT_RATES_HZ else 48000
        self.channels = 1 if frame.layout.nb_channels == 1 else 2
        layout = "mono" if self.channels == 1 else "stereo"
        self._full = _Resampler("fltp", layout, self.rate_hz)
        encoder = av.CodecContext.create("aac", "w")
        encoder.sample_rate = self.rate_hz
        encoder.layout = layout
        encoder.format = "fltp"
        encoder.bit_rate = BIT_RATES[self.channels]
        encoder.time_base = Fraction(1, self.rate_hz)
        self._encoder = encoder

    def _take(self, frame: av.AudioFrame | None) -> None:
        # This order: a plain 16 kHz mono WAV passes through the second one untouched, and a frame
        # without a named channel layout is refused by a resampler that comes after that.
        for full in self._full.push(frame) if self._full else ():
            full.pts, full.time_base = None, Fraction(1, self.rate_hz)
            self.samples += full.samples
            self._fifo.write(full)
        for mono in self._mono.push(frame):
            data = mono.to_ndarray()
            self._pcm.write(np.ascontiguousarray(data, "<i2").tobytes())
            self.speech_samples += data.size
        self._encode_whole(partial=False)

    def _encode_whole(self, partial: bool) -> None:
        while self._encoder is not None:
            block = self._fifo.read(AAC_SAMPLES, partial)
            if block is None or not block.samples:
                return
            block.pts = None
            for packet in self._encoder.encode(block):
                self._put(packet)

    def _put(self, packet: av.Packet[av.AudioStream]) -> None:
        data = bytes(packet)
        self._aac.write(_adts_header(len(data), self.rate_hz, self.channels) + data)


class _Resampler:
    """libswresample that starts anew where a recording changes its rate or channels midway."""

    def __init__(self, form: str, layout: str, rate_hz: int) -> None:
        self._wanted = (form, layout, rate_hz)
        self._kind: tuple[str, str, int] | None = None
        self._inner = av.AudioResampler(*self._wanted)

    def push(self, frame: av.AudioFrame | None) -> list[av.AudioFrame]:
        if frame is None:
            return self._inner.resample(None) if self._kind else []
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        left: list[av.AudioFrame] = []
        if kind != self._kind:
            left = self.push(None)
            self._inner, self._kind = av.AudioResampler(*self._wanted), kind
        frame.pts = None
        return left + self._inner.resample(frame)


def _adts_header(size: int, rate_hz: int, channels: int) -> bytes:
    """The header of one AAC-LC frame (ISO/IEC 13818-7, 6.2)."""
    length = size + 7
    rate = _ADTS_RATES.index(rate_hz)
    return bytes(
        (
            0xFF,
            0xF1,
            1 << 6 | rate << 2 | channels >> 2,
            (channels & 3) << 6 | length >> 11,
            length >> 3 & 0xFF,
            (length & 7) << 5 | 0x1F,
            0xFC,
        )
    )


def _close_synced(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()


def _load(folder: Path, source: str) -> Sound | None:
    try:
        data = json.loads((folder / "sound.json").read_text(encoding="utf-8"))
        if data.pop("version") != _VERSION or data["source"] != source:
            return None
        sound = Sound(**{**data, "folder": folder})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return sound if sound.pcm.is_file() and sound.aac.is_file() else None
