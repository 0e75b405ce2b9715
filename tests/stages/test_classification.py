"""Laws of classification runs: labels come back as Kaggle wrote them, in the sample's form; scores are honest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.base import files
from pipeline.base.errors import SpecError
from pipeline.competition.store import given_class_weights
from pipeline.competition.workspace import Workspace
from pipeline.config.run_report import Adjustment, RunReport
from pipeline.metrics import METRICS
from pipeline.models.run_configuration import load_run_config
from pipeline.scoring.cross_validation import predictions_of, scores_of
from tests.conftest import TINY, Toy, toy_tables

SPEC = """
name = "toy"
kaggle_slug = "toy"
id = "id"
target = "class"
task = "{task}"
metric = "{metric}"

[folds]
kind = "{kind}"
number = 4
"""


def competition(
    tmp_path: Path,
    labels: list[str],
    *,
    metric: str = "accuracy",
    kind: str = "stratified",
    sample: dict[str, str] | None = None,
    submission: str = "",
    n_train: int = 96,
) -> Toy:
    """A toy whose classes, cut from the price, are written as `labels`, lowest first, letter by letter."""
    train, test = toy_tables(n_train)
    shares = np.linspace(0, 1, len(labels) + 1) if len(labels) > 2 else [0, 0.7, 1]
    codes = pd.qcut(train.pop("price"), shares, labels=False).to_numpy()
    lines = train.assign(**{"class": np.array(labels, dtype=object)[codes]})
    workspace = Workspace(tmp_path / "work", "toy")
    workspace.raw.mkdir(parents=True)
    lines.to_csv(workspace.raw / "train.csv", index=False)
    test.to_csv(workspace.raw / "test.csv", index=False)
    columns = sample or {"class": labels[0]}
    test[["id"]].assign(**columns).to_csv(workspace.raw / "sample_submission.csv", index=False)
    task = "binary" if len(labels) == 2 else "multiclass"
    workspace.spec.write_text(SPEC.format(task=task, metric=metric, kind=kind) + submission)
    return Toy(workspace)


def submitted(toy: Toy) -> pd.DataFrame:
    """The submission's cells as text."""
    return pd.read_csv(toy.submission(), dtype=str, keep_default_na=False)


KINDS = {
    "bool": ["False", "True"],
    "lower-case bool": ["false", "true"],
    "text": ["no", "Yes"],
    "0 and 1": ["0", "1"],
    "1 to K": ["1", "2", "3"],
    "gaps and below 0": ["-1", "4", "10"],
    "floats": ["0.0", "1.0"],
    "halves": ["0.5", "1.0", "1.5"],
    "leading zeros": ["001", "002", "010"],
    "spaces and commas": ["a b", "c, d", 'e "f"'],
    "accents": ["été", "naïve", "日本"],
    "a class called None": ["None", "Some"],
}


@pytest.mark.slow
@pytest.mark.parametrize("labels", KINDS.values(), ids=KINDS)
def test_labels_come_back_as_the_train_file_writes_them(tmp_path: Path, labels: list[str]) -> None:
    toy = competition(tmp_path, labels)
    toy.submit("--set", "epochs=30", "--set", "lr=0.03")
    found = submitted(toy)["class"]
    assert set(found) <= set(labels)
    assert found.nunique() > 1
    result = toy.run("predict", toy.only_run().name, str(toy.workspace.raw / "test.csv"))
    assert result.exit_code == 0, result.output
    (again,) = toy.workspace.raw.glob("test-*.csv")
    assert again.read_text() == toy.submission().read_text()


@pytest.mark.slow
def test_one_probability_is_that_of_the_second_class(tmp_path: Path) -> None:
    toy = competition(tmp_path, ["no", "yes"], metric="roc_auc", sample={"class": "0.5"})
    toy.submit("--set", "epochs=30", "--set", "lr=0.03")
    oof = files.read_parquet(toy.only_run().oof)
    assert METRICS["roc_auc"](oof["target_0"], oof[["prediction_0", "prediction_1"]]) > 0.7
    test = files.read_parquet(toy.only_run().test)
    np.testing.assert_allclose(submitted(toy)["class"].astype(float), test["prediction_1"])


