"""Laws of a user's Python files: read anew, and never mixed up with those of another folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.base.user_code import files_of, load_module, place_of


def write(folder: Path, value: str) -> Path:
    folder.mkdir()
    (folder / "helper.py").write_text(f"VALUE = {value!r}\n")
    (folder / "metric.py").write_text("from helper import VALUE\n")
    return folder / "metric.py"


def test_files_of_one_name_in_two_folders_are_two_modules(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a", "first"), write(tmp_path / "b", "second")
    assert load_module(first).VALUE == "first"
    assert load_module(second).VALUE == "second"
    assert load_module(first).VALUE == "first"


def test_an_edited_file_beside_it_is_read_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "a", "before")
    assert load_module(path).VALUE == "before"
    (path.parent / "helper.py").write_text("VALUE = 'after'\n")
    assert load_module(path).VALUE == "after"
    assert files_of(path) == [path.parent / "helper.py", path]


def test_a_failure_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "metric.py"
    path.write_text("a = 1\nb = a / 0\n")
    with pytest.raises(ZeroDivisionError) as caught:
        load_module(path)
    assert place_of(caught.value, path) == f"{path}, line 2"
