"""What cannot work is refused before the training; what looks odd but can work is accepted and right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.base import files
from pipeline.config.run_report import RunReport
from tests.conftest import Toy

RIDGE = ["--model", "ridge", "--workers", "1"]

IDS = {
    "19 digits": lambda i: str(10**18 + i),
    "20 digits": lambda i: str(10**19 + i),
    "decimals": lambda i: f"{i}.{i % 10}0",
    "exponent": lambda i: f"{i}e5",
    "whole floats": lambda i: f"{i}.0",
    "plus": lambda i: f"+{i}",
    "leading zeros": lambda i: f"{i:06d}",
    "leading blank": lambda i: f" {i}",
    "blanks around": lambda i: f" {i} ",
}


def tables_of(toy: Toy) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    raw = toy.workspace.raw
    train, test, sample = (pd.read_csv(raw / f"{name}.csv") for name in ("train", "test", "sample_submission"))
    return train, test, sample


def write(toy: Toy, train: pd.DataFrame, test: pd.DataFrame, sample: pd.DataFrame) -> None:
    for name, table in (("train", train), ("test", test), ("sample_submission", sample)):
        table.to_csv(toy.workspace.raw / f"{name}.csv", index=False)
    toy.workspace.source.unlink(missing_ok=True)


def refused_untrained(toy: Toy, *words: str, options: list[str] = RIDGE) -> None:
    result = toy.run("submit", "--no-upload", *options)
    assert result.exit_code == 2, result.output
    for word in words:
        assert word in result.stderr, result.stderr
    assert "Traceback" not in result.output
    assert not list(toy.workspace.runs.glob("*/oof.parquet"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", IDS)
def test_ids_keep_their_text_to_the_digit(toy: Toy, kind: str) -> None:
    tables = [table.assign(id=table["id"].map(IDS[kind])) for table in tables_of(toy)]
    tables[2] = tables[2].iloc[::-1]
    write(toy, *tables)
    result = toy.run("submit", "--no-upload", *RIDGE)
    assert result.exit_code == 0, result.output
    written = pd.read_csv(toy.submission(), dtype=str, keep_default_na=False)
    assert written["id"].tolist() == tables[2]["id"].tolist()
    by_id = files.read_parquet(toy.only_run().test).assign(id=lambda frame: frame["id"].astype(str)).set_index("id")
    np.testing.assert_allclose(written["price"].astype(float), by_id.loc[written["id"], "prediction_0"], rtol=1e-12)


def test_ids_written_differently_in_test_and_sample_are_refused(toy: Toy) -> None:
    train, test, sample = tables_of(toy)
    write(toy, train, test, sample.assign(id=sample["id"].map(lambda i: f"{i}.0")))
    refused_untrained(toy, "sample_submission.csv", "'65.0'", "equal as numbers but written differently")


def test_train_ids_may_repeat_and_a_note_says_what_to_do(toy: Toy) -> None:
    train, test, sample = tables_of(toy)
    write(toy, train.assign(id=train["id"] // 2), test, sample)
    result = toy.run("features")
    assert result.exit_code == 0, result.output
    assert "train rows repeat an earlier id" in result.stderr
    assert 'group = "id"' in result.stderr


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[folds]", '[submission]\nwrites = "label"\n[folds]', ["for classes"]),
        ("[folds]", '[submission]\nwrites = "probability"\n[folds]', ["for classes"]),
        ('target = "price"', 'target = ["price", "year"]', ["prediction columns"]),
    ],
)
def test_a_form_that_the_task_cannot_fill_is_refused(toy: Toy, old: str, new: str, words: list[str]) -> None:
    toy.edit_spec(old, new)
    refused_untrained(toy, *words)


def test_one_column_for_the_probabilities_of_three_classes_is_refused(toy: Toy) -> None:
    train, test, sample = tables_of(toy)
    write(toy, train.assign(price=[f"c{i % 3}" for i in range(len(train))]), test, sample)
    toy.edit_spec('"regression"\nmetric = "log_rmse"\ntarget_transform = "log"', '"multiclass"\nmetric = "log_loss"')
    refused_untrained(toy, "one column cannot hold the probabilities of 3 classes")


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("year", "1e39", ["train.csv", "'year'", "row 6", "'1e39'", "1e+37"]),
        ("year", "-1.797e308", ["'year'", "row 6"]),
        ("price", "1e200", ["'price'", "row 6", "1e+37"]),
    ],
)
def test_a_number_beyond_what_models_compute_with_is_named(toy: Toy, column: str, value: str, words: list[str]) -> None:
    train, test, sample = tables_of(toy)
    train[column] = train[column].astype(object)
    train.loc[5, column] = value
    write(toy, train, test, sample)
    refused_untrained(toy, *words)


def test_weights_that_are_all_0_where_a_fold_trains_are_refused(toy: Toy) -> None:
    train, test, sample = tables_of(toy)
    write(toy, train.assign(w=[1] + [0] * (len(train) - 1)), test.assign(w=1), sample)
    toy.edit_spec("[columns]", '[columns]\nsample_weight = "w"')
    refused_untrained(toy, "every sample weight is 0 in the rows that train fold", "'w'")


def binary(toy: Toy, labels: list[int], metric: str = "roc_auc") -> None:
    """Make the toy's target 0 and 1, in contiguous folds."""
    train, test, sample = tables_of(toy)
    write(toy, train.assign(price=labels), test, sample)
    toy.edit_spec('"regression"\nmetric = "log_rmse"\ntarget_transform = "log"', f'"binary"\nmetric = "{metric}"')
    toy.edit_spec('"shuffled"', '"contiguous"')


