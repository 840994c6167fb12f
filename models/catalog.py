"""The catalogue: which models there are, their loaders, files and licences. Data only.

What it is not: loading (registry.py) or fetching (scripts/download_models.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ModelKind(StrEnum):
    """What a model is for."""

    FACE = "face"
    AUDIO = "audio"
    LIPSYNC = "lipsync"
    TEXT = "text"


@dataclass(frozen=True)
class ModelFile:
    """A file of a model. `path` is relative to WEIGHTS_DIR; one that begins with "models/assets/"
    ships with the code.
    """

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class ModelEntry:
    """One model. `loader` is "package.module:function", called as load(device, weights_dir); text
    models have none, as server/textload.py opens them with the slots and precision of the settings.
    `default` models work without any file of the user's.
    """

    name: str
    kind: ModelKind
    loader: str
    files: tuple[ModelFile, ...] = ()
    licence: str = ""
    source: str = ""
    default: bool = False


ENTRIES: tuple[ModelEntry, ...] = (
    ModelEntry(
        name="haar",
        kind=ModelKind.FACE,
        loader="face_detect_utils.haar:load",
        licence="Intel License Agreement for Open Source Computer Vision Library (BSD style)",
        source="haarcascade_frontalface_alt2.xml inside opencv-python-headless 4.14",
        default=True,
    ),
    ModelEntry(
        name="viseme-audio",
        kind=ModelKind.AUDIO,
        loader="models.audio.viseme:load",
        files=(
            ModelFile(
                "models/assets/viseme_audio.onnx",
                650978,
                "750c66606067bfd36b1bc3cbcbaad479c28f04d1de10e43e9cbc6f101b5068d4",
            ),
        ),
        licence="the licence of this project",
        source="trained by scripts/train_viseme.py",
        default=True,
    ),
    ModelEntry(
        name="viseme",
        kind=ModelKind.LIPSYNC,
        loader="models.lipsync.viseme:load",
        licence="the licence of this project",
        source="written for this project; no weights",
        default=True,
    ),
    ModelEntry(
        name="story",
        kind=ModelKind.TEXT,
        loader="",
        files=(
            ModelFile(
                "models/assets/story/config.json",
                358,
                "84f749cb47958654031e920ddaf20d076ed97cae5210e89096ac56382da99d80",
            ),
            ModelFile(
                "models/assets/story/model.safetensors",
                4449456,
                "f29753fc78304e65198f579a01f44e3580974c14e977b73fb005eeca23ca7af0",
            ),
            ModelFile(
                "models/assets/story/vocab.json",
                25651,
                "91d7edac998778db30249586c2a2d8ad3907014495f5e6507ecb6e8b0c29afa7",
            ),
            ModelFile(
                "models/assets/story/merges.txt",
                13533,
                "a3130dfda2fd56860f674b0683d3d5250794deaf79c8b3857978fdfe413595e8",
            ),
        ),
        licence="the licence of this project",
        source="trained by scripts/train_story.py",
        default=True,
    ),
)
