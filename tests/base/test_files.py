"""Law 5, nothing is lost: a write is whole or has not happened, and a broken file is told, never read."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from pipeline.base import files
from pipeline.base.errors import ArtifactError
from pipeline.base.files import atomic_write
from pipeline.competition.workspace import Workspace

FRAME = pd.DataFrame({"Id": [1, 2], "text": ["a,b", 'say "ü"'], "number": [0.1, np.nan]})
WRITERS: dict[str, tuple[Callable[[Path, Any], None], Callable[[Path], Any], Any]] = {
    "json": (files.write_json, lambda path: json.loads(path.read_text(encoding="utf-8")), {"ü": [1, 0.1, None]}),
    "parquet": (files.write_parquet, files.read_parquet, FRAME),
    "npy": (files.write_npy, files.read_npy, np.arange(6).reshape(2, 3)),
    "safetensors": (files.write_tensors, files.read_tensors, {"w": np.eye(2, dtype=np.float32).T}),
    "csv": (files.write_csv, pd.read_csv, FRAME),
}


def _same(one: Any, other: Any) -> None:
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            _same(one[key], other[key])
    else:
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", WRITERS)
def test_what_was_written_is_read_back(tmp_path: Path, kind: str) -> None:
    write, read, value = WRITERS[kind]
    path = tmp_path / "made" / "on" / f"the.way.{kind}"
    write(path, value)
    write(path, value)
    _same(read(path), value)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_csv_has_the_bytes_kaggle_reads(tmp_path: Path) -> None:
    files.write_csv(tmp_path / "s.csv", FRAME)
    assert (tmp_path / "s.csv").read_bytes() == 'Id,text,number\n1,"a,b",0.1\n2,"say ""ü""",\n'.encode()


def test_a_float_survives_csv_and_json_to_the_last_bit(tmp_path: Path) -> None:
    values = np.random.default_rng(0).lognormal(12, 3, 200)
    files.write_csv(tmp_path / "s.csv", pd.DataFrame({"y": values}))
    back = pd.read_csv(tmp_path / "s.csv")["y"].to_numpy()
    np.testing.assert_array_equal(back, values)
    files.write_json(tmp_path / "s.json", values.tolist())
    assert json.loads((tmp_path / "s.json").read_text()) == values.tolist()


@pytest.mark.parametrize("error", [RuntimeError("stop"), KeyboardInterrupt()])
def test_a_write_that_stops_in_the_middle_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")

    def stop_in_the_middle() -> None:
        with atomic_write(path) as file:
            file.write(b"half of the n")
            file.flush()
            raise error

    with pytest.raises(type(error)):
        stop_in_the_middle()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("has_old", [True, False])
