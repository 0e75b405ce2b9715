"""Laws of members made elsewhere: they are what their files say, by id, on the folds in use, or they are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.base import files
from pipeline.base.errors import DataError
from pipeline.best import plan
from pipeline.best.costs import Candidate
from pipeline.competition.workspace import Workspace
from pipeline.config.run_report import RunReport
from pipeline.models.base import FitContext
from pipeline.models.run_configuration import load_run_config
from pipeline.scoring import given
from pipeline.scoring.given import given_run
from pipeline.stages.best import make_best
from tests.conftest import Toy

Change = Callable[[pd.DataFrame], pd.DataFrame]


def same(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


@pytest.fixture
def ready(toy: Toy) -> Toy:
    assert toy.run("features").exit_code == 0
    return toy


def write(toy: Toy, *, of_oof: Change = same, of_test: Change = same, name: str = "elsewhere") -> Path:
    """Out-of-fold predictions half as far from the truth as the mean, in another order; test predictions."""
    store = toy.store()
    folder = toy.workspace.folder / name
    folder.mkdir(exist_ok=True)
    price = np.exp((np.log(store.target) + np.log(store.target).mean()) / 2)
    oof = pd.DataFrame({"id": store.train_rows["id"], "fold": store.fold_of_row, "price": price})
    test = pd.DataFrame({"id": store.test_rows["id"], "price": np.linspace(5_000, 20_000, len(store.test_rows))})
    of_oof(oof.sample(frac=1.0, random_state=0)).to_csv(folder / "oof.csv", index=False)
    files.write_parquet(folder / "test.parquet", of_test(test.iloc[::-1].reset_index(drop=True)))
    return folder


def test_a_member_is_what_its_files_say_by_id(ready: Toy) -> None:
    run = given_run(ready.store(), write(ready), "elsewhere")
    store, report = ready.store(), RunReport.read(run.report)
    oof, test = files.read_parquet(run.oof), files.read_parquet(run.test)
    assert oof["id"].tolist() == store.train_rows["id"].tolist()
    half = (np.log(store.target) + np.log(store.target).mean()) / 2
    np.testing.assert_allclose(np.log(oof["prediction_0"]), half)
    np.testing.assert_allclose(test["prediction_0"], np.linspace(5_000, 20_000, len(test)))
    assert report.cv_score == pytest.approx(store.metric(store.target, np.exp(half)))


def test_a_member_is_read_once_until_its_files_change(ready: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    first = given_run(ready.store(), write(ready), "elsewhere")
    with monkeypatch.context() as patch:
        patch.setattr(given, "_predictions", lambda *_: pytest.fail("the same files were read again"))
        assert given_run(ready.store(), ready.workspace.folder / "elsewhere", "elsewhere").path == first.path
    changed = write(ready, of_test=lambda frame: frame.assign(price=frame["price"] + 1))
    assert given_run(ready.store(), changed, "elsewhere").path != first.path


@pytest.mark.parametrize(
    ("of_oof", "of_test", "message"),
    [
        (lambda frame: frame.iloc[1:], same, "1 of 64 ids have no row"),
        (same, lambda frame: frame.assign(id=frame["id"] + 1), "1 of 20 ids have no row"),
        (lambda frame: pd.concat([frame, frame.iloc[:1]]), same, "is there twice"),
        (lambda frame: frame.drop(columns="id"), same, "has no id column 'id'"),
        (lambda frame: frame.assign(fold=(frame["fold"] + (frame["id"] % 2)) % 4), same, "was made on other folds"),
        (lambda frame: frame.assign(price=frame["price"].mask(frame["id"] == 3)), same, "missing or no number"),
        (lambda frame: frame.assign(price="many"), same, "missing or no number"),
        (lambda frame: frame.assign(other=1.0).drop(columns="price").assign(more=2.0), same, "has the columns"),
    ],
)
def test_what_does_not_fit_is_refused(ready: Toy, of_oof: Change, of_test: Change, message: str) -> None:
    folder = write(ready, of_oof=of_oof, of_test=of_test)
    with pytest.raises(DataError, match=message):
        given_run(ready.store(), folder, "elsewhere")


def test_a_folder_without_tables_is_refused(ready: Toy) -> None:
    with pytest.raises(DataError, match="no such folder"):
        given_run(ready.store(), ready.workspace.folder / "nowhere", "nowhere")
    folder = write(ready)
    (folder / "oof.csv").unlink()
    with pytest.raises(DataError, match="holds no table `oof`"):
        given_run(ready.store(), folder, "elsewhere")


def test_other_numbers_of_the_folds_are_the_same_folds(ready: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    given_run(ready.store(), write(ready, of_oof=lambda frame: frame.assign(fold=9 - frame["fold"])), "renumbered")
    assert "no column `fold`" not in capsys.readouterr().err
    given_run(ready.store(), write(ready, of_oof=lambda frame: frame.drop(columns="fold")), "unknown")
    assert "no column `fold`" in capsys.readouterr().err


def test_predictions_of_rows_that_were_seen_are_told(
    ready: Toy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given, "LEAST_ROWS", 10)
    given_run(ready.store(), write(ready, of_test=lambda frame: frame.assign(price=9_000.0)), "flat")
    assert "saw the rows" in capsys.readouterr().err


@pytest.fixture
def classes(toy: Toy) -> Toy:
    """The toy with a binary target."""
    toy.edit_spec('task = "regression"', 'task = "binary"')
    toy.edit_spec('metric = "log_rmse"', 'metric = "roc_auc"')
    toy.edit_spec('target_transform = "log"', "")
    train = pd.read_csv(toy.workspace.raw / "train.csv")
    train["price"] = np.where(train["price"] > train["price"].median(), "high", "low")
    train.to_csv(toy.workspace.raw / "train.csv", index=False)
    sample = pd.read_csv(toy.workspace.raw / "sample_submission.csv").assign(price=0.5)
    sample.to_csv(toy.workspace.raw / "sample_submission.csv", index=False)
    assert toy.run("features").exit_code == 0
    return toy


def in_classes(toy: Toy, probability: Callable[[np.ndarray], dict[str, object]]) -> Path:
    store = toy.store()
    folder = toy.workspace.folder / "svm"
    folder.mkdir(exist_ok=True)
    for name, ids in (("oof", store.train_rows["id"]), ("test", store.test_rows["id"])):
        low = np.linspace(0.1, 0.8, len(ids))
        frame = pd.DataFrame({"id": ids, **probability(low)})
        frame.to_csv(folder / f"{name}.csv", index=False)
    return folder


def test_probabilities_come_in_one_column_or_a_column_per_class(classes: Toy) -> None:
    forms: list[Callable[[np.ndarray], dict[str, object]]] = [
        lambda low: {"price": low},
        lambda low: {"low": low, "high": 1.0 - low},
        lambda low: {"prediction_0": 1.0 - low, "prediction_1": low},
    ]
    for number, form in enumerate(forms):
        run = given_run(classes.store(), in_classes(classes, form), f"form{number}")
        stored = files.read_parquet(run.oof)
        np.testing.assert_allclose(stored["prediction_1"], np.linspace(0.1, 0.8, len(stored)))  # of "low", the second
        np.testing.assert_allclose(stored["prediction_0"] + stored["prediction_1"], 1.0)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda low: {"price": low * 2}, r"not in \[0, 1\]"),
        (lambda low: {"price": np.where(low > 0.5, "low", "high")}, "missing or no number"),
        (lambda low: {"low": low, "high": low}, "do not add up to 1"),
    ],
)
def test_what_is_no_probability_is_refused(
    classes: Toy, form: Callable[[np.ndarray], dict[str, object]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        given_run(classes.store(), in_classes(classes, form), "svm")


def test_the_race_weighs_a_member_and_says_that_new_rows_have_none(ready: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    true = dict(zip(ready.store().train_rows["id"], ready.store().target, strict=True))
    write(ready, of_oof=lambda frame: frame.assign(price=1.001 * frame["id"].map(true)))
    with ready.workspace.spec.open("a") as spec:
        spec.write('\n[[members]]\nfolder = "elsewhere"\nlabel = "by-hand"\n')
    ridge = Candidate("ridge", "ridge", load_run_config("fast", model="ridge"), 0.1)
    monkeypatch.setattr(plan, "candidates_for", lambda *_, **__: [ridge])
    best = make_best(ready.store(), FitContext(torch.device("cpu")), minutes=0.2)
    report = RunReport.read(best.run.report)
    assert report.ensemble is not None
    assert {one.label for one in report.ensemble.looked_at} == {"by-hand", "ridge"}
    assert next(one.weight for one in report.ensemble.members if one.label == "by-hand") > 0.9
    predicted = ready.run("predict", str(report.run), str(Workspace(ready.workspace.root, "toy").raw / "test.csv"))
    assert predicted.exit_code != 0
    assert "made elsewhere" in predicted.output
    planned = ready.run("kernel", "--preset", "best", "--no-upload")
    assert planned.exit_code != 0
    assert "made elsewhere" in planned.output