def test_a_column_a_class_stands_in_the_samples_order_not_the_codes(tmp_path: Path) -> None:
    toy = competition(
        tmp_path,
        ["10", "2", "33"],
        metric="log_loss",
        sample={"p_33": "0.3", "p_10": "0.3", "p_2": "0.4"},
        submission='\n[submission]\ncolumns = ["p_33", "p_10", "p_2"]\nclasses = ["33", "10", "2"]\n',
    )
    toy.submit("--set", "epochs=5")
    found = submitted(toy)
    assert list(found.columns) == ["id", "p_33", "p_10", "p_2"]
    test = files.read_parquet(toy.only_run().test)
    classes = [str(label) for label in toy.store().classes]
    for label in classes:
        np.testing.assert_allclose(found[f"p_{label}"].astype(float), test[f"prediction_{classes.index(label)}"])


@pytest.mark.slow
def test_the_report_tells_each_class_and_how_far_the_probabilities_are_true(tmp_path: Path) -> None:
    toy = competition(tmp_path, ["low", "mid", "high"])
    toy.submit("--set", "epochs=30", "--set", "lr=0.03")
    run = toy.only_run()
    report, oof = RunReport.read(run.report), files.read_parquet(run.oof)
    by_class = report.classification.by_class
    assert [str(row.label) for row in by_class] == [str(label) for label in toy.store().classes]
    assert sum(row.support for row in by_class) == 96
    label = predictions_of(oof, is_classification=True).argmax(axis=1)
    for code, row in enumerate(by_class):
        assert row.recall == pytest.approx(((oof["target_0"] == code) & (label == code)).sum() / row.support)
    told = report.classification.probabilities
    assert sum(row.rows for row in told.reliability) == 96
    assert told.threshold is None


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["f1", "mcc", "balanced_accuracy"])
def test_a_metric_of_labels_gets_its_threshold_and_cv_score_is_that_of_the_stored_file(
    tmp_path: Path, metric: str
) -> None:
    toy = competition(tmp_path, ["no", "yes"], metric=metric)
    toy.submit("--set", "epochs=30", "--set", "lr=0.03", "--set", "calibration=temperature")
    run = toy.only_run()
    report, oof = RunReport.read(run.report), files.read_parquet(run.oof)
    assert (report.cv_score, report.fold_scores) == scores_of(oof, METRICS[metric])
    told = report.classification.probabilities.threshold
    assert told.score_cross_fitted == report.cv_score
    assert len(told.by_part) == 4
    result = toy.run("predict", run.name, str(toy.workspace.raw / "test.csv"))
    assert result.exit_code == 0, result.output
    (again,) = toy.workspace.raw.glob("test-*.csv")
    assert again.read_text() == toy.submission().read_text()


@pytest.mark.slow
def test_a_refit_is_adjusted_as_its_run_is(tmp_path: Path) -> None:
    toy = competition(tmp_path, ["no", "yes"], metric="log_loss", sample={"class": "0.5"})
    toy.submit("--set", "epochs=10", "--set", "final=refit", "--set", "calibration=isotonic")
    run = toy.only_run()
    steps = RunReport.read(run.report).classification.adjustment.calibrator.steps[0][1]
    found = submitted(toy)["class"].astype(float)
    assert found.between(min(steps) - 1e-9, max(steps) + 1e-9).all()
    result = toy.run("predict", run.name, str(toy.workspace.raw / "test.csv"))
    assert result.exit_code == 0, result.output
    (again,) = toy.workspace.raw.glob("test-*.csv")
    assert again.read_text() == toy.submission().read_text()