@pytest.mark.slow
@pytest.mark.parametrize("model", ["ridge", "random_forest", "histogram_boosting", "svm", "neighbours", "mlp"])
def test_one_class_in_the_train_rows_of_a_fold_is_said_and_predicted(toy: Toy, model: str) -> None:
    binary(toy, [1, 0, 1] + [0] * 61, "log_loss")
    quick = {
        "mlp": ["epochs=2", "seeds=1"],
        "random_forest": ["n_trees=5"],
        "svm": ["penalties=[1.0]", "gammas=[0.1]"],
        "histogram_boosting": ["max_rounds=5"],
    }
    options = [part for one in quick.get(model, []) for part in ("--set", one)]
    result = toy.run("submit", "--no-upload", "--model", model, "--workers", "1", *options)
    assert result.exit_code == 0, result.output
    assert "fold 0: its train rows all have the class 0" in result.stderr
    oof = files.read_parquet(toy.only_run().oof)
    assert (oof.loc[oof["fold"] == 0, "prediction_0"] > 0.7).all()


def test_folds_without_a_score_are_said_before_the_training(toy: Toy) -> None:
    binary(toy, [i % 2 for i in range(48)] + [0] * 16)
    result = toy.run("submit", "--no-upload", *RIDGE)
    assert result.exit_code == 0, result.output
    said = "roc_auc is undefined: no row of the class 1 in fold 3"
    assert 0 <= result.stderr.index(said) < result.stderr.index("train: cv")
    report = RunReport.read(toy.only_run().report)
    assert np.isnan(report.fold_scores).tolist() == [False, False, False, True]
    assert json.loads(toy.only_run().report.read_text())["fold_scores"][3] is None
    assert np.isfinite(report.cv_score)


def test_equal_targets_cannot_be_scored_by_r2(toy: Toy) -> None:
    train, test, sample = tables_of(toy)
    write(toy, train.assign(price=7.5), test, sample)
    toy.edit_spec('"log_rmse"\ntarget_transform = "log"', '"r2"')
    refused_untrained(toy, "r2 is undefined: the target is constant")


