"""Some of a competition's files can be listed and fetched, and a killed download leaves nothing behind."""

from __future__ import annotations

import os
from collections import namedtuple
from pathlib import Path

import pytest

from pipeline.base.errors import DataError
from pipeline.competition.workspace import Workspace
from pipeline.config.records import KAGGLE_FACTS, RawSource
from pipeline.kaggle.client import download, extraction
from pipeline.stages import data
from tests.conftest import TINY, Toy
from tests.kaggle.server import Fault, KaggleServer, zip_of

Usage = namedtuple("Usage", "total used free")


def raw_of(toy: Toy) -> list[str]:
    found = (str(p.relative_to(toy.workspace.raw)) for p in toy.workspace.raw.rglob("*") if p.is_file())
    return sorted(name for name in found if name != KAGGLE_FACTS)


def leftovers(toy: Toy) -> list[str]:
    return sorted(
        path.name for path in toy.workspace.folder.glob("*") if path.name.startswith((".files", ".raw", "down"))
    )


def test_files_are_listed_with_sizes_over_all_pages(kaggle: KaggleServer, empty: Toy) -> None:
    kaggle.offer({f"train_{i:02}.csv": bytes(1_500_000) for i in range(45)})
    result = empty.run("data", "--list")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 46
    assert lines[44].split() == ["1.5", "MB", "train_44.csv"]
    assert lines[45].split() == ["67.5", "MB", "in", "45", "files"]
    assert kaggle.names().count("ListDataFiles") == 3
    assert not empty.workspace.folder.exists()


def test_a_list_that_is_cut_says_so(kaggle: KaggleServer, empty: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    kaggle.offer({f"{i}\x1b[2J.png": b"x" for i in range(60)})
    monkeypatch.setattr("pipeline.kaggle.client.session.MOST_LISTED", 30)
    monkeypatch.setattr(data, "MOST_LISTED", 30)
    result = empty.run("data", "--list")
    assert "in 30 files; Kaggle has more" in result.stdout
    assert "\x1b" not in result.output


def test_only_the_named_files_are_fetched_and_added_to(kaggle: KaggleServer, empty: Toy) -> None:
    kaggle.offer(kaggle.single_files | {"images.zip": bytes(2_000_000)})
    kaggle.zipped = {"train.csv"}
    result = empty.run("data", "--files", "train.csv,test.csv")
    assert result.exit_code == 0, result.output
    assert raw_of(empty) == ["source.json", "test.csv", "train.csv"]
    assert (empty.workspace.raw / "train.csv").read_bytes() == kaggle.single_files["train.csv"]
    assert "DownloadDataFiles" not in kaggle.names()
    assert not empty.workspace.spec.exists()
    n_requests = kaggle.names().count("storage")
    again = empty.run("data", "--files", "train.csv", "--files", "sample_submission.csv")
    assert "train.csv is already there" in again.stderr
    assert kaggle.names().count("storage") == n_requests + 1
    source = RawSource.read(empty.workspace.source)
    assert (source.source, sorted(source.files)) == ("Kaggle: toy", ["sample_submission.csv", "test.csv", "train.csv"])
    assert empty.run("features").exit_code == 0
    assert leftovers(empty) == []
    assert "DownloadDataFiles" not in kaggle.names()


def test_names_without_folder_or_ending_are_found(kaggle: KaggleServer, empty: Toy) -> None:
    inner = zip_of({"train.csv": b"id\n1\n"})
    kaggle.offer(
        {"tables/train.csv.zip": inner, "my test.csv": b"id\n2\n", "book.xlsx": zip_of({"a": b"1", "b": b"2"})}
    )
    result = empty.run("data", "--files", "train.csv, my test.csv,book.xlsx")
    assert result.exit_code == 0, result.output
    assert raw_of(empty) == ["book.xlsx", "my test.csv", "source.json", "train.csv"]
    assert (empty.workspace.raw / "book.xlsx").read_bytes() == kaggle.single_files["book.xlsx"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("trian.csv", "Did you mean 'train.csv'?"),
        ("../../x.csv", "lists no such file"),
        (",", "no file is named"),
        ("twice.csv", "may be any of 'a/twice.csv', 'b/twice.csv'"),
    ],
)
def test_a_name_that_is_not_listed_is_a_message(kaggle: KaggleServer, empty: Toy, names: str, message: str) -> None:
    kaggle.listed += [{"name": "a/twice.csv", "totalBytes": 1}, {"name": "b/twice.csv", "totalBytes": 1}]
    result = empty.run("data", "--files", names)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "DownloadDataFile" not in kaggle.names()


@pytest.mark.parametrize("name", ["../../../evil.csv", "/evil.csv", "C:\\evil.csv", "a\x1b[31m.csv", "nul"])
def test_a_listed_name_that_is_not_safe_is_refused(kaggle: KaggleServer, empty: Toy, name: str) -> None:
    kaggle.offer({name: b"id\n1\n"})
    result = empty.run("data", f"--files={name}")
    assert result.exit_code == 2, result.output
    assert "\x1b" not in result.output
    assert not list(empty.workspace.root.rglob("*evil*"))


def test_a_cut_file_resumes_and_a_dataset_works(kaggle: KaggleServer, empty: Toy) -> None:
    kaggle.offer({"train.csv": b"id\n" + b"1\n" * 50_000})
    kaggle.fault("storage", Fault(cut_at=60_000, times=1))
    result = empty.run("data", "--dataset", "ada/toy-data", "--files", "train.csv")
    assert result.exit_code == 0, result.output
    assert kaggle.requests[-1].headers["Range"] == "bytes=60000-"
    assert (empty.workspace.raw / "train.csv").read_bytes() == kaggle.single_files["train.csv"]
    assert RawSource.read(empty.workspace.source).source == "Kaggle: ada/toy-data"


