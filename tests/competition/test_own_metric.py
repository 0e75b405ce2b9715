"""Laws of a metric of one's own, and of weights in a metric: the same numbers as by hand, mistakes told beforehand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline.config.run_report import RunReport
from pipeline.metrics import METRICS
from tests.conftest import TINY, Toy

RIDGE = ["--no-upload", "-m", "ridge"]
RMSLE = """
import numpy as np
from kaggle_metric_utilities import ParticipantVisibleError


def score(solution, submission, row_id_column_name):
    del solution[row_id_column_name]
    del submission[row_id_column_name]
    if list(solution.columns) != ["price"] or list(submission.columns) != ["price"]:
        raise ParticipantVisibleError(f"{solution.columns} {submission.columns}")
    if (submission["price"] < 0).any():
        raise ParticipantVisibleError("negative predictions")
    return np.sqrt(np.mean((np.log1p(solution["price"]) - np.log1p(submission["price"])) ** 2))
"""


def _with_own_metric(toy: Toy, code: str, more: str = "") -> None:
    toy.edit_spec('metric = "log_rmse"', 'metric = "metric.py:score"')
    toy.workspace.spec.write_text(toy.workspace.spec.read_text() + more)
    (toy.workspace.folder / "metric.py").write_text(code)


def _report(toy: Toy) -> RunReport:
    return RunReport.read(toy.only_run().report)


def test_it_scores_as_the_built_in_metric_of_the_same_formula(toy: Toy) -> None:
    _with_own_metric(toy, RMSLE)
    result = toy.run("submit", *RIDGE)
    assert result.exit_code == 0, result.output
    assert "metric.py:score reads values; smaller is better" in result.output
    assert "refuses smaller predictions than 0" in result.output
    report, oof = _report(toy), pd.read_parquet(toy.only_run().oof)
    assert report.cv_score == pytest.approx(METRICS["rmsle"](oof["target_0"], oof["prediction_0"]))
    folds = [METRICS["rmsle"](part["target_0"], part["prediction_0"]) for _, part in oof.groupby("fold")]
    assert report.fold_scores == pytest.approx(folds)
    assert "nothing to do" in toy.run("submit", *RIDGE).output


def test_an_edited_file_and_an_edited_import_are_trained_again(toy: Toy) -> None:
    code = "import helper\n\n\ndef score(a, b, row_id):\n    return helper.F * ((a.price - b.price) ** 2).mean()\n"
    (toy.workspace.folder / "helper.py").write_text("F = 1.0\n")
    _with_own_metric(toy, code)
    assert toy.run("submit", *RIDGE).exit_code == 0
    once = _report(toy).cv_score
    (toy.workspace.folder / "helper.py").write_text("F = -2.0\n")
    result = toy.run("submit", *RIDGE)
    assert "the metric file" in result.output
    assert "greater is better" in result.output
    assert _report(toy).cv_score == pytest.approx(-2.0 * once)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def score(a, b, c):\n    x = 1\n    return a['prize'].mean()\n", ["metric.py, line 3", "KeyError", "prize"]),
        ("def score(a, b, c)\n    return 1.0\n", ["metric.py, line 1", "SyntaxError"]),
        ("def scored(a, b, c):\n    return 1.0\n", ["no function 'score'", "scored"]),
        ("def score(a, b, c):\n    return 'good'\n", ["must return a number"]),
        ("def score(a, b, c):\n    return 1.0\n", ["does not tell what is better"]),
        ("from kaggle_metric_utilities import zzz\n", ["metric.py, line 1", "zzz", "safe_call_score"]),
        ("import no_such_module\n", ["metric.py, line 1", "no_such_module"]),
    ],
)
def test_a_mistake_is_one_message_before_the_training(toy: Toy, code: str, said: list[str]) -> None:
    _with_own_metric(toy, code)
    result = toy.run("submit", *RIDGE)
    assert result.exit_code == 2
    assert all(word in result.output for word in said), result.output
    assert "train:" not in result.output


def test_a_missing_file_and_unsuitable_keys_are_named(toy: Toy) -> None:
    toy.edit_spec('metric = "log_rmse"', 'metric = "metric.py:score"')
    assert "does not exist" in toy.run("features").output
    toy.edit_spec('metric = "metric.py:score"', 'metric = "metric.py"')
    assert "metric.py:score" in toy.run("features").output
    toy.edit_spec('metric = "metric.py"', 'metric = "rmse"')
    toy.workspace.spec.write_text(toy.workspace.spec.read_text() + "[scoring]\ngreater_is_better = true\n")
    assert "greater_is_better is for a metric of one's own" in toy.run("features").output


def test_columns_of_the_train_file_reach_the_metric(toy: Toy) -> None:
    code = """
