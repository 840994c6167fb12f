"""Which models a worker loads: settings and files together."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from models.catalog import ENTRIES, ModelEntry, ModelFile, ModelKind
from server.lineup import Lineup, line_up
from server.settings import SettingsError, load_settings


def meant(folder: Path, **settings: Any) -> Lineup:
    return line_up(load_settings(WEIGHTS_DIR=str(folder), **settings))


def put(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_without_files_the_embedded_models_are_meant(tmp_path: Path) -> None:
    assert meant(tmp_path) == Lineup(("haar",), ("viseme",))


def test_yunet_goes_before_scrfd_and_haar_stays_the_last_resort(tmp_path: Path) -> None:
    put(tmp_path, "face/scrfd_10g_bnkps.onnx")
    assert meant(tmp_path).detectors == ("scrfd", "haar")
    put(tmp_path, "yunet_n_320_320.onnx")
    assert meant(tmp_path).detectors == ("yunet", "scrfd", "haar")
    assert meant(tmp_path, FACE_DETECTOR="scrfd").detectors == ("scrfd",)


def test_files_alone_add_no_lip_sync_model(tmp_path: Path) -> None:
    put(tmp_path, "wav2lip.pth")
    assert meant(tmp_path).lipsync == ("viseme",)


def test_the_default_comes_first_and_viseme_is_always_there(tmp_path: Path) -> None:
    assert meant(tmp_path, LIPSYNC_MODEL="wav2lip").lipsync == ("wav2lip", "viseme")
    both = meant(tmp_path, LIPSYNC_MODEL="wav2lip", LIPSYNC_MODELS="musetalk, wav2lip,")
    assert both.lipsync == ("wav2lip", "viseme", "musetalk")


def test_auto_takes_every_lip_sync_model_whose_files_are_there(tmp_path: Path) -> None:
    put(
        tmp_path,
        "wav2lip_gan.pth",
        "musetalkV15/unet.pth",
        "sd-vae-ft-mse/diffusion_pytorch_model.bin",
    )
    assert meant(tmp_path, LIPSYNC_MODELS="auto").lipsync == ("viseme", "wav2lip-gan")
    put(tmp_path, "whisper/pytorch_model.bin")
    found = meant(tmp_path, LIPSYNC_MODELS="musetalk,auto").lipsync
    assert found == ("viseme", "musetalk", "wav2lip-gan", "musetalk-v1.5")


def test_landmarks_and_restorer_are_meant_where_their_files_are(tmp_path: Path) -> None:
    put(tmp_path, "facemesh468_192.onnx", "GFPGANv1.4.onnx")
    found = meant(tmp_path)
    assert (found.landmarks, found.restorer) == ("landmarks", "restorer")


@pytest.mark.parametrize("name", ["LIPSYNC_MODEL", "LIPSYNC_MODELS"])
def test_a_model_that_does_not_exist_is_refused_by_the_setting_s_name(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(
        SettingsError, match=f"{name}: no lip-sync model is called 'sora'; there are: vis"
    ):
        meant(tmp_path, **{name: "sora"})


def test_another_catalogue_may_be_without_viseme() -> None:
    entries = [ModelEntry("lips", ModelKind.LIPSYNC, "x:y", (ModelFile("lips.bin"),))]
    found = line_up(load_settings(LIPSYNC_MODEL="lips"), entries)
    assert found == Lineup(("haar",), ("lips",))


def names_of(model: str) -> list[set[str]]:
    """Per file of a model, its own name and the others; of patterns the last part."""
    entry = next(entry for entry in ENTRIES if entry.name == model)
    return [{file.path, *file.others} for file in entry.files]


def test_the_catalogue_knows_the_names_that_loaders_of_faces_look_for() -> None:
    from face_detect_utils import files

    wanted = {"yunet": files.YUNET, "scrfd": files.SCRFD, "landmarks": files.LANDMARKS}
    for model, patterns in wanted.items():
        entry = next(entry for entry in ENTRIES if entry.name == model)
        found = [Path(pattern).name for pattern in entry.files[0].others]
        assert tuple(dict.fromkeys(found)) == patterns
        assert any(fnmatch(entry.files[0].path, pattern) for pattern in patterns)


def test_the_catalogue_knows_the_names_that_other_loaders_look_for() -> None:
    from models import restore
    from models.audio import whisper
    from models.lipsync.muse import files

    assert names_of("restorer") == [{"gfpgan.onnx", *restore.PATTERNS}]
    assert names_of("whisper") == [set(whisper.FILES)]
    assert names_of("musetalk") == [set(files.V1), set(files.VAE)]
    assert names_of("musetalk-v1.5") == [set(files.V15), set(files.VAE)]
