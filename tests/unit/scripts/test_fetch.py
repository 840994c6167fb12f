"""Fetching over a line that breaks, from servers that lie."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from scripts import fetch
from scripts.fetch import Fetcher, FetchError, Wanted, addresses
from tests.unit.scripts.depot import Depot, Manner

BLOCK = 65536
DATA = os.urandom(6 * BLOCK)
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def depot() -> Iterator[Depot]:
    made = Depot()
    made.files["/m.bin"] = DATA
    yield made
    made.stop()


@pytest.fixture
def fetcher() -> Fetcher:
    return Fetcher(tries=3, pause_s=0.01, read_s=5)


def wanted(folder: Path, *urls: str, digest: str = DIGEST, size: int = len(DATA)) -> Wanted:
    return Wanted(urls, folder / "w" / "m.bin", size, digest)


def is_done(one: Wanted) -> bool:
    """Whether the file is there, whole, and nothing else is."""
    assert sorted(path.name for path in one.target.parent.iterdir()) == ["m.bin"]
    return one.target.read_bytes() == DATA


def test_a_file_comes_whole_and_progress_is_told(
    depot: Depot, fetcher: Fetcher, tmp_path: Path
) -> None:
    one = wanted(tmp_path, f"{depot.url}/m.bin")
    told: list[tuple[int, int]] = []
    fetcher.fetch(one, lambda have, whole: told.append((have, whole)))
    assert is_done(one)
    assert told[-1] == (len(DATA), len(DATA))


def test_a_connection_that_is_cut_again_and_again_goes_on_where_it_was(
    depot: Depot, fetcher: Fetcher, tmp_path: Path
) -> None:
    depot.manners = [Manner(cut=BLOCK + 9) for _ in range(5)]
    one = wanted(tmp_path, f"{depot.url}/m.bin")
    fetcher.fetch(one)
    assert is_done(one)
    assert [ask.range for ask in depot.asked] == [
        "",
        *(f"bytes={have}-" for have in range(BLOCK, 6 * BLOCK, BLOCK)),
    ]
    assert depot.asked[1].if_range == '"v1"'


def test_what_an_earlier_call_left_is_gone_on_with(
    depot: Depot, fetcher: Fetcher, tmp_path: Path
) -> None:
    one = wanted(tmp_path, f"{depot.url}/m.bin")
    depot.manners = [Manner(cut=2 * BLOCK), Manner(503), Manner(503), Manner(503)]
    with pytest.raises(FetchError, match="m.bin: HTTP 503"):
        fetcher.fetch(one)
    assert one.part.stat().st_size == 2 * BLOCK
    Fetcher().fetch(one)
    assert is_done(one)
    assert depot.asked[-1].range == f"bytes={2 * BLOCK}-"


def test_a_server_without_ranges_sends_all_again(
    depot: Depot, fetcher: Fetcher, tmp_path: Path
) -> None:
    depot.manners = [Manner(cut=BLOCK + 9), Manner(ignore_range=True)]
    one = wanted(tmp_path, f"{depot.url}/m.bin")
    fetcher.fetch(one)
    assert is_done(one)


def test_a_server_that_sends_another_part_than_asked_is_not_believed(
    depot: Depot, fetcher: Fetcher, tmp_path: Path
) -> None:
    depot.manners = [Manner(cut=BLOCK + 9), Manner(shift=7)]
    one = wanted(tmp_path, f"{depot.url}/m.bin")
    fetcher.fetch(one)
    assert is_done(one)
    assert depot.asked[2].range == ""


def test_a_file_that_changed_meanwhile_is_begun_again_by_its_tag(
    depot: Depot, fetcher: Fetcher, tmp_path: Path
) -> None:
    depot.files["/m.bin"] = b"old" + DATA[3:]
    depot.manners = [Manner(cut=BLOCK + 9), *(Manner(500) for _ in range(3))]
    one = wanted(tmp_path, f"{depot.url}/m.bin", digest="", size=0)
    with pytest.raises(FetchError):
        fetcher.fetch(one)
    depot.files["/m.bin"], depot.tag = DATA, '"v2"'
    fetcher.fetch(one)
    assert is_done(one)


@pytest.mark.parametrize("tag", ["", 'W/"v1"'])
def test_without_tag_and_checksum_nothing_is_joined(
    depot: Depot, fetcher: Fetcher, tmp_path: Path, tag: str
) -> None:
    depot.tag = tag
    depot.manners = [Manner(cut=BLOCK + 9)]
    one = wanted(tmp_path, f"{depot.url}/m.bin", digest="", size=0)
    fetcher.fetch(one)
    assert is_done(one)
    assert [ask.range for ask in depot.asked] == ["", ""]


def test_with_a_checksum_a_second_address_goes_on_with_what_the_first_gave(
    depot: Depot, fetcher: Fetcher, tmp_path: Path
) -> None:
    depot.files["/b/m.bin"] = DATA
    depot.manners = [Manner(cut=BLOCK + 9), *(Manner(502) for _ in range(3))]
    one = wanted(tmp_path, f"{depot.url}/m.bin", f"{depot.url}/b/m.bin")
    fetcher.fetch(one)
    assert is_done(one)
    assert (depot.asked[-1].path, depot.asked[-1].range) == ("/b/m.bin", f"bytes={BLOCK}-")


def test_a_part_that_is_wrong_is_found_out_and_all_is_fetched_again(
    depot: Depot, fetcher: Fetcher, tmp_path: Path
) -> None:
    one = wanted(tmp_path, f"{depot.url}/m.bin")
    one.part.parent.mkdir(parents=True)
    one.part.write_bytes(b"x" * 1000)
    fetcher.fetch(one)
    assert is_done(one)
    assert [ask.range for ask in depot.asked] == ["bytes=1000-", ""]


def test_a_404_goes_to_the_next_address_at_once(
    depot: Depot, fetcher: Fetcher, tmp_path: Path
) -> None:
    one = wanted(tmp_path, f"{depot.url}/gone.bin", f"{depot.url}/m.bin")
    fetcher.fetch(one)
    assert is_done(one)
    assert [ask.path for ask in depot.asked] == ["/gone.bin", "/m.bin"]


def test_when_no_address_has_it_each_is_named_with_its_reason(
    depot: Depot, fetcher: Fetcher, tmp_path: Path
) -> None:
    depot.files["/short.bin"] = DATA[:-1]
    depot.files["/wrong.bin"] = DATA[:-1] + b"!"
    bases = [f"{depot.url}/{name}.bin" for name in ("gone", "short", "wrong")]
    one = wanted(tmp_path, *bases, "http://127.0.0.1:9/m.bin", "http://[::1/m.bin")
    with pytest.raises(FetchError) as info:
        fetcher.fetch(one)
    text = str(info.value)
    for part in (
        "gone.bin: HTTP 404",
        "short.bin: it has 393215 bytes there, should have 393216",
        "wrong.bin: sha256 is ",
        f"should be {DIGEST}",
        "ConnectionError",
    ):
        assert part in text
    assert not one.target.exists()
    assert not one.part.exists()


def test_a_body_of_unknown_length_is_checked_at_its_end(
    depot: Depot, fetcher: Fetcher, tmp_path: Path
) -> None:
    depot.manners = [Manner(nameless=True, cut=1000)]
    one = wanted(tmp_path, f"{depot.url}/m.bin", digest="")
    with pytest.raises(FetchError, match="1000 bytes came, should be 393216"):
        fetcher.fetch(one)
    depot.manners = [Manner(nameless=True)]
    fetcher.fetch(one)
    assert is_done(one)


def test_a_server_that_asks_for_patience_gets_it(
    depot: Depot, fetcher: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(fetch, "time", SimpleNamespace(sleep=waits.append))
    depot.manners = [Manner(429, headers={"Retry-After": "7"}), Manner(503)]
    fetcher.fetch(wanted(tmp_path, f"{depot.url}/m.bin"))
    assert waits == [7.0, 0.02]


@pytest.mark.parametrize(("have", "asked"), [(len(DATA), 1), (len(DATA) + 1, 2)])
def test_a_part_that_is_the_whole_is_kept_and_a_longer_one_is_not(
    depot: Depot, fetcher: Fetcher, tmp_path: Path, have: int, asked: int
) -> None:
    one = wanted(tmp_path, f"{depot.url}/m.bin")
    one.part.parent.mkdir(parents=True)
    one.part.write_bytes((DATA + b"!")[:have])
    fetcher.fetch(one)
    assert is_done(one)
    assert len(depot.asked) == asked


def test_a_note_that_is_damaged_is_passed_over(
    depot: Depot, fetcher: Fetcher, tmp_path: Path
) -> None:
    one = wanted(tmp_path, f"{depot.url}/m.bin", digest="", size=0)
    one.part.parent.mkdir(parents=True)
    one.part.write_bytes(b"x")
    for text in ("not json", "[]"):
        one.origin.write_text(text)
        one.part.write_bytes(b"x")
        fetcher.fetch(one)
        assert is_done(one)


def test_a_disk_that_is_too_full_is_said_before_anything_comes(
    depot: Depot, fetcher: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(FetchError, match="1000 bytes free; 67502080 are needed"):
        fetcher.fetch(wanted(tmp_path, f"{depot.url}/m.bin"))


def test_two_processes_do_not_fetch_the_same_file(
    depot: Depot, fetcher: Fetcher, tmp_path: Path
) -> None:
    one = wanted(tmp_path, f"{depot.url}/m.bin")
    one.part.parent.mkdir(parents=True)
    with (
        FileLock(f"{one.part}.lock"),
        pytest.raises(FetchError, match="is being fetched by another process"),
    ):
        fetcher.fetch(one)
    assert depot.asked == []


def test_mirrors_go_before_the_source_unless_it_is_named() -> None:
    url = "https://host.example/a/m.bin?x=1"
    assert list(addresses(url, "w/m.bin", ())) == [url]
    assert list(addresses(url, "w/m.bin", ("https://m.example/",))) == [
        "https://m.example/w/m.bin",
        "https://m.example/a/m.bin?x=1",
        url,
    ]
    assert next(addresses(url, "w/m.bin", ("source", "https://m.example"))) == url
