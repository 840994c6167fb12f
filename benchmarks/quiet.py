"""A watch for dubs that are measured.

What it is not: anything that loads a model; importing it costs nothing.
"""

from __future__ import annotations

from trans_dh_service.task import Stage


class Quiet:
    """A watch that shows nothing and never stops."""

    def stage(self, stage: Stage) -> None:
        """Not shown."""

    def progress(self, frames_done: int, frames_total: int) -> None:
        """Not shown."""

    def segment(self, index: int, total: int) -> None:
        """Not shown."""

    def wrote(self, frames: int) -> None:
        """Not shown."""

    def stopped(self) -> bool:
        """Never."""
        return False
