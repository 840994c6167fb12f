"""Files of models: found under their names, and told apart from the published ones."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from models.catalog import ENTRIES, ModelEntry, ModelFile, ModelKind
from models.files import damage, difference, family, lacking, locate, remedy

SHIPPED = ModelFile("models/assets/none.onnx", 3, "ab")


def published(data: bytes, *others: str) -> ModelFile:
    digest = hashlib.sha256(data).hexdigest()
    return ModelFile("w/model.bin", len(data), digest, "https://host.example/m", others)


def model(name: str, *files: ModelFile, needs: tuple[str, ...] = ()) -> ModelEntry:
    return ModelEntry(name, ModelKind.LIPSYNC, "x:y", files, "free", "the shop", needs=needs)


def put(folder: Path, name: str, data: bytes = b"abc") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_a_file_lies_under_its_own_name_before_any_other(tmp_path: Path) -> None:
    file = published(b"abc", "face/model*.bin", "*.bin")
    assert locate(file, tmp_path) == tmp_path / "w" / "model.bin"
    last = put(tmp_path, "z.bin")
    assert locate(file, tmp_path) == last
    first = put(tmp_path, "face/model-2.bin")
    put(tmp_path, "face/model-3.bin")
    assert locate(file, tmp_path) == first
    own = put(tmp_path, "w/model.bin")
    assert locate(file, tmp_path) == own


def test_files_that_ship_with_the_code_are_looked_for_there(tmp_path: Path) -> None:
    assert locate(SHIPPED, tmp_path).parent.parts[-2:] == ("models", "assets")
    assert "missing in" in damage(SHIPPED, tmp_path)
    assert "restore it from the repository" in remedy(model("m"), SHIPPED)


def test_a_folder_under_the_name_of_a_file_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "w" / "model.bin").mkdir(parents=True)
    (tmp_path / "other.bin").mkdir()
    assert "model.bin is missing" in damage(published(b"abc", "*.bin"), tmp_path)


def test_a_missing_file_is_named_with_its_folder_and_what_would_do(tmp_path: Path) -> None:
    text = damage(published(b"abc", "a/x*.bin", "b/x*.bin", "y.bin"), tmp_path)
    assert text == f"model.bin is missing in {tmp_path}/w (nor is there any x*.bin or y.bin)"


@pytest.mark.parametrize(("data", "words"), [(b"ab", "2 bytes, should have 3"), (b"abd", "sha256")])
def test_another_file_under_a_published_name_is_told_and_not_refused(
    tmp_path: Path, data: bytes, words: str
) -> None:
    put(tmp_path, "w/model.bin", data)
    assert words in difference(published(b"abc"), tmp_path)
    assert damage(published(b"abc"), tmp_path) == ""


def test_a_whole_file_and_one_without_a_checksum_do_not_differ(tmp_path: Path) -> None:
    put(tmp_path, "w/model.bin")
    assert difference(published(b"abc"), tmp_path) == ""
    assert difference(ModelFile("w/model.bin"), tmp_path) == ""
    put(tmp_path, "other.bin", b"x")
    assert difference(published(b"abc", "other.bin"), tmp_path) == ""
    (tmp_path / "w" / "model.bin").unlink()
    assert difference(published(b"abc", "other.bin"), tmp_path) == ""


def test_a_model_lacks_the_files_of_what_it_needs(tmp_path: Path) -> None:
    voice = model("voice", ModelFile("voice.bin"))
    lips = model("lips", published(b"abc"), needs=("voice", "gone"))
    entries = (voice, lips)
    assert [entry.name for entry in family(lips, entries)] == ["lips", "voice"]
    assert "`python -m scripts.download_models --only lips` gets it" in lacking(
        lips, tmp_path, entries
    )
    put(tmp_path, "w/model.bin")
    text = lacking(lips, tmp_path, entries)
    assert "voice.bin is missing" in text
    assert "put it there" in text
    assert "the shop" in text
    put(tmp_path, "voice.bin")
    assert lacking(lips, tmp_path, entries) == ""


def test_default_models_lack_nothing(tmp_path: Path) -> None:
    for entry in ENTRIES:
        assert (lacking(entry, tmp_path) == "") == (entry.default or entry.name == "mel")
