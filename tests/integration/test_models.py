"""A real server with files of a production model: what it tells of its models, and jobs that name
one.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import requests
import torch
from numpy.typing import NDArray
from openai import OpenAI

from tests.data.wav2lip import state
from tests.integration.clips import small_video, tone
from tests.integration.server import Server, get, start_server
from tests.unit.models.graphs import brightener
from tests.unit.trans_dh_service.media import make_pauses

YUNET = Path(__file__).resolve().parents[3] / "shared" / "weights" / "yunet_n_320_320.onnx"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with stand-in weights of Wav2Lip, a restorer that brightens, and YuNet where it is
    at hand.
    """
    weights = tmp_path_factory.mktemp("weights")
    named = {f"module.{key}": value for key, value in state().items()}
    torch.save({"state_dict": named}, weights / "wav2lip.pth")
    brightener(weights / "gfpgan.onnx", shape=(1, 3, 512, 512))
    if YUNET.is_file():
        shutil.copy(YUNET, weights)
    env = {"WEIGHTS_DIR": str(weights), "LIPSYNC_MODELS": "wav2lip", "DEVICE": "cpu"}
    env["BOOT_TIMEOUT_S"] = "150"
    with start_server(env, ready_s=150) as running:
        yield running


def submit(server: Server, model: str) -> requests.Response:
    with small_video().open("rb") as video, tone(1.0).open("rb") as audio:
        return requests.post(
            f"{server.base_url}/v1/videos",
            files={"video": video, "audio": audio},
            data={"model": model},
            timeout=60,
        )


def finished(server: Server, job_id: str) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        body: dict[str, Any] = get(f"{server.base_url}/v1/videos/{job_id}").json
        return body if body["status"] in ("completed", "failed") else None

    found: dict[str, Any] = server.wait(ended, "end of the job", 90)
    return found


def picture(path: Path, index: int) -> NDArray[np.int16]:
    """Brightness of one frame."""
    with av.open(str(path)) as film:
        for number, frame in enumerate(film.decode(film.streams.video[0])):
            if number == index:
                return frame.to_ndarray(format="gray").astype(np.int16)
    raise AssertionError(f"{path} has no frame {index}")


def test_openai_s_client_lists_models_that_are_missing_beside_those_that_are_ready(
    server: Server,
) -> None:
    listed = OpenAI(api_key="none", base_url=f"{server.base_url}/v1").models.list()
    words = {model.id: (model.to_dict()["status"], model.owned_by) for model in listed}
    assert words["viseme"] == words["wav2lip"] == ("ready", "mouthpiece")
    assert str(words["musetalk-v1.5"][0]).startswith("missing: unet.pth")


def test_health_names_the_detector_and_looks_deep(server: Server) -> None:
    detector = "yunet" if YUNET.is_file() else "haar"
    assert server.health()["face_detector"] == detector
    deep = get(f"{server.base_url}/health/deep").json
    assert (deep["status"], deep["face_detector"]) == ("healthy", detector)
    assert {detector, "wav2lip", "mel", "viseme"} <= set(deep["models"]["ready"])
    assert "--only musetalk`" in deep["problems"]["musetalk"]


def test_a_job_for_a_missing_model_is_refused_with_the_command(server: Server) -> None:
    answer = submit(server, "musetalk-v1.5")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "model_missing")
    assert "download_models --only musetalk-v1.5" in answer.json()["error"]["message"]


def test_jobs_of_two_models_are_made_at_once_and_only_the_face_changes(
    server: Server, tmp_path: Path
) -> None:
    jobs = {model: submit(server, model).json()["id"] for model in ("wav2lip", "viseme")}
    changed = {}
    for model, job_id in jobs.items():
        job = finished(server, job_id)
        assert (job["status"], job["model"], job["note"]) == ("completed", model, "")
        path = tmp_path / f"{model}.mp4"
        path.write_bytes(get(f"{server.base_url}/v1/videos/{job_id}/content").body)
        change = np.abs(picture(path, 12) - picture(small_video(), 12))
        changed[model] = change > 40
    # Weights from a seed paint noise; a face is small in the picture.
    assert 0.005 < changed["wav2lip"].mean() < 0.2
    assert changed["viseme"].mean() < changed["wav2lip"].mean()
    rows, columns = np.nonzero(changed["wav2lip"])
    box = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    assert changed["wav2lip"].sum() > 0.2 * box


def test_a_marked_and_restored_job_rests_in_silence_and_says_what_made_it(
    server: Server, tmp_path: Path
) -> None:
    audio = make_pauses(tmp_path / "pause.wav", (0.5, True), (1.5, False))
    with small_video().open("rb") as film, audio.open("rb") as sound:
        job_id = requests.post(
            f"{server.base_url}/v1/videos",
            files={"video": film, "audio": sound},
            data={"model": "wav2lip", "restore": "true", "watermark": "true"},
            timeout=60,
        ).json()["id"]
    job = finished(server, job_id)
    assert (job["status"], job["note"]) == ("completed", "")
    path = tmp_path / "marked.mp4"
    path.write_bytes(get(f"{server.base_url}/v1/videos/{job_id}/content").body)
    with av.open(str(path)) as made:
        assert "wav2lip, face restored by gfpgan" in made.metadata["description"]
    change = picture(path, 40) - picture(small_video(), 40)
    rows, columns = change.shape
    assert np.abs(change[round(0.9 * rows) :, columns // 2 :]).max() > 60
    assert (change > 15).mean() > 0.01
    assert b"lips synthesised" in get(f"{server.base_url}/v1/videos/{job_id}/segments/0.ts").body
    lines = server.ops("/metrics").body.decode().splitlines()
    rested = next(line for line in lines if line.startswith("mouthpiece_frames_rested_total"))
    assert float(rested.split()[1]) > 15