@pytest.mark.slow
def test_accuracy_keeps_the_threshold_at_half_unless_asked(tmp_path: Path) -> None:
    toy = competition(tmp_path, ["no", "yes"])
    toy.submit()
    report = RunReport.read(toy.only_run().report)
    assert report.classification.adjustment == Adjustment(calibrator=None, threshold=None)
    result = toy.run("submit", *TINY, "--set", "threshold=best")
    assert result.exit_code == 0, result.output
    thresholds = [
        RunReport.read(path).classification.adjustment.threshold for path in toy.workspace.runs.glob("*/report.json")
    ]
    assert sorted(one is None for one in thresholds) == [False, True]


@pytest.mark.slow
def test_a_holdout_is_adjusted_by_parts_of_its_own_rows(tmp_path: Path) -> None:
    toy = competition(tmp_path, ["no", "yes"], metric="f1", kind="holdout")
    toy.workspace.spec.write_text(toy.workspace.spec.read_text() + "share = 0.4\n")
    toy.submit("--set", "epochs=30", "--set", "lr=0.03", "--set", "calibration=temperature")
    report = RunReport.read(toy.only_run().report)
    assert len(report.classification.probabilities.threshold.by_part) == 5
    assert sum(row.support for row in report.classification.by_class) == 38


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("threshold=best", "there is no threshold to choose"),
        ("threshold=0.3", "threshold"),
        ("calibration=platt", "calibration"),
        ("class_weights=even", "class_weights"),
        ("class_weights.hihg=2.0", "Did you mean 'high'?"),
        ("class_weights.high=0.0", "Weights must be > 0"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_trained(tmp_path: Path, setting: str, said: str) -> None:
    toy = competition(tmp_path, ["low", "mid", "high"])
    result = toy.run("submit", *TINY, "--set", setting)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not list(toy.workspace.runs.glob("*/report.json"))


@pytest.mark.parametrize(
    ("setting", "said"), [("class_weights=balanced", "no classes"), ("calibration=isotonic", "no probabilities")]
)
def test_a_regression_has_neither_classes_nor_probabilities(toy: Toy, setting: str, said: str) -> None:
    result = toy.run("submit", *TINY, "--set", setting)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_regressions_report_has_no_part_on_classes(toy: Toy) -> None:
    toy.submit()
    assert RunReport.read(toy.only_run().report).classification is None


# ---- class weights


def test_given_weights_go_by_the_labels_text_and_others_weigh_one() -> None:
    weight = given_class_weights({"True": 3.0}, [False, True], where="here")
    assert weight.tolist() == [1.0, 3.0]
    with pytest.raises(SpecError, match="has the class 'Maybe'"):
        given_class_weights({"Maybe": 3.0}, [False, True], where="here")


@pytest.mark.slow
def test_class_weights_reach_the_loss_and_are_part_of_the_runs_name(tmp_path: Path) -> None:
    toy = competition(tmp_path, ["no", "yes"])
    assert toy.run("features").exit_code == 0
    store = toy.store()
    plain, balanced = load_run_config("fast"), load_run_config("fast", overrides=["class_weights=balanced"])
    given = load_run_config("fast", overrides=["class_weights={no = 1.0, yes = 3.0}"])
    assert store.problem(plain).sample_weight is None
    for split in store.splits:
        weight = store.problem(balanced).weights_of(split)
        assert weight is not None
        codes = store.target.astype(int)[split.train_rows]
        np.testing.assert_allclose(np.bincount(codes, weights=weight[split.train_rows]), len(codes) / 2)
    np.testing.assert_allclose(store.problem(given).sample_weight, np.where(store.target == 1, 3.0, 1.0))
    assert len({config.run_name for config in (plain, balanced, given)}) == 3
    shares = {}
    for name, setting in (("plain", "none"), ("balanced", "balanced")):
        result = toy.run("train", *TINY, "--set", "epochs=30", "--set", "lr=0.03", "--set", f"class_weights={setting}")
        assert result.exit_code == 0, result.output
        run = toy.workspace.run(Path(result.stdout.split("run: ")[1].strip()).name)
        assert json.loads(run.report.read_text())["config"]["class_weights"] == setting
        shares[name] = files.read_parquet(run.oof)["prediction_1"].mean()
    assert shares["balanced"] > shares["plain"] + 0.05


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mlp", "logistic"])
def test_what_classes_weigh_is_learned_without_the_held_fold(tmp_path: Path, model: str) -> None:
    """Law 1: other labels of a fold's rows change nothing of what is predicted for them."""
    oofs = []
    for number in range(2):
        toy = competition(tmp_path / str(number), ["no", "yes"], kind="contiguous")
        if number:
            train = pd.read_csv(toy.workspace.raw / "train.csv", dtype=str, keep_default_na=False)
            train.loc[:20, "class"] = "yes"
            train.to_csv(toy.workspace.raw / "train.csv", index=False)
        settings = [*(TINY if model == "mlp" else ()), "--set", "class_weights=balanced", "--set", "threshold=half"]
        result = toy.run("train", "--model", model, *settings)
        assert result.exit_code == 0, result.output
        oofs.append(files.read_parquet(toy.only_run().oof))
    first, held = oofs[0]["prediction_1"], oofs[0]["fold"] == 0
    assert (oofs[0]["target_0"] != oofs[1]["target_0"])[held].sum() > 5
    np.testing.assert_array_equal(first[held], oofs[1]["prediction_1"][held])
    assert (first[~held] != oofs[1]["prediction_1"][~held]).all()


@pytest.mark.parametrize("model", ["mlp", "ridge"])
def test_a_run_with_an_undefined_fold_score_is_kept_and_said(tmp_path: Path, model: str) -> None:
    toy = competition(tmp_path, ["no", "yes"], metric="roc_auc", n_train=64)
    by_class = pd.read_csv(toy.workspace.raw / "train.csv").sort_values("class", ignore_index=True)
    by_class.assign(part=by_class.index // 16).to_csv(toy.workspace.raw / "train.csv", index=False)
    toy.edit_spec('kind = "stratified"', 'kind = "column"\ncolumn = "part"')
    options = ["--model", model, *(TINY if model == "mlp" else [])]

    first = toy.run("final", *options)
    assert first.exit_code == 0, first.output
    assert "roc_auc is undefined on fold 0, 1, 3: its valid rows lack a class" in first.output
    report = RunReport.read(toy.only_run().report)
    assert np.isnan(report.fold_scores).tolist() == [True, True, False, True]
    assert json.loads(toy.only_run().report.read_text())["fold_scores"][0] is None
    assert f"folds - - {report.fold_scores[2]:.4f} - (sd -)" in first.output

    assert "is finished" in toy.run("final", *options).output
    assert "nan" not in toy.run("runs").output
    compared = toy.run("compare", report.run, report.run)
    assert (compared.exit_code, "there is 1" in compared.output) == (2, True)


def test_a_metric_that_cannot_score_any_fold_is_refused_before_the_training(tmp_path: Path) -> None:
    toy = competition(tmp_path, ["no", "yes"], metric="roc_auc", n_train=64)
    by_class = pd.read_csv(toy.workspace.raw / "train.csv").sort_values("class", ascending=False, ignore_index=True)
    by_class.assign(day=by_class.index).to_csv(toy.workspace.raw / "train.csv", index=False)
    toy.edit_spec('kind = "stratified"\nnumber = 4', 'kind = "time"\ntime = "day"\nnumber = 2')
    final = toy.run("final", "--model", "ridge")
    assert final.exit_code == 2, final.output
    assert "roc_auc is undefined: no row of the class 'yes' in the rows to score" in final.stderr
    assert not toy.workspace.runs.exists()
