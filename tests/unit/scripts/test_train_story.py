"""The training command writes a folder that it can score, and prints samples when asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from scripts import train_story
from scripts.story import net, sample


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["train_story.py", *words])
    return train_story.main()


def test_a_short_training_writes_a_folder_and_scores_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train_story, "HELD_OUT", 3)
    monkeypatch.setattr(train_story, "VOCABULARY", 400)
    monkeypatch.setattr(sample, "PROMPTS", ("Once upon a time",))
    tiny = net.Shape(vocab_size=400, block_size=32, n_layer=1, n_head=2, n_embd=32)
    monkeypatch.setattr(net, "Shape", lambda **_: tiny)
    words = ("--stories", "40", "--out", str(tmp_path))
    assert run(monkeypatch, *words, "--steps", "30", "--samples", "1") == 0
    printed = capsys.readouterr().out.splitlines()
    table = json.loads(printed[-1])
    assert 1 < table["loss"] < 6.2
    assert table["bytes"] == (tmp_path / "model.safetensors").stat().st_size
    assert table["listed names carried over"] < 0.2  # nothing this small can have learnt it
    assert any(line.startswith("Once upon a time") for line in printed)
    assert run(monkeypatch, *words, "--steps", "0") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == table