@pytest.mark.parametrize("name", ["a b.toml", "-x.toml", ".toml.toml", "a;b.toml", f"{'x' * 80}.toml", "a\nb.toml"])
def test_a_preset_file_whose_name_cannot_be_part_of_a_run_is_refused(toy: Toy, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text('model = "ridge"\n')
    refused_untrained(toy, "run's name", options=["--preset", str(path)])


def test_preset_files_that_are_broken_absent_or_folders_are_one_message(toy: Toy, tmp_path: Path) -> None:
    deep, folder = "[" * 3000, tmp_path / "folder.toml"
    folder.mkdir()
    texts = {
        "deep.toml": f"x = {deep}",
        "deep.json": deep,
        "long.toml": f"seeds = {'9' * 5000}",
        "null.json": "null",
        "path.json": '{"config": {"model": "ridge", "preset": "../../x"}}',
        "bytes.toml": "\udcff",
    }
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
        refused_untrained(toy, options=["--preset", str(tmp_path / name)])
    for path in (folder, tmp_path / "absent.toml", tmp_path / "absent.json"):
        refused_untrained(toy, "cannot be read", options=["--preset", str(path)])
    refused_untrained(toy, options=["--set", f"x={deep}"])
    refused_untrained(toy, "UTF-8", options=["--set", "description=\udcff"])


def test_a_network_larger_than_memory_is_refused(toy: Toy) -> None:
    layers = "hidden_sizes=[65536,65536,65536,65536,65536,65536,65536,65536]"
    refused_untrained(toy, "weights needs about", "are free", options=["--set", layers])


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        ("submit", "--minutes", "inf"),
        ("submit", "--minutes", "nan"),
        ("submit", "--prune", "nan"),
        ("submit", "--workers", "1000000"),
        ("tune", "--trials", "1000000000000"),
        ("train", "--repeats", "-1"),
    ],
)
def test_an_option_out_of_range_is_one_message(toy: Toy, command: str, option: str, value: str) -> None:
    result = toy.run(command, option, value)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith(f"error: Invalid value for '{option}'"), result.stderr


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("[tune.mlpp.lr]\nlow = 0.1\nhigh = 1", ["[tune.mlpp]", "'mlp'"]),
        ("[tune.extra_trees.n_treees]\nchoices = [1]", ["[tune.extra_trees.n_treees]", "'n_trees'"]),
        ("[tune.extra_trees.n_trees]\nchoices = [1, 1000000000]", ["n_trees", "usual: 100 to 1000"]),
        ("[tune.extra_trees.max_features]\nlow = 0.1\nhigh = 7", ["max_features", "less than or equal to 1"]),
        ("[tune.extra_trees.max_features]\nlow = 0.1\nhigh = inf", ["high", "finite number"]),
        ('[tune.extra_trees.model]\nchoices = ["ridge"]', ["'model' cannot be tuned"]),
    ],
)
def test_a_search_space_with_invalid_values_is_refused(toy: Toy, table: str, words: list[str]) -> None:
    toy.workspace.spec.write_text(f"{toy.workspace.spec.read_text()}\n{table}\n")
    result = toy.run("tune", "--model", "extra_trees", "--trials", "1", "--workers", "1")
    assert result.exit_code == 2, result.output
    for word in words:
        assert word in result.stderr, result.stderr
    assert not list(toy.workspace.folder.glob("tuning/*/study*"))


def test_undefined_numbers_of_a_report_are_said_and_keep_the_run(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.models.arrays.linear.Ridge.importance", lambda *_: np.full(9, np.nan))
    monkeypatch.setattr("pipeline.encoders.table.TableEncoder.column_names", lambda _: [f"c{i}" for i in range(9)])
    result = toy.run("submit", "--no-upload", *RIDGE)
    assert result.exit_code == 0, result.output
    assert "undefined numbers are null in report.json: parts.0.feature_importance.c0" in result.stderr
    assert RunReport.read(toy.only_run().report).undefined


def test_a_library_that_refuses_a_fit_is_one_message(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    lightgbm = pytest.importorskip("lightgbm")

    def fail(*_: object, **__: object) -> None:
        raise lightgbm.basic.LightGBMError("planted")

    monkeypatch.setattr(lightgbm, "train", fail)
    refused_untrained(toy, "lightgbm refuses", "planted", options=["--model", "lightgbm", "--workers", "1"])


def test_full_memory_is_one_message(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("pipeline.stages.features.load_tables", fail)
    refused_untrained(toy, "memory is full")
