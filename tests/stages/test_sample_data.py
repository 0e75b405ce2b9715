"""Law: sample data never becomes real, whatever happens to the files around it; real data never becomes sample."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.base.errors import ArtifactError
from pipeline.competition.samples import SAMPLES, make_sample
from pipeline.competition.samples.recognition import BLOCKS, MARK_FILE, N_ROWS, holds_sample
from pipeline.competition.workspace import Workspace
from pipeline.config.records import Provenance, RawSource
from pipeline.config.run_report import RunReport
from pipeline.config.spec import load_spec
from pipeline.kaggle.client.session import KaggleSession
from pipeline.stages import data
from pipeline.stages.submit import submit
from tests.conftest import Toy


@pytest.fixture
def spiral(tmp_path: Path) -> Toy:
    toy = Toy(Workspace(tmp_path, "spiral"))
    assert toy.run("data").exit_code == 0
    return toy


def forget(toy: Toy) -> None:
    """Drop all records, so that only the tables themselves tell what they are."""
    toy.workspace.source.unlink()
    (toy.workspace.raw / MARK_FILE).unlink()


def edited(toy: Toy) -> None:
    for name in ("train.csv", "test.csv"):
        path = toy.workspace.raw / name
        frame = pd.read_csv(path)
        frame.assign(x1=frame["x1"] + 1).sample(frac=1.0, random_state=0).to_csv(path, index=False)


def as_parquet(toy: Toy) -> None:
    for path in toy.workspace.raw.glob("*.csv"):
        pd.read_csv(path).to_parquet(path.with_suffix(".parquet"))
        path.unlink()


def as_gzip(toy: Toy) -> None:
    for path in toy.workspace.raw.glob("*.csv"):
        pd.read_csv(path).to_csv(path.with_suffix(".csv.gz"), index=False, lineterminator="\r\n")
        path.unlink()


def marked_and_changed(toy: Toy) -> None:
    """The mark among the files stays, and the tables have nothing left of the sample."""
    (toy.workspace.raw / MARK_FILE).write_text("")
    for name in ("train.csv", "test.csv"):
        path = toy.workspace.raw / name
        pd.read_csv(path).assign(x1=1.5, x2=lambda frame: range(len(frame))).to_csv(path, index=False)


@pytest.mark.parametrize("change", [lambda _: None, edited, as_parquet, as_gzip, marked_and_changed])
def test_the_data_itself_says_that_it_is_sample(spiral: Toy, change: Callable[[Toy], None]) -> None:
    forget(spiral)
    change(spiral)
    done = spiral.run("features")
    assert done.exit_code == 0, done.output
    assert "SAMPLE DATA" in done.stderr
    assert RawSource.read(spiral.workspace.source).is_sample
    assert spiral.store().manifest.is_sample


def test_a_kill_before_the_record_leaves_sample_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Toy(Workspace(tmp_path, "spiral"))
    with monkeypatch.context() as patch:
        patch.setattr(data, "write_source", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        toy.run("data")
    assert not toy.workspace.source.exists()
    assert toy.run("data").exit_code == 0
    assert RawSource.read(toy.workspace.source).is_sample


def test_the_hint_about_a_changed_file_keeps_the_mark(spiral: Toy) -> None:
    path = spiral.workspace.raw / "train.csv"
    path.write_text(path.read_text() + "\n")
    refused = spiral.run("features")
    assert refused.exit_code == 2
    assert "it stays SAMPLE DATA" in refused.stderr
    spiral.workspace.source.unlink()
    assert spiral.run("features").exit_code == 0
    assert spiral.store().is_sample


def test_a_renamed_competition_and_a_copied_folder_are_sample(spiral: Toy, tmp_path: Path) -> None:
    other = Workspace(tmp_path, "mine")
    spiral.workspace.folder.rename(other.folder)
    other.spec.write_text(other.spec.read_text().replace('"spiral"', '"mine"'))
    other.source.unlink()
    assert Toy(other).run("features").exit_code == 0
    assert Toy(other).store().is_sample
    third = Workspace(tmp_path, "third")
    third.folder.mkdir()
    shutil.copyfile(other.spec, third.spec)
    third.raw.mkdir()
    for name in ("train.csv", "test.csv", "sample_submission.csv"):
        shutil.copyfile(other.raw / name, third.raw / name)
    third.spec.write_text(third.spec.read_text().replace('"mine"', '"third"'))
    assert Toy(third).run("features").exit_code == 0
    assert Toy(third).store().is_sample


def test_a_wrong_record_is_noticed_at_the_upload(
    spiral: Toy, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that says the data is real, as an earlier version wrote it after a kill, uploads nothing."""
    monkeypatch.setattr(data, "holds_sample", lambda _: False)
    forget(spiral)
    done = spiral.run("submit", "--model", "baseline", "--no-upload")
    assert done.exit_code == 0, done.output
    monkeypatch.setattr(KaggleSession, "connect", None)  # calling it raises
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_test")
    assert not spiral.store().manifest.is_sample
    submit(spiral.store(), spiral.submission(), is_upload_wanted=True)
    assert "this is SAMPLE DATA, which is never sent to Kaggle" in capfd.readouterr().err
    assert RunReport.read(spiral.only_run().report).is_sample
    assert Provenance.read(spiral.submission().with_suffix(".json")).is_sample