def test_a_process_killed_in_the_middle_leaves_the_old_file(tmp_path: Path, has_old: bool) -> None:
    path = tmp_path / "oof.npy"
    if has_old:
        files.write_npy(path, np.arange(3))
    program = f"""
import os
from pathlib import Path
from pipeline.base.files import atomic_write
with atomic_write(Path({str(path)!r})) as file:
    file.write(b"half")
    file.flush()
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9
    assert path.exists() == has_old
    files.write_npy(path, np.arange(4))  # what the killed one left behind is in nobody's way
    assert len(files.read_npy(path)) == 4


def _fails_with(number: int) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("at", ["fsync", "replace"])
def test_a_full_disk_overwrites_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, at: str) -> None:
    write, read, value = WRITERS[kind]
    path = tmp_path / f"a.{kind}"
    write(path, value)
    before = path.read_bytes()
    monkeypatch.setattr(os, at, _fails_with(errno.ENOSPC))
    other = value.head(1) if isinstance(value, pd.DataFrame) else value
    with pytest.raises(ArtifactError, match="disk is full") as caught:
        write(path, other)
    assert str(path) in caught.value.message
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    _same(read(path), value)


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EACCES, "change the folder's permissions"), (errno.EROFS, "read-only"), (errno.EIO, "cannot be written")],
)
def test_a_folder_that_takes_no_file_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    monkeypatch.setattr(Path, "open", _fails_with(number))
    with pytest.raises(ArtifactError, match=words):
        files.write_text(tmp_path / "a.txt", "text")
    monkeypatch.undo()
    monkeypatch.setattr(Path, "mkdir", _fails_with(number))
    with pytest.raises(ArtifactError, match=words):
        files.write_text(tmp_path / "folder" / "a.txt", "text")
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_is_needed_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(ArtifactError) as caught:
        files.write_text(tmp_path / "runs" / "mine" / "report.json", "{}")
    assert "file is where a folder is needed" in caught.value.message


def test_a_written_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a", "text")
    (tmp_path / "b").write_text("text")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize("value", [float("nan"), {"score": float("inf")}])
def test_json_has_no_nan(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", value)
    assert list(tmp_path.iterdir()) == []


READERS = [kind for kind in WRITERS if kind not in ("csv", "json")]


@pytest.mark.parametrize("kind", READERS)
def test_a_missing_file_is_named(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ArtifactError, match="does not exist") as caught:
        WRITERS[kind][1](tmp_path / f"a.{kind}")
    assert caught.value.where == str(tmp_path / f"a.{kind}")


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("how", ["cut", "empty", "noise"])
def test_a_broken_file_is_named_and_never_read(tmp_path: Path, kind: str, how: str) -> None:
    write, read, value = WRITERS[kind]
    path = tmp_path / f"a.{kind}"
    write(path, value)
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) * 2 // 3], "empty": b"", "noise": b"\xff\xfe{nonsense" * 9}[how])
    with pytest.raises(ArtifactError, match="cannot be read") as caught:
        read(path)
    assert str(path) in caught.value.message
    assert "run the same command again" in caught.value.message


def test_pickles_are_refused_both_ways(tmp_path: Path) -> None:
    objects = np.array([{"a": 1}], dtype=object)
    with pytest.raises(ValueError, match="allow_pickle"):
        files.write_npy(tmp_path / "a.npy", objects)
    assert list(tmp_path.iterdir()) == []
    np.save(tmp_path / "b.npy", objects, allow_pickle=True)
    with pytest.raises(ArtifactError, match="allow_pickle"):
        files.read_npy(tmp_path / "b.npy")


def test_sha256_is_of_the_bytes(tmp_path: Path) -> None:
    content = b"x" * (3 << 20)
    (tmp_path / "a").write_bytes(content)
    assert files.sha256_of(tmp_path / "a") == hashlib.sha256(content).hexdigest()
    assert files.sha256_of_json({"a": 1, "b": 2}) == files.sha256_of_json({"b": 2, "a": 1})
    assert files.sha256_of_json({"a": 1}) != files.sha256_of_json({"a": 2})


def test_a_run_has_a_folder_of_its_name(tmp_path: Path) -> None:
    run = Workspace(tmp_path, "titanic").run("seed-mlp-0")
    assert (run.name, run.report) == ("seed-mlp-0", tmp_path / "data/titanic/runs/seed-mlp-0/report.json")


def test_the_commit_says_when_files_differ_from_it(tmp_path: Path) -> None:
    assert files.git_commit(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@t"]
    (tmp_path / "a").write_text("1")
    for command in (["init", "-q"], ["add", "a"], ["commit", "-qm", "one", "--no-verify"]):
        subprocess.run([*git, *command], check=True)
    commit = files.git_commit(tmp_path)
    assert commit is not None
    assert len(commit) == 40
    (tmp_path / "a").write_text("2")
    assert files.git_commit(tmp_path) == f"{commit}+"


def test_versions_name_what_decides_a_number() -> None:
    assert files.versions().keys() >= {"python", "torch", "numpy", "pandas", "scikit-learn"}


def test_a_file_gets_the_permissions_of_the_umask_of_the_moment(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        files.write_text(tmp_path / "private.txt", "x")
    finally:
        os.umask(before)
    files.write_text(tmp_path / "usual.txt", "x")
    assert (tmp_path / "private.txt").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "usual.txt").stat().st_mode & 0o777 == 0o666 & ~before


def test_arrays_of_objects_are_not_stored(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="arrays of objects cannot be stored: bad"):
        files.write_arrays(tmp_path / "a.npz", {"good": np.zeros(2), "bad": np.array([{}], dtype=object)})
    assert list(tmp_path.iterdir()) == []
    files.write_arrays(tmp_path / "a.npz", {"good": np.zeros(2)})
    assert list(files.read_arrays(tmp_path / "a.npz")) == ["good"]


def test_changed_tensors_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(0)}
    files.write_tensors(path, tensors)
    whole = path.read_bytes()
    read = files.read_tensors(path)
    assert all(np.array_equal(read[name], tensors[name]) for name in tensors)
    for damaged in (
        whole[:-1] + bytes([whole[-1] ^ 1]),
        whole.replace(b'"shape":[2,3]', b'"shape":[3,2]'),
        whole.replace(b'"a"', b'"d"'),
    ):
        assert damaged != whole
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match="was changed after it was written"):
            files.read_tensors(path)


def test_tensors_of_another_writer_have_no_checksum(tmp_path: Path) -> None:
    save_file({"a": np.ones(3)}, tmp_path / "a.safetensors")
    assert files.read_tensors(tmp_path / "a.safetensors")["a"].sum() == 3


def test_a_broken_checkpoint_is_reported_and_not_used(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pack.safetensors"
    assert files.read_checkpoint(files.read_tensors, None) is None
    assert files.read_checkpoint(files.read_tensors, path) is None
    files.write_tensors(path, {"a": np.ones(3)})
    assert files.read_checkpoint(files.read_tensors, path) is not None
    assert capfd.readouterr().err == ""
    path.write_bytes(path.read_bytes()[:-1])
    assert files.read_checkpoint(files.read_tensors, path) is None
    assert "what it held is trained again" in " ".join(capfd.readouterr().err.split())
