"""Whisper's encoder: its numbers, its pieces of 30 s, its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.audio import whisper
from models.audio.base import SAMPLE_RATE_HZ
from models.audio.whisper import EncoderShape, WhisperAudio, log_mel, slots
from models.weights import WeightsError
from tests.data import make, musetalk
from tests.data.weights import noise
from tests.unit.models.lipsync.conftest import one_thread  # noqa: F401 - used for every test
from tests.unit.models.lipsync.muses import Golden, apart, golden

TABLES = {
    "steps_fps25": (25, 32_000),
    "steps_fps30": (30, 32_000),
    "steps_2s_fps24": (24, 32_000),
    "steps_2s_fps29.97": (29, 32_000),
    "steps_2s_fps12": (12, 32_000),
    "steps_31999samples_fps25": (25, 31_999),
    "steps_1280samples_fps25": (25, 1_280),
    "steps_31s_fps25": (25, 31 * 16_000),
}
BEFORE, AFTER = 31 * SAMPLE_RATE_HZ, 62 * SAMPLE_RATE_HZ


@pytest.fixture
def model() -> WhisperAudio:
    return musetalk.speech_model()


def recording(seconds: float) -> NDArray[np.float32]:
    return 0.1 * noise("recording", (round(seconds * SAMPLE_RATE_HZ),), 9)


def padded(samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    return np.pad(samples, (BEFORE, AFTER)), -BEFORE / SAMPLE_RATE_HZ


def test_the_stored_numbers_are_made_again() -> None:
    with np.load(make.FOLDER / "musetalk_whisper.npz", allow_pickle=False) as stored:
        made = musetalk.speech_pass()
        assert made.keys() == set(stored.files)
        assert all(apart(made[key], stored[key]) < 5e-5 for key in stored.files)


@pytest.mark.slow
def test_the_encoder_agrees_with_the_reference() -> None:
    given = golden("musetalk_whisper")
    made = whisper.make(Golden("whisper_tiny_full", 4), "stand-in weights", EncoderShape())
    samples = np.pad(given["waveform"], (0, whisper.PIECE_SAMPLES - len(given["waveform"])))
    assert apart(log_mel(torch.from_numpy(samples)), given["log_mel"][0]) < 1e-4
    sound, start_s = padded(given["waveform"])
    bound = made.for_length(len(given["waveform"]))
    for fps in (25, 30):
        features = bound.features(sound, start_s, np.arange(2 * fps) / fps)
        picked = features[given[f"picked_frames_fps{fps}"]]
        assert apart(picked, given[f"chunks_picked_fps{fps}"]) < 5e-5
        means = np.abs(features).mean(axis=(1, 2))
        assert apart(means, given[f"chunks_mean_abs_fps{fps}"]) < 5e-5


def test_the_encoder_has_the_published_tensors() -> None:
    assert whisper.inventory(EncoderShape()) == Golden("whisper_tiny_encoder", 4).shapes()


@pytest.mark.parametrize("name", sorted(TABLES))
def test_the_steps_of_a_frame_are_the_references(name: str) -> None:
    """At 12 and 24 frames/s with its padding there, which ours leaves at that of 25 to 49."""
    wanted = golden("musetalk_whisper")[name]
    fps, samples = TABLES[name]
    made = slots(np.arange(len(wanted)) / fps, {24: 6, 12: 10}.get(fps, whisper.LEAD_STEPS))
    made[(made < 0) | (made >= samples * 50 // SAMPLE_RATE_HZ)] = -1
    assert np.array_equal(made, wanted)


def test_steps_outside_the_recording_are_zeros(model: WhisperAudio) -> None:
    samples = recording(1.0)
    features = model.for_length(len(samples)).features(*padded(samples), np.array([0.0, 0.96]))
    first, last = features.reshape(2, whisper.SLOTS, -1)
    assert not first[:4].any()
    assert first[4:].any(axis=1).all()
    assert last[:6].any(axis=1).all()
    assert not last[6:].any()


def test_pieces_are_counted_from_the_start_of_the_recording(model: WhisperAudio) -> None:
    """A frame's numbers are the same whichever window they come from, over a piece's end, too."""
    samples = recording(64.0)
    bound = model.for_length(len(samples))
    times = np.array([29.9, 30.0, 30.04, 59.98, 63.9])
    sound, start_s = padded(samples)
    whole = bound.features(sound, start_s, times)
    for index, time in enumerate(times):
        first = round((time - bound.before_s - start_s) * SAMPLE_RATE_HZ)
        count = round((bound.before_s + bound.after_s) * SAMPLE_RATE_HZ)
        window = sound[first : first + count + 2]
        again = model.for_length(len(samples)).features(
            window, start_s + first / SAMPLE_RATE_HZ, times[index : index + 1]
        )
        assert np.array_equal(again[0], whole[index])


def test_a_piece_is_encoded_once(model: WhisperAudio) -> None:
    samples = recording(2.0)
    calls: list[int] = []

    class Counting(torch.nn.Module):
        def forward(self, mel: torch.Tensor) -> torch.Tensor:
            calls.append(1)
            return torch.zeros(1, 1500, 5, 16)

    counted = WhisperAudio(Counting(), musetalk.WHISPER)  # type: ignore[arg-type]
    for time in (0.1, 0.5, 1.0):
        counted.features(*padded(samples), np.array([time]))
    assert len(calls) == 1


def test_few_pieces_stay_in_memory(model: WhisperAudio) -> None:
    samples = recording(1.0)
    sound, start_s = np.pad(samples, (BEFORE, 5 * AFTER)), -BEFORE / SAMPLE_RATE_HZ
    sound[40 * SAMPLE_RATE_HZ :: 900] = 0.5
    for time in (1.0, 31.0, 61.0, 91.0):
        model.features(sound, start_s, np.array([time]))
    assert len(model._kept) == whisper.KEPT_PIECES


def test_a_window_that_is_too_short_is_refused(model: WhisperAudio) -> None:
    with pytest.raises(ValueError, match="need"):
        model.features(recording(1.0), 0.0, np.array([0.5]))


@pytest.mark.parametrize("prefix", ["model.encoder.", "encoder."])
def test_files_with_either_prefix_are_loaded(tmp_path: Path, prefix: str) -> None:
    state = {
        key.replace("model.encoder.", prefix): tensor
        for key, tensor in musetalk.whisper_state().items()
    }
    made = whisper.make(state | {"decoder.other": torch.ones(1)}, "file", musetalk.WHISPER)
    assert made.name == "whisper"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"pytorch_model.bin is missing in .*whisper"):
        whisper.load("cpu", tmp_path)


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "whisper").mkdir()
    torch.save({"weight": torch.ones(3)}, tmp_path / "whisper" / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"no tensor 'model.encoder"):
        whisper.load("cuda", tmp_path)


def test_a_published_file_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "whisper").mkdir()
    state = {key: torch.zeros(shape) for key, shape in whisper.inventory(EncoderShape()).items()}
    torch.save(state, tmp_path / "whisper" / "pytorch_model.bin")
    assert whisper.load("cpu", tmp_path).name == "whisper"