def score(solution, submission, row_id_column_name):
    weight = solution["code"] + 1
    return float((weight * (solution["price"] - submission["price"]).abs()).sum() / weight.sum())
"""
    _with_own_metric(toy, code, '[scoring]\ncolumns = ["code"]\n')
    assert toy.run("submit", *RIDGE).exit_code == 0
    oof, train = pd.read_parquet(toy.only_run().oof), pd.read_csv(toy.workspace.raw / "train.csv")
    error = (oof["target_0"] - oof["prediction_0"]).abs()
    assert _report(toy).cv_score == pytest.approx(np.average(error, weights=train["code"] + 1))


def test_a_tune_and_an_ensemble_use_it(toy: Toy) -> None:
    _with_own_metric(toy, RMSLE)
    result = toy.run("tune", "-m", "mlp", "--trials", "3", *TINY)
    assert result.exit_code == 0, result.output
    result = toy.run("submit", "--no-upload", "-m", "mlp", "-p", "tuned")
    assert result.exit_code == 0, result.output
    assert "cv metric.py:score" in result.output


@pytest.mark.parametrize(("reads", "call"), [("labels", "f1_score"), ("probabilities", "roc_auc_score")])
def test_what_it_reads_of_two_classes_is_found(toy: Toy, reads: str, call: str) -> None:
    code = f"import sklearn.metrics as m\ndef score(a, b, c):\n    return m.{call}(a.iloc[:, 1], b.iloc[:, 1])\n"
    _with_own_metric(toy, code)
    toy.edit_spec('task = "regression"', 'task = "binary"')
    toy.edit_spec('target_transform = "log"', 'target_transform = "none"')
    train = pd.read_csv(toy.workspace.raw / "train.csv")
    train["price"] = (train["price"] > train["price"].median()).astype(int)
    toy.edit("train.csv", lambda _: train.to_csv(index=False))
    toy.edit("sample_submission.csv", lambda text: text.replace("1000.0", "1"))
    result = toy.run("submit", *RIDGE)
    assert result.exit_code == 0, result.output
    assert f"metric.py:score reads {reads}; greater is better" in result.output


def test_weights_of_the_metric_are_used_in_every_score(toy: Toy) -> None:
    def weigh(text: str) -> str:
        lines = text.rstrip("\n").split("\n")
        return "\n".join(
            [f"{lines[0]},Holiday", *(f"{row},{str(n % 3 == 0).upper()}" for n, row in enumerate(lines[1:]))]
        )

    toy.edit("train.csv", weigh)
    toy.edit_spec('metric = "log_rmse"', 'metric = "wmae"')
    assert "needs scoring.weight" in toy.run("features").output
    text = toy.workspace.spec.read_text()
    toy.workspace.spec.write_text(text + '[scoring]\nweight = "Holiday"\nweights = {true = 5}\n')
    assert "'FALSE' has no weight" in toy.run("features").output
    toy.workspace.spec.write_text(text + '[scoring]\nweight = "Holiday"\nweights = {true = 5, false = 1}\n')
    result = toy.run("submit", *RIDGE)
    assert result.exit_code == 0, result.output
    oof = pd.read_parquet(toy.only_run().oof)
    oof["weight"] = np.where(np.arange(len(oof)) % 3 == 0, 5.0, 1.0)
    oof["error"] = (oof["target_0"] - oof["prediction_0"]).abs()
    report = _report(toy)
    assert report.cv_score == pytest.approx(np.average(oof["error"], weights=oof["weight"]))
    folds = [np.average(part["error"], weights=part["weight"]) for _, part in oof.groupby("fold")]
    assert report.fold_scores == pytest.approx(folds)
