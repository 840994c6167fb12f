"""What the stages of a run work with: the scene, and a shot on its way through them.

What it is not: the stages (render.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from trans_dh_service.compose import Colours
from trans_dh_service.faces import FaceBook
from trans_dh_service.flow import Clock
from trans_dh_service.plan import Plan
from trans_dh_service.quiet import Quiet
from trans_dh_service.source import Source
from trans_dh_service.speech import Sound
from trans_dh_service.task import DubTools, DubWatch, RestoreTools, RestTools


@dataclass(frozen=True, eq=False)
class Resting:
    """Where the mouth rests, and what paints it there with what it learned of the source."""

    tools: RestTools
    learned: Any
    quiet: Quiet


@dataclass(frozen=True)
class Scene:
    """All that the stages work with. `learned` is None where the video shows no face; `rest` and
    `restore` where they are not to be used; `watermark` is "" for none.
    """

    work_dir: Path
    plan: Plan
    source: Source
    book: FaceBook
    sound: Sound
    colours: Colours
    learned: Any | None
    tools: DubTools
    watch: DubWatch
    clock: Clock
    rest: Resting | None = None
    restore: RestoreTools | None = None
    watermark: str = ""


@dataclass(frozen=True, eq=False)
class Shot:
    """Output frame `index` before its lips are asked for; `source` is its number in the video."""

    index: int
    source: int
    picture: av.VideoFrame
