"""DATA_DIR: room, rights, file systems."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts.doctor.checks import folders
from scripts.doctor.look import Look
from server.settings import load_settings

MOUNTS = (
    "rootfs / ext4 rw 0 0\nserver:/x /data nfs4 rw 0 0\ntmpfs /data/fast tmpfs rw 0 0\n"
    "disk /my\\040disk xfs rw 0 0\n"
)


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/home/x", "ext4"), ("/data/jobs", "nfs4"), ("/data/fast/a", "tmpfs"), ("/my disk/a", "xfs")],
)
def test_the_file_system_is_that_of_the_closest_mount(path: str, kind: str) -> None:
    assert folders.file_system(Path(path), MOUNTS) == kind


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("MAX_UPLOAD_BYTES", "1000")
    return tmp_path / "data"


def codes() -> list[str]:
    return [one.code for one in folders.check(Look("python"))]


def test_a_folder_that_is_not_there_yet_is_made_at_the_start(data: Path) -> None:
    (finding,) = folders.check(Look("python"))
    assert finding.text.endswith(f"{data}, made at the start")
    assert not data.exists()


def test_a_folder_that_is_there_is_left_as_it_was(data: Path) -> None:
    (data / "run").mkdir(parents=True)
    assert codes() == [""]
    assert [path.name for path in data.rglob("*")] == ["run"]


def test_sqlite_on_a_network_disk_is_a_warning(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mounts").write_text("server:/x / nfs4 rw 0 0\n")
    monkeypatch.setattr(folders, "_MOUNTS", tmp_path / "mounts")
    assert codes() == ["", "data-on-network"]
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/jobs")
    assert codes() == [""]


def test_a_disk_without_inodes_is_full(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = dict.fromkeys(("f_blocks", "f_bfree", "f_bavail", "f_frsize"), 1 << 20)
    state = SimpleNamespace(f_files=10, f_favail=0, **blocks)
    monkeypatch.setattr(os, "statvfs", lambda _path: state)
    (finding,) = folders.room(load_settings(), data.parent)
    assert finding.text == f"no inode is left at {data}"


def test_another_user_s_folder_is_named_with_its_owner_and_the_way_out(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", denied)
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    monkeypatch.setattr(os, "geteuid", lambda: 987654)
    finding = next(folders.check(Look("python")))
    assert finding.code == "data-read-only"
    assert "Permission denied (owner " in finding.text
    assert "we are user 987654" in finding.text
    assert "chown -R user 987654" in finding.remedy
