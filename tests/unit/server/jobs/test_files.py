"""Where files lie, and which of them a client may name."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from server.jobs.files import JobFiles, PathRefusedError, check_code
from server.jobs.job import Job, JobRequest, JobState


def files_in(folder: Path) -> JobFiles:
    files = JobFiles(folder / "data")
    files.make()
    return files


def job_of(files: JobFiles, **request: object) -> Job:
    values = {
        "video_path": str(files.upload("video_1", "video", ".mp4")),
        "audio_path": str(files.upload("video_1", "audio", ".wav")),
        "model": "viseme",
        **request,
    }
    return Job("video_1", JobRequest(**values), JobState.COMPLETED, 0.0)  # type: ignore[arg-type]


def test_a_bare_name_is_looked_up_in_temp(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    (files.temp / "a b.mp4").touch()
    assert files.heygem_input("a b.mp4") == files.temp / "a b.mp4"


@pytest.mark.parametrize("root", ["{root}", "/code/data"])
def test_an_absolute_path_inside_the_data_root_is_accepted(tmp_path: Path, root: str) -> None:
    files = files_in(tmp_path)
    (files.root / "face").mkdir()
    (files.root / "face" / "x.mp4").touch()
    text = root.format(root=files.root) + "/face/x.mp4"
    assert files.heygem_input(text) == files.root / "face" / "x.mp4"


@pytest.mark.parametrize(
    "text",
    [
        "missing.mp4",
        "../../secret",
        "/etc/hostname",
        "/code/data/../../etc/hostname",
        "link.mp4",
        "linked/secret",
        "{root}",
        "a\0b",
        "x" * 300,
        "D:\\data\\temp\\x.mp4",
    ],
)
def test_what_lies_outside_or_is_no_file_is_refused_with_path_and_roots(
    tmp_path: Path, text: str
) -> None:
    files = files_in(tmp_path)
    (tmp_path / "secret").touch()
    (files.temp / "link.mp4").symlink_to(tmp_path / "secret")
    (files.temp / "linked").symlink_to(tmp_path)
    with pytest.raises(PathRefusedError, match="Allowed are names in .*temp and paths inside"):
        files.heygem_input(text.format(root=files.root))


def test_a_link_that_stays_inside_is_followed(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    (files.root / "real.mp4").touch()
    (files.temp / "link.mp4").symlink_to(files.root / "real.mp4")
    assert files.heygem_input("link.mp4") == files.root / "real.mp4"


@pytest.mark.parametrize("code", ["a/b", "..", ".x", "a\\b", "a\0", "x" * 201, "a\nb"])
def test_a_code_that_is_no_file_name_is_refused(code: str) -> None:
    assert check_code(code) is not None


@pytest.mark.parametrize("code", ["6f9a-1", "任务 1", "a.b"])
def test_a_plain_code_is_accepted(code: str) -> None:
    assert check_code(code) is None


def test_publishing_moves_the_file_whole_and_links_it_for_heygem(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    made = tmp_path / "out.mp4"
    made.write_bytes(b"new")
    files.heygem_result("c").write_bytes(b"old")
    job = job_of(files, code="c")
    path = files.publish(made, job)
    assert path == files.results / "video_1.mp4"
    assert not made.exists()
    assert files.heygem_result("c").read_bytes() == b"new"
    assert files.heygem_result("c").samefile(path)
    assert files.publish(path, job) == path
    assert list(files.temp.iterdir()) == [files.heygem_result("c")]


def test_without_hard_links_the_file_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: Path, _target: Path) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    files = files_in(tmp_path)
    made = tmp_path / "out.mp4"
    made.write_bytes(b"new")
    path = files.publish(made, job_of(files, code="c"))
    assert files.heygem_result("c").read_bytes() == path.read_bytes() == b"new"
    assert not files.heygem_result("c").samefile(path)


def test_removing_a_job_leaves_nothing_of_it(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    job = job_of(files, code="c")
    paths = [
        Path(job.request.video_path),
        Path(job.request.audio_path),
        files.result(job.id),
        files.thumbnail(job.id),
        files.heygem_result("c"),
    ]
    for path in paths:
        path.touch()
    files.work_dir(job.id).mkdir()
    (files.work_dir(job.id) / "segment").touch()
    files.remove(job)
    assert not any(path.exists() for path in paths)
    assert not files.work_dir(job.id).exists()


def test_inputs_of_others_are_never_removed(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    theirs = files.temp / "v.mp4"
    theirs.touch()
    job = job_of(files, video_path=str(theirs), audio_path=str(theirs))
    files.remove(replace(job, request=replace(job.request, owns_inputs=False)))
    files.remove(job)
    assert theirs.exists()


def test_free_space_is_a_number_of_bytes(tmp_path: Path) -> None:
    assert files_in(tmp_path).free_bytes() > 0


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a fake of the system's answer: root, who often runs the tests, may write anywhere."""
    files = JobFiles(tmp_path / "data")
    assert files.refusal() == ""
    assert not files.root.exists()
    files.make()
    assert files.refusal() == ""
    monkeypatch.setattr(os, "access", lambda path, _mode: path != files.temp)
    assert f"may not write to {files.temp}" in files.refusal()
    assert f"chown -R {os.getuid()}:{os.getgid()}" in files.refusal()