def test_a_submission_that_was_changed_is_refused(toy: Toy) -> None:
    toy.submit("--no-upload")
    path = toy.submission()
    path.write_text(path.read_text().replace("1", "2", 1) + "\n")
    with pytest.raises(ArtifactError, match="was changed after it was made"):
        submit(toy.store(), path, is_upload_wanted=True)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_is_recognised_by_either_table(tmp_path: Path, name: str) -> None:
    sample = make_sample(name)
    for table, frame in (("train", sample.train), ("test", sample.test)):
        folder = tmp_path / table
        folder.mkdir()
        frame.to_csv(folder / "some.csv", index=False)
        assert holds_sample(folder)
        columns = [BLOCKS[name][0], *BLOCKS[name][1][-1]]
        frame[columns][::2].to_csv(folder / "some.csv", index=False)
        assert holds_sample(folder)


@pytest.mark.parametrize("name", SAMPLES)
def test_data_of_the_same_form_is_not_called_sample(tmp_path: Path, name: str) -> None:
    """The same columns, ids and ranges; also the sample's own values on other rows."""
    sample, rng = make_sample(name), np.random.default_rng(0)
    key = BLOCKS[name][0]
    shuffled = sample.train.assign(**{key: rng.permutation(sample.train[key])})
    drawn = pd.DataFrame({column: rng.permutation(values) for column, values in sample.train.items()})
    mixed = pd.concat([shuffled[: N_ROWS - 100], sample.train[:100]])
    for number, frame in enumerate((shuffled, drawn, mixed, sample.train[:0])):
        folder = tmp_path / str(number)
        folder.mkdir()
        frame.to_csv(folder / "train.csv", index=False)
        sample.sample_submission.to_csv(folder / "sample_submission.csv", index=False)
        assert not holds_sample(folder)


def test_a_table_that_cannot_be_read_is_not_called_sample(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"id,x1,x2\n\xff\xfe,1\n1,2,3,4,5,6\n")
    (tmp_path / "b.csv.gz").write_bytes(b"nonsense")
    (tmp_path / "c.parquet").write_bytes(b"PAR1")
    (tmp_path / "d.csv").write_bytes(b"")
    assert not holds_sample(tmp_path)
    assert not holds_sample(tmp_path / "nothing")


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["house-prices", "titanic", "spaceship-titanic"])
def test_real_data_is_not_called_sample(real_data: Path, name: str) -> None:
    assert not holds_sample(real_data / name)


def test_real_files_replace_the_sample_and_its_mark(
    spiral: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "real"
    (place / "spiral").mkdir(parents=True)
    for path in spiral.workspace.raw.glob("*.csv"):
        pd.read_csv(path).assign(**({"x1": 1.0, "x2": 2.0} if path.stem != "sample_submission" else {})).to_csv(
            place / "spiral" / path.name, index=False
        )
    monkeypatch.setenv("PIPELINE_DATA_DIR", str(place))
    assert "they replace the sample data" in " ".join(spiral.run("data").stderr.split())
    assert not RawSource.read(spiral.workspace.source).is_sample
    assert not (spiral.workspace.raw / MARK_FILE).exists()
    assert load_spec(spiral.workspace.spec).name == "spiral"
