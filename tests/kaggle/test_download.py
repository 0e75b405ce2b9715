"""A download is complete and verified, or resumable; never corrupt and never outside its folder."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.base import files
from pipeline.base.errors import KaggleError
from pipeline.cli import app
from pipeline.competition.workspace import Workspace
from pipeline.config.records import RawSource, metric_at_kaggle
from pipeline.kaggle.client.download import download_files
from pipeline.kaggle.client.session import KaggleSession
from tests.conftest import Toy
from tests.kaggle.server import TOKEN, Fault, KaggleServer, page, zip_of

BIG = {"train.csv": np.random.default_rng(0).bytes(300_000), "test.csv": b"id\n1\n"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder with `files` for extracted files; `part` is for unfinished downloads."""
    (tmp_path / "files").mkdir()
    return tmp_path


def download(place: Path, slug: str = "toy") -> dict[str, bytes]:
    """Download and return the files in the folder."""
    for old in (place / "files").iterdir():
        old.unlink()
    download_files(KaggleSession.connect(), slug, place / "files", part_folder=place / "part")
    return {
        str(path.relative_to(place / "files")): path.read_bytes()
        for path in (place / "files").rglob("*")
        if path.is_file()
    }


def part_is_a_prefix(place: Path, kaggle: KaggleServer) -> bool:
    part = place / "part" / "archive.part"
    return not part.exists() or kaggle.archive.startswith(part.read_bytes())


@pytest.mark.parametrize("cut_at", [0, 1, 3, 4096, 65536, 262144, 299_999])
def test_a_cut_download_resumes_at_the_byte_where_it_stopped(kaggle: KaggleServer, place: Path, cut_at: int) -> None:
    kaggle.offer(BIG)
    kaggle.fault("storage", Fault(cut_at=cut_at, times=1))
    assert download(place) == BIG
    ranges = [request.headers.get("Range") for request in kaggle.requests if request.name == "storage"]
    assert ranges == [None, f"bytes={cut_at}-" if cut_at else None]


def test_the_next_run_resumes_a_partial_download(kaggle: KaggleServer, place: Path) -> None:
    kaggle.offer(BIG)
    kaggle.fault("storage", Fault(cut_at=100_000, times=1))
    kaggle.fault("storage", Fault(drops=True))
    with pytest.raises(KaggleError, match="the same command resumes the download"):
        download(place)
    assert (place / "part" / "archive.part").stat().st_size == 100_000
    assert list((place / "files").iterdir()) == []
    kaggle.faults.clear()
    assert download(place) == BIG
    assert kaggle.requests[-1].headers["Range"] == "bytes=100000-"


def test_a_connection_that_drops_every_few_kilobytes_still_succeeds(kaggle: KaggleServer, place: Path) -> None:
    kaggle.offer(BIG)
    kaggle.fault("storage", Fault(cut_at=20_000))
    assert download(place) == BIG


def test_a_file_that_changed_between_two_runs_is_downloaded_again(kaggle: KaggleServer, place: Path) -> None:
    kaggle.offer(BIG)
    kaggle.fault("storage", Fault(cut_at=100_000, times=1))
    kaggle.fault("storage", Fault(drops=True))
    with pytest.raises(KaggleError):
        download(place)
    kaggle.faults.clear()
    other = {"train.csv": BIG["train.csv"][::-1], "test.csv": b"id\n2\n"}
    kaggle.offer(other)
    assert download(place) == other


