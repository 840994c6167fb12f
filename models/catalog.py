"""The catalogue: which models there are, their loaders, files and licences. Data only.

What it is not: loading (registry.py), looking at files (files.py) or fetching
(scripts/download_models.py). Sizes and checksums of published files are those that their hosts
publish; a file whose checksum is not known here has none and is checked by loading only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

ASSETS = "models/assets/"
"""Paths that begin so ship with the code."""
RESOURCES = "face_detect_utils/resources/"
"""Paths that begin so lie in a folder of the code where users may put models of faces."""
_HUB = "https://huggingface.co"
_MUSE = f"{_HUB}/TMElyralab/MuseTalk/resolve/3ef28bc5cff08c90ad8178a25f1b570cd800170f"
_OURS = "the licence of this project"


class ModelKind(StrEnum):
    """What a model is for."""

    FACE = "face"
    LANDMARK = "landmark"
    AUDIO = "audio"
    LIPSYNC = "lipsync"
    RESTORE = "restore"
    TEXT = "text"


@dataclass(frozen=True)
class ModelFile:
    """A file of a model. `path` is relative to WEIGHTS_DIR, or begins with ASSETS or RESOURCES.

    `size_bytes` 0 and `sha256` "" mean that they are not known, `url` "" that users bring the file
    themselves. `others`: patterns, in order, of files that do as well as `path`.
    """

    path: str
    size_bytes: int = 0
    sha256: str = ""
    url: str = ""
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelEntry:
    """One model. `loader` is "package.module:function", called as load(device, weights_dir); text
    models have none, as server/textload.py opens them with the slots and precision of the settings.
    `default` models work without any file of the user's; `needs` names the models that one works
    with.
    """

    name: str
    kind: ModelKind
    loader: str
    files: tuple[ModelFile, ...] = ()
    licence: str = ""
    source: str = ""
    default: bool = False
    needs: tuple[str, ...] = ()


def _near(*patterns: str) -> tuple[str, ...]:
    """The patterns in each folder where models of faces are looked for."""
    folders = ("", "face/", RESOURCES)
    return tuple(f"{folder}{pattern}" for pattern in patterns for folder in folders)


_VAE = ModelFile(
    "sd-vae/diffusion_pytorch_model.bin",
    334_707_217,
    "1b4889b6b1d4ce7ae320a02dedaeff1780ad77d415ea0d744b476155c6377ddc",
    f"{_HUB}/stabilityai/sd-vae-ft-mse/resolve/31f26fdeee1355a5c34592e401dd41e45d25a493"
    "/diffusion_pytorch_model.bin",
    (
        "sd-vae/diffusion_pytorch_model.safetensors",
        "sd-vae-ft-mse/diffusion_pytorch_model.bin",
        "sd-vae-ft-mse/diffusion_pytorch_model.safetensors",
    ),
)
_MUSE_LICENCE = "MuseTalk's networks: CreativeML OpenRAIL-M; sd-vae-ft-mse: MIT"
_WAV2LIP_LICENCE = "research and personal use only, not commercial"
_WAV2LIP_SOURCE = "bring your own: 'Getting the weights' in github.com/Rudrabha/Wav2Lip"

FACES = (
    ModelEntry(
        name="haar",
        kind=ModelKind.FACE,
        loader="face_detect_utils.haar:load",
        licence="Intel License Agreement for Open Source Computer Vision Library (BSD style)",
        source="haarcascade_frontalface_alt2.xml inside opencv-python-headless 4.14",
        default=True,
    ),
    ModelEntry(
        name="yunet",
        kind=ModelKind.FACE,
        loader="face_detect_utils.yunet:load",
        files=(
            ModelFile(
                "face_detection_yunet_2023mar.onnx",
                232_589,
                "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
                "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet"
                "/face_detection_yunet_2023mar.onnx",
                _near(
                    "face_detection_yunet_202[3-9]*.onnx",
                    "face_detection_yunet_*.onnx",
                    "yunet*.onnx",
                ),
            ),
        ),
        licence="MIT",
        source="the OpenCV zoo; yunet_n_*.onnx of libfacedetection.train do as well",
    ),
    ModelEntry(
        name="scrfd",
        kind=ModelKind.FACE,
        loader="face_detect_utils.scrfd:load",
        files=(
            ModelFile(
                "scrfd_2.5g_bnkps.onnx",
                others=_near("scrfd_*kps*.onnx", "scrfd_*.onnx", "scrfd*.onnx"),
            ),
        ),
        licence="that of the file; InsightFace's own: not commercial",
        source="bring your own: any SCRFD ONNX file, e.g. from InsightFace's model zoo",
    ),
    ModelEntry(
        name="landmarks",
        kind=ModelKind.LANDMARK,
        loader="face_detect_utils.landmarks:load",
        files=(
            ModelFile(
                "facemesh468_192.onnx",
                others=_near("facemesh*.onnx", "*landmark*68*.onnx", "*468*.onnx"),
            ),
        ),
        licence="that of the file; MediaPipe's face mesh: Apache-2.0",
        source="bring your own: an ONNX file of 68 points, or MediaPipe's face mesh of 468",
    ),
)

VOICES = (
    ModelEntry(
        name="viseme-audio",
        kind=ModelKind.AUDIO,
        loader="models.audio.viseme:load",
        files=(
            ModelFile(
                "models/assets/viseme_audio.onnx",
                3379458,
                "72ce85faa4107c26347a1995ee826d1e1e1e71115ab09fbaa81f5401395a092b",
            ),
        ),
        licence=_OURS,
        source="trained by scripts/train_viseme.py",
        default=True,
    ),
    ModelEntry(
        name="mel",
        kind=ModelKind.AUDIO,
        loader="models.audio.mel:load",
        licence=_OURS,
        source="written for this project; no weights",
    ),
    ModelEntry(
        name="whisper",
        kind=ModelKind.AUDIO,
        loader="models.audio.whisper:load",
        files=(
            ModelFile(
                "whisper/pytorch_model.bin",
                151_095_027,
                "9607f98a2b22d9e229ae43c52ecea79dcede9e0c5cfae67e8da6eda86d8aac1d",
                f"{_HUB}/openai/whisper-tiny/resolve/169d4a4341b33bc18d8881c4b69c2e104e1cc0af"
                "/pytorch_model.bin",
                ("whisper/model.safetensors",),
            ),
        ),
        licence="Apache-2.0",
        source="openai/whisper-tiny; its encoder is used",
    ),
)

LIPS = (
    ModelEntry(
        name="viseme",
        kind=ModelKind.LIPSYNC,
        loader="models.lipsync.viseme:load",
        licence=_OURS,
        source="written for this project; no weights",
        default=True,
        needs=("viseme-audio",),
    ),
    ModelEntry(
        name="wav2lip",
        kind=ModelKind.LIPSYNC,
        loader="models.lipsync.wav2lip:load",
        files=(ModelFile("wav2lip.pth"),),
        licence=_WAV2LIP_LICENCE,
        source=_WAV2LIP_SOURCE,
        needs=("mel",),
    ),
    ModelEntry(
        name="wav2lip-gan",
        kind=ModelKind.LIPSYNC,
        loader="models.lipsync.wav2lip:load_gan",
        files=(ModelFile("wav2lip_gan.pth"),),
        licence=_WAV2LIP_LICENCE,
        source=_WAV2LIP_SOURCE,
        needs=("mel",),
    ),
    ModelEntry(
        name="musetalk",
        kind=ModelKind.LIPSYNC,
        loader="models.lipsync.musetalk:load_v1",
        files=(
            ModelFile(
                "musetalk/pytorch_model.bin",
                url=f"{_MUSE}/musetalk/pytorch_model.bin",
                others=("musetalk/unet.pth", "musetalk/model.safetensors"),
            ),
            _VAE,
        ),
        licence=_MUSE_LICENCE,
        source="TMElyralab/MuseTalk and stabilityai/sd-vae-ft-mse",
        needs=("whisper",),
    ),
    ModelEntry(
        name="musetalk-v1.5",
        kind=ModelKind.LIPSYNC,
        loader="models.lipsync.musetalk:load_v15",
        files=(
            ModelFile(
                "musetalkV15/unet.pth",
                3_400_074_924,
                "7ebf6c98c181e20838e4c0054e96e944ac60d5d692cc01db42839fe11b787007",
                f"{_MUSE}/musetalkV15/unet.pth",
                ("musetalkV15/pytorch_model.bin", "musetalkV15/model.safetensors"),
            ),
            _VAE,
        ),
        licence=_MUSE_LICENCE,
        source="TMElyralab/MuseTalk and stabilityai/sd-vae-ft-mse",
        needs=("whisper",),
    ),
)

OTHERS = (
    ModelEntry(
        name="restorer",
        kind=ModelKind.RESTORE,
        loader="models.restore:load",
        files=(ModelFile("gfpgan.onnx", others=("gfpgan*.onnx", "GFPGAN*.onnx", "*restor*.onnx")),),
        licence="that of the file; GFPGAN's own: Apache-2.0",
        source="bring your own: a GFPGAN-style ONNX file (512x512 in and out)",
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

ENTRIES: tuple[ModelEntry, ...] = (*FACES, *VOICES, *LIPS, *OTHERS)
