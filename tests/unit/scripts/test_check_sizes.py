"""The size gate finds what is too long."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import check_sizes


@pytest.fixture
def in_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(check_sizes, "ROOT", tmp_path)
    return tmp_path


def write(folder: Path, text: str, name: str = "part.py") -> list[str]:
    path = folder / name
    path.write_text(text)
    return check_sizes.breaches(path)


def test_a_short_documented_file_passes(in_tree: Path) -> None:
    assert write(in_tree, '"""A part."""\nX = 1\n') == []


def test_a_long_function_is_named(in_tree: Path) -> None:
    body = "\n".join("    x = 1" for _ in range(60))
    assert write(in_tree, f'"""A part."""\ndef long():\n{body}\n') == [
        "part.py:2: long has 61 lines, at most 60"
    ]


def test_a_long_file_is_named(in_tree: Path) -> None:
    assert write(in_tree, '"""A part."""\n' + "X = 1\n" * 400) == [
        "part.py: 401 lines, at most 400"
    ]


def test_a_module_without_a_docstring_is_named(in_tree: Path) -> None:
    assert write(in_tree, "X = 1\n") == ["part.py: no module docstring"]


def test_a_package_that_imports_is_named(in_tree: Path) -> None:
    found = write(in_tree, '"""A package."""\nimport os\n', name="__init__.py")
    assert found == [
        "__init__.py: its docstring has no line that starts 'Never:'",
        "__init__.py: holds more than a docstring",
    ]
