"""One attempt at one job."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from server import metrics
from server.jobs import patience
from server.jobs.database import StoreError
from server.jobs.files import JobFiles
from server.jobs.job import Job, JobOutcome, JobState
from server.jobs.patience import insist
from server.jobs.store import JobStore
from server.jobs.watch import JobWatch, Stop
from server.jobs.work import OutputError, Work, inspect_output, store_report
from tests.unit.server.clips import make_video, make_wav
from tests.unit.server.jobs.fakes import SECONDS, FakeDub, submit_real, tools_of
from tests.unit.server.jobs.rows import claim, look, settings_in
from trans_dh_service.task import DubTask, DubWatch, MediaError


class Bench:
    """A store, files and a Work with a fake dub."""

    def __init__(self, folder: Path, store: JobStore) -> None:
        self.store = store
        self.files = JobFiles(folder / "data")
        self.files.make()
        self.dub = FakeDub()
        self.work = Work(settings_in(folder), store, self.files, tools_of)
        self.work.dub = self.dub

    def claimed(self, **request: object) -> Job:
        submit_real(self.store, self.files, **request)
        return claim(self.store)

    def attempt(self, job: Job) -> bool:
        return self.work.attempt(job, JobWatch(job))

    def raising(self, error: Exception) -> None:
        def fail(_task: DubTask, _watch: DubWatch) -> None:
            raise error

        self.dub.before = fail


@pytest.fixture
def bench(tmp_path: Path, store: JobStore) -> Iterator[Bench]:
    return Bench(tmp_path, store)  # type: ignore[return-value]


def test_a_dubbed_job_is_completed_with_its_file_in_place(bench: Bench) -> None:
    job = bench.claimed()
    assert bench.attempt(job)
    now = look(bench.store, job)
    path = bench.files.result(job.id)
    assert now.state is JobState.COMPLETED
    assert now.outcome == JobOutcome(str(path), SECONDS, 64, 48, path.stat().st_size)
    assert now.segments_done == 1
    assert not Path(job.request.video_path).exists()
    assert bench.files.work_dir(job.id).is_dir()


def test_a_video_without_a_face_completes_and_says_so(bench: Bench) -> None:
    bench.dub.faces = 0
    job = bench.claimed()
    assert bench.attempt(job)
    assert look(bench.store, job).note.startswith("no face was found in the video")


def test_the_dub_is_told_what_the_client_asked_for(bench: Bench) -> None:
    job = bench.claimed(loop="restart")
    bench.attempt(job)
    (task,) = bench.dub.tasks
    assert task.loop.value == "restart"
    assert task.video == Path(job.request.video_path)
    assert task.output == bench.files.work_dir(job.id) / "output-1.mp4"


def test_restoring_and_marking_are_passed_on_and_a_missing_restorer_is_said(bench: Bench) -> None:
    plain, asking = bench.claimed(), bench.claimed(restore_face=True, watermark=True)
    for job in (plain, asking):
        bench.attempt(job)
    assert [(task.restore, task.watermark) for task in bench.dub.tasks] == [
        (False, ""),
        (True, "AI generated"),
    ]
    assert look(bench.store, plain).note == ""
    assert look(bench.store, asking).note.startswith("the face was not restored: this server has")
    bench.dub.restores = True
    again = bench.claimed(restore_face=True)
    bench.attempt(again)
    assert look(bench.store, again).note == ""


def test_frames_that_rested_are_counted(bench: Bench) -> None:
    def count() -> float:
        return metrics.REGISTRY.get_sample_value("mouthpiece_frames_rested_total") or 0.0

    before = count()
    bench.attempt(bench.claimed())
    assert count() == before + 4


def test_a_heygem_job_ends_with_its_file_in_temp_and_no_segments(bench: Bench) -> None:
    job = bench.claimed(code="c")
    bench.attempt(job)
    assert bench.files.heygem_result("c").is_file()
    assert not bench.files.work_dir(job.id).exists()


def test_a_result_that_was_renamed_before_a_crash_is_taken_without_new_work(bench: Bench) -> None:
    job = bench.claimed(code="c")
    make_video(bench.files.result(job.id), SECONDS, sound=True)
    assert bench.attempt(job)
    assert bench.dub.tasks == []
    assert look(bench.store, job).state is JobState.COMPLETED
    assert bench.files.heygem_result("c").is_file()


def test_a_damaged_old_result_is_made_again(bench: Bench) -> None:
    job = bench.claimed()
    bench.files.result(job.id).write_bytes(b"half a file")
    assert bench.attempt(job)
    assert len(bench.dub.tasks) == 1


def test_leftovers_of_earlier_attempts_are_removed(bench: Bench) -> None:
    job = bench.claimed()
    bench.files.work_dir(job.id).mkdir()
    old = bench.files.work_dir(job.id) / "output-0.mp4"
    old.touch()
    bench.attempt(job)
    assert not old.exists()


def failures(code: str) -> float:
    found = metrics.REGISTRY.get_sample_value("mouthpiece_job_failures_total", {"code": code})
    assert found is not None, f"{code} is not there before the first of its kind"
    return found


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (MediaError("video", "no stream in x.mp4"), "invalid_video", "no stream in x.mp4"),
        (MediaError("audio", "too long"), "invalid_audio", "too long"),
        (OSError(errno.ENOSPC, "full"), "no_space", "bytes free"),
        (MemoryError("8 GiB"), "out_of_memory", "not enough memory"),
        (RuntimeError("secret detail"), "internal", "its log names the job"),
    ],
)
def test_whatever_goes_wrong_fails_the_job_with_a_code_and_a_message_for_people(
    bench: Bench, error: Exception, code: str, words: str
) -> None:
    before = failures(code)
    job = bench.claimed()
    bench.raising(error)
    assert bench.attempt(job)
    assert failures(code) == before + 1
    now = look(bench.store, job)
    assert now.state is JobState.FAILED
    assert now.error is not None
    assert now.error.code == code
    assert words in now.error.message
    assert "secret" not in now.error.message
    assert not Path(job.request.video_path).exists()
    assert not bench.files.work_dir(job.id).exists()


def test_a_full_disk_is_recognised_behind_another_error(bench: Bench) -> None:
    job = bench.claimed()
    wrapped = RuntimeError("the encoder failed")
    wrapped.__cause__ = OSError(errno.ENOSPC, "full")
    bench.raising(wrapped)
    bench.attempt(job)
    error = look(bench.store, job).error
    assert error is not None
    assert error.code == "no_space"


def test_a_missing_input_is_named(bench: Bench) -> None:
    job = bench.claimed()
    Path(job.request.audio_path).unlink()
    bench.attempt(job)
    error = look(bench.store, job).error
    assert error is not None
    assert error.code == "invalid_audio"
    assert job.request.audio_path in error.message


def test_a_model_that_is_not_loaded_is_named(bench: Bench, tmp_path: Path) -> None:
    def missing(name: str) -> None:
        raise KeyError(name)

    bench.work = Work(settings_in(tmp_path), bench.store, bench.files, missing)  # type: ignore[arg-type]
    job = bench.claimed(model="wav2lip")
    bench.attempt(job)
    error = look(bench.store, job).error
    assert error is not None
    assert error.code == "model_unavailable"
    assert "'wav2lip'" in error.message


def test_a_result_without_sound_is_not_called_a_success(bench: Bench) -> None:
    job = bench.claimed()

    class Mute(FakeDub):
        def __call__(self, task, tools, watch):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN204
            made = super().__call__(task, tools, watch)
            make_video(task.output, SECONDS, sound=False)
            return made

    bench.work.dub = Mute()
    bench.attempt(job)
    error = look(bench.store, job).error
    assert error is not None
    assert error.code == "internal"
    assert not bench.files.result(job.id).exists()


def test_a_drained_job_goes_back_unblamed_with_its_segments(bench: Bench) -> None:
    job = bench.claimed()
    watch = JobWatch(job)
    bench.dub.gate.clear()
    watch.stop(Stop.DRAIN)
    assert not bench.work.attempt(job, watch)
    now = look(bench.store, job)
    assert (now.state, now.crashes, now.segments_done) == (JobState.QUEUED, 0, 1)
    assert (bench.files.work_dir(job.id) / "segment").exists()
    assert Path(job.request.video_path).exists()


@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_a_job_that_was_ended_from_outside_leaves_no_files(bench: Bench, end: str) -> None:
    job = bench.claimed()
    bench.dub.before = lambda _task, _watch: getattr(bench.store, end)(job.id) and None
    assert not bench.attempt(job)
    assert not bench.files.result(job.id).exists()
    assert not bench.files.work_dir(job.id).exists()
    assert not Path(job.request.video_path).exists()


def test_a_late_worker_touches_nothing_of_the_new_attempt(bench: Bench) -> None:
    job = bench.claimed()

    def overtaken(_task: DubTask, _watch: DubWatch) -> None:
        bench.store.give_up(job, "stalled")
        claim(bench.store)

    bench.dub.before = overtaken
    assert not bench.attempt(job)
    now = look(bench.store, job)
    assert (now.state, now.attempt) == (JobState.IN_PROGRESS, 2)
    assert bench.files.work_dir(job.id).is_dir()
    assert Path(job.request.video_path).exists()


def test_a_stalled_attempt_that_wakes_up_changes_nothing(bench: Bench) -> None:
    job = bench.claimed()
    watch = JobWatch(job)
    bench.dub.gate.clear()
    bench.store.give_up(job, "stalled")
    watch.stop(Stop.STALLED)
    assert not bench.work.attempt(job, watch)
    assert look(bench.store, job).state is JobState.QUEUED


def test_an_error_after_the_claim_was_lost_is_not_a_failure(bench: Bench) -> None:
    job = bench.claimed()
    watch = JobWatch(job)

    def vanish(_task: DubTask, _watch: DubWatch) -> None:
        bench.store.cancel(job.id)
        watch.stop(Stop.LOST)
        raise FileNotFoundError("segment")

    bench.dub.before = vanish
    assert not bench.work.attempt(job, watch)
    assert look(bench.store, job).state is JobState.CANCELLED


def test_a_failure_of_a_job_that_is_gone_is_no_failure(bench: Bench) -> None:
    job = bench.claimed()

    def vanish(_task: DubTask, _watch: DubWatch) -> None:
        bench.store.delete(job.id)
        raise FileNotFoundError("segment")

    bench.dub.before = vanish
    assert not bench.attempt(job)
    assert bench.store.get(job.id) is None
    assert not bench.files.work_dir(job.id).exists()


def test_an_output_of_another_length_is_refused_with_the_numbers(tmp_path: Path) -> None:
    path = make_video(tmp_path / "x.mp4", 1.0, sound=True)
    with pytest.raises(OutputError, match=r"1\.0\d\d s of sound; planned were 3\.000 s"):
        inspect_output(path, 3.0)


def test_an_output_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be read"):
        inspect_output(make_wav(tmp_path / "x.wav"), 1.0)


def test_an_outcome_is_stored_as_soon_as_the_store_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patience, "_STORE_WAIT_S", 0.0)
    left = [StoreError("busy"), StoreError("busy")]

    def call() -> bool:
        if left:
            raise left.pop()
        return True

    assert insist(call)


def test_a_store_that_stays_busy_is_an_error_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_STORE_WAIT_S", 0.0)

    def call() -> bool:
        raise StoreError("busy")

    with pytest.raises(StoreError):
        insist(call)


def test_progress_that_cannot_be_stored_is_stored_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = bench.claimed()
    watch = JobWatch(job)
    watch.progress(1, 2)

    def busy(*_args: object) -> bool:
        raise StoreError("busy")

    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "report", busy)
        assert store_report(bench.store, watch)
    assert store_report(bench.store, watch)
    assert look(bench.store, job).progress == 55
