"""Which text models there are, and how far each is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.settings import SettingsError, load_settings
from server.texts import (
    Source,
    TextFailedError,
    TextLoadingError,
    Texts,
    UnknownTextError,
    sources_of,
)
from tests.unit.server.http.writers import ScriptedEngine, served


def names(**settings: Any) -> list[tuple[str, bool]]:
    return [(source.name, source.eager) for source in sources_of(load_settings(**settings))]


def test_the_embedded_story_model_is_there_on_demand_when_none_is_named() -> None:
    assert names() == [("story", False)]
    assert names(model_checkpoints="a=/x/a.pt") == [("story", False), ("a", True)]
    assert names(model_checkpoints="story=/x/a.pt") == [("story", True)]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/runs/out-shakespeare/ckpt.pt", "out-shakespeare"),
        ("/runs/log/model_19072.pt", "model_19072"),
        ("/weights/gpt2", "gpt2"),
        ("/weights/gpt2/model.safetensors", "gpt2"),
        ("/weights/my model!", "my-model"),
        ("/weights/\u4efb", "text"),
    ],
)
def test_a_checkpoint_is_called_after_its_file_or_folder(path: str, name: str) -> None:
    assert names(model_checkpoint=path) == [(name, True)]


def test_a_name_that_is_taken_gets_a_number() -> None:
    given = names(model_checkpoint="/x/gpt2", model_checkpoints="gpt2=/y, gpt2-2=/z")
    assert given == [("gpt2-3", True), ("gpt2", True), ("gpt2-2", True)]


def test_the_tokenizer_belongs_to_the_users_checkpoints(tmp_path: Path) -> None:
    settings = load_settings(tokenizer=tmp_path / "t", model_checkpoints="a=/x/a.pt")
    assert [source.tokenizer for source in sources_of(settings)] == [None, tmp_path / "t"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("gpt2", "must be NAME=PATH"),
        ("a b=/x", "must be NAME=PATH"),
        ("a=", "must be NAME=PATH"),
        ("a=/x,a=/y", "two models of one name: a"),
    ],
)
def test_bad_lists_of_checkpoints_are_refused(value: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load_settings(model_checkpoints=value)


def test_an_unknown_chat_template_is_refused() -> None:
    with pytest.raises(SettingsError, match="plain, chatml or the path"):
        load_settings(chat_template="llama")


def test_a_model_goes_from_on_demand_to_ready_and_is_asked_for_once(tmp_path: Path) -> None:
    texts = Texts([Source("a", tmp_path, eager=False), Source("b", tmp_path)])
    seen: list[str] = []
    texts.on_change = lambda: seen.append(texts.statuses()["a"])
    assert texts.statuses() == {"a": "on demand", "b": "loading"}
    for _ in range(2):
        with pytest.raises(TextLoadingError, match="'a' is being loaded"):
            texts.find()
    assert texts.wanted.get() == "a"
    assert texts.wanted.empty()
    engine = ScriptedEngine()
    texts.put("a", served("a", engine))
    assert texts.find("a").engine is engine
    assert seen == ["loading", "ready"]
    assert [each.name for each in texts.served()] == ["a"]
    assert texts.sources[0].created_at > 0


def test_a_failure_is_told_with_its_reason(tmp_path: Path) -> None:
    texts = Texts([Source("a", tmp_path / "gone")])
    texts.fail("a", "it is cut off")
    with pytest.raises(TextFailedError, match="'a' could not be loaded: it is cut off"):
        texts.find("a")
    assert texts.sources[0].created_at == 0


def test_unknown_names_are_told_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UnknownTextError, match="'x'; there are: a"):
        Texts([Source("a", tmp_path)]).find("x")
    with pytest.raises(UnknownTextError, match="there are: none"):
        Texts().find()


def test_the_end_stops_every_engine_and_the_loader(tmp_path: Path) -> None:
    texts = Texts([Source("a", tmp_path)])
    engine = ScriptedEngine()
    texts.put("a", served("a", engine))
    texts.stop(1)
    assert engine.stopped
    assert texts.wanted.get() is None
