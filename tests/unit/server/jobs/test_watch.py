"""What a running job tells."""

from __future__ import annotations

import time

from server import metrics
from server.jobs.claims import Report
from server.jobs.helper import RangeWatch
from server.jobs.job import Job, JobRequest, JobState
from server.jobs.ranges import SegmentRange
from server.jobs.watch import JobWatch, Stop
from trans_dh_service.task import Stage


def watch_of(progress: int = 0, segments_done: int = 0) -> JobWatch:
    request = JobRequest("/v", "/a", "viseme")
    return JobWatch(
        Job(
            "video_1",
            request,
            JobState.IN_PROGRESS,
            0.0,
            progress=progress,
            segments_done=segments_done,
        )
    )


def test_stages_and_frames_give_the_milestones_that_clients_know() -> None:
    watch = watch_of()
    seen = []
    for stage in (Stage.PREPARE, Stage.SPEECH, Stage.RENDER):
        watch.stage(stage)
        seen.append(watch.take())
    for frames in (50, 100):
        watch.progress(frames, 100)
        seen.append(watch.take())
    watch.stage(Stage.JOIN)
    seen.append(watch.take())
    assert [report.progress for report in seen if report] == [0, 10, 20, 55, 90, 90]
    assert [report.stage for report in seen if report][-1] == "join"


def test_progress_never_goes_back_when_a_job_resumes() -> None:
    watch = watch_of(progress=60)
    watch.stage(Stage.PREPARE)
    watch.progress(1, 100)
    report = watch.take()
    assert report is not None
    assert report.progress == 60


def test_no_frames_at_all_are_no_division_by_zero() -> None:
    watch = watch_of()
    watch.progress(0, 0)
    report = watch.take()
    assert report is not None
    assert report.progress == 20


def test_only_segments_that_were_not_there_before_count_as_new() -> None:
    watch = watch_of(segments_done=2)
    watch.segment(1, 4)
    assert watch.take() == Report("", 0, 2, 4, new_segment=False)
    watch.segment(2, 4)
    assert watch.take() == Report("", 0, 3, 4, new_segment=True)


def test_nothing_new_is_no_report_and_a_report_put_back_comes_again() -> None:
    watch = watch_of()
    assert watch.take() is None
    watch.segment(0, 4)
    report = watch.take()
    assert report is not None
    assert watch.take() is None
    watch.put_back(report)
    assert watch.take() == report


def test_the_first_reason_to_stop_counts() -> None:
    watch = watch_of()
    assert not watch.stopped()
    watch.stop(Stop.LOST)
    watch.stop(Stop.DRAIN)
    assert watch.stopped()
    assert watch.why is Stop.LOST


def test_idle_time_starts_again_with_every_sign_of_life() -> None:
    watch = watch_of()
    watch._moved_at -= 100
    assert watch.idle_s() > 99
    watch.progress(1, 10)
    assert watch.idle_s() < 1


def test_segments_in_any_order_count_up_to_the_first_that_is_missing() -> None:
    watch = watch_of()
    watch.count(1, 6)
    for index in (3, 1):
        watch.segment(index, 6)
    report = watch.take()
    assert report is not None
    assert (report.segments_done, report.new_segment) == (2, True)
    watch.count(3, 6)
    report = watch.take()
    assert report is not None
    assert report.segments_done == 4
    watch.count(4, 6)
    assert watch.take() is None


def firsts() -> tuple[float, float]:
    """How many first segments were told, and the sum of their times."""
    name = "mouthpiece_job_first_segment_seconds"
    read = metrics.REGISTRY.get_sample_value
    return read(f"{name}_count") or 0.0, read(f"{name}_sum") or 0.0


def a_job(age_s: float, segments_done: int = 0) -> Job:
    request = JobRequest("/v", "/a", "viseme")
    made_at = time.time() - age_s
    return Job("v", request, JobState.IN_PROGRESS, made_at, segments_done=segments_done)


def test_the_time_to_the_first_segment_is_told_once_from_the_job_s_making() -> None:
    count, total = firsts()
    watch = JobWatch(a_job(40))
    watch.segment(0, 4)
    watch.segment(1, 4)
    assert firsts()[0] == count + 1
    assert 40 <= firsts()[1] - total < 50


def test_a_resumed_job_and_a_helper_have_no_first_segment() -> None:
    count, _ = firsts()
    JobWatch(a_job(40, segments_done=2)).segment(2, 4)
    RangeWatch(a_job(40), SegmentRange(1, "v", 1, 0, 2, 1)).segment(0, 4)
    assert firsts()[0] == count


def test_frames_on_disk_are_counted_as_they_come() -> None:
    before = metrics.REGISTRY.get_sample_value("mouthpiece_frames_total") or 0.0
    watch = watch_of()
    watch.wrote(50)
    watch.wrote(12)
    assert metrics.REGISTRY.get_sample_value("mouthpiece_frames_total") == before + 62