def test_real_files_replace_sample_data(kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = os.environ["KAGGLE_API_TOKEN"]
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    spiral = Toy(Workspace(tmp_path / "work", "spiral"))
    assert spiral.run("data").exit_code == 0
    assert RawSource.read(spiral.workspace.source).is_sample
    kaggle.slugs.add("spiral")
    monkeypatch.setenv("KAGGLE_API_TOKEN", token)
    result = spiral.run("data", "--files", "train.csv")
    assert result.exit_code == 0, result.output
    assert raw_of(spiral) == ["source.json", "train.csv"]
    assert not RawSource.read(spiral.workspace.source).is_sample


def test_without_credentials_it_says_where_to_get_them(empty: Toy) -> None:
    for options in (["--list"], ["--files", "train.csv"]):
        result = empty.run("data", *options)
        assert result.exit_code == 3
        assert "credentials" in result.output
    assert not empty.workspace.raw.exists()


def test_files_beyond_the_disk_are_refused_with_the_way_out(
    kaggle: KaggleServer, empty: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    kaggle.listed.append({"name": "scans.zip", "totalBytes": 100_000_000_000})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: Usage(10**12, 0, 50 * 10**9))
    result = empty.run("data")
    assert result.exit_code == 2
    assert "toy: the files have 100.0 GB, but the disk has only 50.0 GB left" in result.stderr
    assert "data --list" in result.stderr
    assert "storage" not in kaggle.names()
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: Usage(10**12, 0, 500 * 10**9))
    result = empty.run("data")
    assert "download: the files have 100.0 GB. " in result.stderr
    assert result.exit_code == 0, result.output


def test_a_download_survives_until_the_raw_folder_is_complete(
    kaggle: KaggleServer, empty: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_: Path) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(data.idx_images, "find_idx", die)
        assert empty.run("data").exit_code == 130
    assert leftovers(empty) == ["download"]
    n_bytes_asked = kaggle.names().count("storage")
    assert empty.run("data").exit_code == 0
    assert kaggle.names().count("storage") == n_bytes_asked + 1  # the address is asked for, the bytes are there
    assert leftovers(empty) == []


def test_leftovers_are_cleared_when_the_files_come_from_elsewhere(toy: Toy) -> None:
    part = toy.workspace.folder / "download"
    part.mkdir()
    (part / "archive.part").write_bytes(b"PK")
    assert toy.run("data").exit_code == 0
    assert not part.exists()


@pytest.mark.parametrize("is_resumed", [False, True])
def test_an_unsafe_archive_is_refused_by_the_competitions_name_and_not_kept(
    kaggle: KaggleServer, empty: Toy, is_resumed: bool
) -> None:
    kaggle.offer_bytes(zip_of({"train.csv": b"id\n", "\x1b[2J.csv": b"x"}))
    if is_resumed:
        kaggle.fault("storage", Fault(cut_at=20, times=1))
    result = empty.run("data")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-2].startswith(r"error: toy: '\x1b[2J.csv'")
    assert "archive.part" not in result.stderr
    assert "\x1b" not in result.stderr
    assert leftovers(empty) == []
    assert not empty.workspace.raw.exists()


def test_an_archive_too_large_is_kept_and_refused_without_a_second_download(
    kaggle: KaggleServer, empty: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    kaggle.offer({"train.csv": bytes(3_000_000)})
    monkeypatch.setattr(extraction, "MIN_LIMIT", 100_000)
    monkeypatch.setattr(extraction, "MAX_RATIO", 1)
    for _ in range(2):
        result = empty.run("data")
        assert result.exit_code == 2
        assert "exceeds the size limit" in result.stderr
        assert "The download is kept" in result.stderr
    assert sum("Range" not in one.headers for one in kaggle.requests if one.name == "storage") == 2


def test_the_list_of_contents_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "MOST_BYTES_OF_CONTENTS", 10_000)
    (tmp_path / "a.zip").write_bytes(zip_of({f"{i}.csv": b"" for i in range(500)}))
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match="toy: the archive's list of contents"):
        extraction.extract(tmp_path / "a.zip", tmp_path / "in", name="toy")
    assert not list((tmp_path / "in").iterdir())


@pytest.mark.parametrize("is_one_zip", [False, True])
def test_zipped_tables_of_a_folder_are_unpacked(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_one_zip: bool
) -> None:
    tables = {path.name: path.read_bytes() for path in toy.workspace.raw.glob("*.csv")}
    place = tmp_path / "place" / "toy"
    place.mkdir(parents=True)
    for name, content in tables.items():
        (place / f"{name}.zip").write_bytes(zip_of({name: content}))
    if is_one_zip:
        for path in place.iterdir():
            path.unlink()
        (place / "toy.zip").write_bytes(zip_of(tables))
    monkeypatch.setenv("PIPELINE_DATA_DIR", str(place.parent))
    fresh = Toy(Workspace(tmp_path / "fresh", "toy"))
    assert fresh.run("data").exit_code == 0
    assert {path.name: path.read_bytes() for path in fresh.workspace.raw.glob("*.csv")} == tables


def test_a_folder_in_the_place_of_a_submission_is_a_message(toy: Toy) -> None:
    toy.submit("--no-upload")
    path = toy.submission()
    path.unlink()
    path.mkdir()
    result = toy.run("submit", "--no-upload", *TINY)
    assert result.exit_code == 2
    assert f"{path}: cannot be written" in result.stderr
    assert "move it away" in result.stderr