def test_a_file_that_changes_during_the_download_is_downloaded_again(
    kaggle: KaggleServer, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kaggle.offer(BIG)
    kaggle.fault("storage", Fault(cut_at=100_000, times=1))
    other = {"train.csv": BIG["train.csv"][::-1], "test.csv": b"id\n2\n"}
    from pipeline.kaggle.client import calls

    monkeypatch.setattr(calls.Clock, "sleep", staticmethod(lambda _: kaggle.offer(other)))
    assert download(place) == other


@pytest.mark.parametrize("etag", ['"the-same"', ""])
def test_bytes_of_two_versions_are_never_mixed(kaggle: KaggleServer, place: Path, etag: str) -> None:
    """If the storage's ETag does not change with the content, or is missing, the checksums detect the mix."""
    kaggle.offer(BIG)
    kaggle.etag = etag
    kaggle.fault("storage", Fault(cut_at=100_000, times=1))
    kaggle.fault("storage", Fault(drops=True))
    with pytest.raises(KaggleError):
        download(place)
    kaggle.faults.clear()
    other = {"train.csv": BIG["train.csv"][::-1], "test.csv": b"id\n2\n"}
    kaggle.offer(other)
    kaggle.etag = etag
    assert download(place) == other


@pytest.mark.parametrize("code", [403, 404, 500])
def test_the_error_page_of_an_expired_url_is_never_written_to_the_part(
    kaggle: KaggleServer, place: Path, code: int
) -> None:
    kaggle.offer(BIG)
    kaggle.fault("storage", Fault(cut_at=100_000, times=1))
    kaggle.fault("storage", Fault(status=code, body=b"<Error>expired</Error>", content_type="text/xml", times=1))
    assert download(place) == BIG
    assert kaggle.names().count("DownloadDataFiles") == (1 if code == 500 else 2)


def test_a_web_page_in_place_of_the_archive_is_an_error(kaggle: KaggleServer, place: Path) -> None:
    kaggle.fault("storage", page(200))
    with pytest.raises(KaggleError, match="web page"):
        download(place)
    assert not (place / "part" / "archive.part").exists()


@pytest.mark.parametrize("damage", ["flipped", "short", "text"])
def test_a_damaged_archive_leaves_nothing(kaggle: KaggleServer, place: Path, damage: str) -> None:
    good = zip_of(BIG, zipfile.ZIP_STORED)
    flipped = good[:1000] + bytes([good[1000] ^ 1]) + good[1001:]
    kaggle.offer(BIG)
    kaggle.offer_bytes({"flipped": flipped, "short": good[:-10], "text": b"not an archive"}[damage])
    with pytest.raises(KaggleError, match="it was deleted"):
        download(place)
    assert not (place / "part").exists()
    assert list((place / "files").iterdir()) == []


def test_credentials_go_to_kaggle_and_not_to_the_storage(kaggle: KaggleServer, place: Path) -> None:
    kaggle.fault("storage", Fault(cut_at=100, times=1))
    download(place)
    for request in kaggle.requests:
        assert ("Authorization" in request.headers) == (request.name != "storage")
        if request.name == "storage":
            assert TOKEN not in json.dumps(request.headers)


def test_nested_archives_are_extracted_in_place(kaggle: KaggleServer, place: Path) -> None:
    inner = zip_of({"train.csv": b"a\n1\n"})
    kaggle.offer({"train.csv.zip": inner, "images/set.zip": zip_of({"1.png": b"x"}), "test.csv": b"a\n"})
    assert download(place) == {"train.csv": b"a\n1\n", "images/1.png": b"x", "test.csv": b"a\n"}


def test_a_single_file_that_is_not_an_archive_gets_its_listed_name(kaggle: KaggleServer, place: Path) -> None:
    kaggle.offer_bytes(b"id,x\n1,2\n")
    kaggle.listed = [{"name": "only.csv", "totalBytes": 9}]
    assert download(place) == {"only.csv": b"id,x\n1,2\n"}


def test_files_are_listed_across_pages(kaggle: KaggleServer) -> None:
    kaggle.offer({f"{i}.csv": b"x" for i in range(45)})
    assert len(KaggleSession.connect().data_files("toy")) == 45


def test_a_listed_file_that_is_missing_is_reported(
    kaggle: KaggleServer, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kaggle.listed.append({"name": "absent.csv", "totalBytes": 3})
    download(place)
    assert "absent.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    "given", ["toy", "https://www.kaggle.com/competitions/toy/data?select=train.csv", "https://www.kaggle.com/c/toy"]
)
def test_data_downloads_a_slug_or_url_and_writes_a_spec(kaggle: KaggleServer, empty: Toy, given: str) -> None:
    result = CliRunner().invoke(app, ["data", "-c", given, "--root", str(empty.workspace.root)])
    assert result.exit_code == 0, result.output
    assert 'kaggle_slug = "toy"' in result.stdout
    assert result.stdout.strip() == empty.workspace.spec.read_text().strip()
    source = RawSource.read(empty.workspace.source)
    assert source.source == "Kaggle: toy"
    assert source.is_sample is False
    assert source.files["train.csv"].sha256 == files.sha256_of(empty.workspace.raw / "train.csv")
    n_requests = len(kaggle.requests)
    assert empty.run("data").exit_code == 0
    assert len(kaggle.requests) == n_requests, "files that exist were requested again"


def test_a_dataset_is_recorded_in_the_spec_and_never_submitted_to(kaggle: KaggleServer, empty: Toy) -> None:
    result = empty.run("data", "--dataset", "ada/toy-data")
    assert result.exit_code == 0, result.output
    assert "DownloadDataset" in kaggle.names()
    assert 'dataset = "ada/toy-data"' in empty.workspace.spec.read_text()
    assert RawSource.read(empty.workspace.source).source == "Kaggle: ada/toy-data"
    submitted = empty.submit()
    assert "takes no submissions" in submitted.stderr
    assert kaggle.submissions == []


@pytest.mark.usefixtures("kaggle")
def test_a_failed_download_leaves_no_raw_folder_and_no_sample(tmp_path: Path) -> None:
    house = Toy(Workspace(tmp_path, "house-prices"))
    result = house.run("data")
    assert result.exit_code == 3
    assert "is misspelled" in result.stderr
    assert not house.workspace.raw.exists()


def test_real_files_replace_the_sample_when_there_are_credentials(
    kaggle: KaggleServer, tmp_path: Path, toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = Toy(Workspace(tmp_path / "house", "house-prices"))
    files.write_text(house.workspace.spec, toy.workspace.spec.read_text())
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    assert "SAMPLE DATA" in house.run("data").stderr
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    assert house.run("data").exit_code == 0
    assert RawSource.read(house.workspace.source).is_sample is False
    assert "DownloadDataFiles" in kaggle.names()


@pytest.mark.slow
def test_the_next_run_resumes_a_killed_download(kaggle: KaggleServer, place: Path) -> None:
    """The process exits during the download, without any cleanup."""
    kaggle.offer(BIG)
    kaggle.fault("storage", Fault(stalls=True, times=1))
    script = f"""
import os, threading
from kagglesdk import kaggle_env
for name in kaggle_env._env_to_endpoint:
    kaggle_env._env_to_endpoint[name] = {kaggle.url!r}
from pathlib import Path
from pipeline.kaggle.client.download import download_files
from pipeline.kaggle.client.session import KaggleSession
part = Path({str(place)!r}) / "part" / "archive.part"
def die_half_way():
    while not (part.exists() and part.stat().st_size > 100_000):
        pass
    os._exit(9)
threading.Thread(target=die_half_way).start()
download_files(KaggleSession.connect(), "toy", Path({str(place)!r}) / "files", part_folder=part.parent)
"""
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert killed.returncode == 9, killed.stderr
    assert part_is_a_prefix(place, kaggle)
    assert download(place) == BIG
    assert "Range" in kaggle.requests[-1].headers


@pytest.mark.usefixtures("kaggle")
def test_a_dataset_that_does_not_exist_is_named(place: Path) -> None:
    with pytest.raises(KaggleError, match="found no 'ada/misspelled'"):
        download(place, "ada/misspelled")


@pytest.mark.usefixtures("kaggle")
def test_kaggles_metric_is_recorded_and_drafted(empty: Toy) -> None:
    assert empty.run("data").exit_code == 0
    assert metric_at_kaggle(empty.workspace.raw) == "RMSLE"
    text = empty.workspace.spec.read_text()
    assert '# Kaggle\'s evaluation metric: RMSLE\nmetric = "rmsle"\n' in text
    empty.edit_spec('metric = "rmsle"', 'metric = "mae"')
    assert "the metric is mae, but Kaggle scores by 'RMSLE' (rmsle or log_rmse)" in empty.run("features").output
