"""The command that lists models and fetches their files."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.catalog import ENTRIES, ModelEntry, ModelFile, ModelKind
from scripts import download_models
from scripts.download_models import Bar, choose, main, size_text, state
from scripts.fetch import Fetcher
from server.settings import child_environment
from tests.unit.scripts.depot import Depot, Manner

ROOT = Path(__file__).resolve().parents[3]
DATA = b"weights" * 1000


@pytest.fixture
def depot() -> Iterator[Depot]:
    made = Depot()
    yield made
    made.stop()


@pytest.fixture
def shelf(depot: Depot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """WEIGHTS_DIR, with a catalogue of three models whose files lie in the depot."""
    digest = hashlib.sha256(DATA).hexdigest()
    depot.files = {"/hub/net.bin": DATA, "/hub/voice.bin": DATA}
    net = ModelFile("w/net.bin", len(DATA), digest, f"{depot.url}/hub/net.bin", ("w/net-*.bin",))
    voice = ModelFile("voice.bin", url=f"{depot.url}/hub/voice.bin")
    entries = (
        ModelEntry("lips", ModelKind.LIPSYNC, "x:y", (net,), "free", "the hub", needs=("voice",)),
        ModelEntry("voice", ModelKind.AUDIO, "x:y", (voice,), "free", "the hub"),
        ModelEntry("own", ModelKind.FACE, "x:y", (ModelFile("own.onnx"),), "yours", "your shelf"),
    )
    for name in ("scripts.download_models.ENTRIES", "models.files.ENTRIES"):
        monkeypatch.setattr(name, entries)
    # A default argument keeps the catalogue that was there when it was made.
    monkeypatch.setattr(
        download_models,
        "family",
        lambda entry: [entry, *(e for e in entries if e.name in entry.needs)],
    )
    monkeypatch.setenv("WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.delenv("MODEL_MIRRORS", raising=False)
    return tmp_path / "weights"


def run(*arguments: str) -> int:
    return main(arguments, Fetcher(tries=2, pause_s=0.01, read_s=5))


def test_the_list_has_all_that_one_must_know(
    shelf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--list") == 0
    text = capsys.readouterr().out
    for part in (
        f"WEIGHTS_DIR={shelf}",
        "lips (lipsync, needs voice)",
        "licence  free",
        "source   your shelf",
        f"file     w/net.bin, 6.8 KiB, sha256 {hashlib.sha256(DATA).hexdigest()}",
        "or     net-*.bin",
        "/hub/net.bin",
        "voice.bin, size not known, no checksum: checked by loading only",
        "from   your own: put it into WEIGHTS_DIR",
        "state  missing",
    ):
        assert part in text


def test_a_model_comes_with_what_it_needs_and_a_second_call_fetches_nothing(
    shelf: Path, depot: Depot, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--only", "lips") == 0
    assert (shelf / "w" / "net.bin").read_bytes() == (shelf / "voice.bin").read_bytes() == DATA
    assert "no checksum is known for it" in capsys.readouterr().out
    assert run("--only", "lips") == 0
    assert "all files are there" in capsys.readouterr().out
    assert len(depot.asked) == 2


def test_without_names_all_that_has_an_address_is_fetched(shelf: Path) -> None:
    assert run() == 0
    assert (shelf / "voice.bin").is_file()
    assert not (shelf / "own.onnx").exists()


def test_a_named_model_whose_file_people_bring_themselves_is_said(
    shelf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--only", "own") == 1
    assert "own: own.onnx has no address: your shelf" in capsys.readouterr().err


def test_one_file_that_cannot_be_had_does_not_keep_the_others_away(
    shelf: Path, depot: Depot, capsys: pytest.CaptureFixture[str]
) -> None:
    del depot.files["/hub/net.bin"]
    assert run() == 1
    assert "lips: w/net.bin was not fetched: " in capsys.readouterr().err
    assert (shelf / "voice.bin").is_file()


def test_a_file_of_the_user_s_own_is_left_alone_until_told_otherwise(
    shelf: Path, depot: Depot, capsys: pytest.CaptureFixture[str]
) -> None:
    own = shelf / "w" / "net.bin"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"trained further")
    assert run("--only", "lips") == 0
    assert own.read_bytes() == b"trained further"
    assert "it is loaded as it is (--replace fetches" in capsys.readouterr().out
    assert run("--only", "lips", "--replace") == 0
    assert own.read_bytes() == DATA


def test_a_file_of_another_name_is_enough(shelf: Path, depot: Depot) -> None:
    (shelf / "w").mkdir(parents=True)
    (shelf / "w" / "net-small.bin").write_bytes(b"x")
    assert run("--only", "lips") == 0
    assert [ask.path for ask in depot.asked] == ["/hub/voice.bin"]


def test_mirrors_are_asked_first_and_the_source_last(
    shelf: Path, depot: Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    depot.files["/near/w/net.bin"] = DATA
    monkeypatch.setenv("MODEL_MIRRORS", f"{depot.url}/near")
    assert run("--only", "lips") == 0
    assert [ask.path for ask in depot.asked] == [
        "/near/w/net.bin",
        "/near/voice.bin",
        "/near/hub/voice.bin",
        "/hub/voice.bin",
    ]


def test_a_fetch_that_was_cut_off_goes_on_at_the_next_call(
    shelf: Path, depot: Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    depot.files["/hub/voice.bin"] = DATA * 20
    depot.manners = [Manner(cut=70_000), Manner(503), Manner(503)]
    assert run("--only", "voice") == 1
    assert run("--only", "voice") == 0
    assert depot.asked[-1].range == "bytes=65536-"
    assert (shelf / "voice.bin").read_bytes() == DATA * 20


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("--only", "sora", "no model is called 'sora'; there are: lips, voice, own"),
        ("MODEL_MIRRORS", "ftp://x", "must begin with http"),
    ],
)
def test_a_wrong_call_is_2_and_says_what_is_allowed(
    shelf: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    words: str,
) -> None:
    if name == "MODEL_MIRRORS":
        monkeypatch.setenv(name, value)
        assert run("--list") == 2
    else:
        assert run(name, value) == 2
    assert words in capsys.readouterr().err


def test_a_file_that_ships_and_was_changed_is_damaged(tmp_path: Path) -> None:
    assert state(ModelFile("models/assets/viseme_audio.onnx", 3, "ab"), tmp_path).startswith(
        "damaged: viseme_audio.onnx in "
    )


def test_all_models_are_chosen_once_where_none_is_named() -> None:
    assert choose([]) == list(ENTRIES)
    assert [entry.name for entry in choose(["musetalk", "musetalk-v1.5"])] == [
        "musetalk",
        "whisper",
        "musetalk-v1.5",
    ]


@pytest.mark.parametrize(
    ("size", "text"), [(5, "5 bytes"), (1536, "1.5 KiB"), (3_400_074_924, "3.2 GiB")]
)
def test_sizes_are_for_people(size: int, text: str) -> None:
    assert size_text(size) == text


def test_progress_is_a_changing_line_on_a_terminal_and_a_last_line_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bar = Bar("net.bin")
    bar(10, 100)
    bar(100, 100)
    assert capsys.readouterr().err.startswith("  net.bin: 100 % of 100 bytes, ")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(download_models, "_REDRAW_S", 0.0)
    bar = Bar("net.bin")
    bar(1024, 0)
    bar(100, 100)
    said = capsys.readouterr().err
    assert said.startswith("\r  net.bin: 1.0 KiB, ")
    assert said.endswith("\n")


def test_it_runs_as_a_file_and_as_a_module_without_heavy_imports(tmp_path: Path) -> None:
    environment = child_environment(WEIGHTS_DIR=str(tmp_path), PYTHONPROFILEIMPORTTIME="1")
    for how in (["scripts/download_models.py"], ["-m", "scripts.download_models"]):
        done = subprocess.run(
            [sys.executable, *how, "--list", "--only", "yunet"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "yunet (face)" in done.stdout
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert not imported & {"torch", "cv2", "onnxruntime", "flask"}
