"""The cache: whole or not at all, and never needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trans_dh_service.cache import content_hash, load_arrays, save_arrays


def test_arrays_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.npz"
    save_arrays(path, {"x": np.arange(5), "y": np.eye(2)})
    found = load_arrays(path)
    assert found is not None
    assert (found["x"] == np.arange(5)).all()
    assert (found["y"] == np.eye(2)).all()
    assert [entry.name for entry in path.parent.iterdir()] == ["a.npz"]


def test_a_missing_or_damaged_entry_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    assert load_arrays(path) is None
    save_arrays(path, {"x": np.arange(500)})
    whole = path.read_bytes()
    for data in (b"", whole[:100], whole[:-40], b"x" * 50, whole[:200] + b"y" * 9 + whole[209:]):
        path.write_bytes(data)
        assert load_arrays(path) is None


def test_a_disk_that_refuses_costs_only_the_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    save_arrays(tmp_path / "file" / "a.npz", {"x": np.arange(5)})
    assert load_arrays(tmp_path / "file" / "a.npz") is None


def test_the_hash_is_that_of_the_content(tmp_path: Path) -> None:
    one, two, other = (tmp_path / name for name in "abc")
    one.write_bytes(b"x" * 3_000_000)
    two.write_bytes(b"x" * 3_000_000)
    other.write_bytes(b"x" * 2_999_999 + b"y")
    assert content_hash(one) == content_hash(two) != content_hash(other)
    assert len(content_hash(one)) == 32
