"""Bad input gets one clear message, exit code 2, and overwrites nothing."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from pipeline.base import files
from pipeline.competition.workspace import Workspace
from tests.conftest import TINY, Toy, toy_tables

Change = Callable[[Toy], None]


def _train(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Change:
    return lambda toy: toy.edit(
        "train.csv", lambda _: change(pd.read_csv(toy.workspace.raw / "train.csv")).to_csv(index=False)
    )


def _cell(row: int, column: str, value: object) -> Change:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame[column] = frame[column].astype(object)
        frame.loc[row - 1, column] = value
        return frame

    return _train(change)


def _text(file: str, change: Callable[[str], str]) -> Change:
    return lambda toy: toy.edit(file, change)


def _bytes(file: str, content: bytes) -> Change:
    def change(toy: Toy) -> None:
        (toy.workspace.raw / file).write_bytes(content)
        toy.workspace.source.unlink(missing_ok=True)

    return change


def _spec(old: str, new: str) -> Change:
    return lambda toy: toy.edit_spec(old, new)


def _several(*changes: Change) -> Change:
    def change(toy: Toy) -> None:
        for one in changes:
            one(toy)

    return change


def _as_classes(labels: Callable[[pd.DataFrame], pd.Series], task: str = "binary") -> Change:
    return _several(
        _train(lambda frame: frame.assign(price=labels(frame))),
        _spec('"regression"', f'"{task}"'),
        _spec('"log_rmse"', '"accuracy"'),
        _spec('target_transform = "log"', ""),
        _spec('"shuffled"', '"stratified"'),
    )


def _two_folds_for_a_group(toy: Toy) -> None:
    _train(lambda frame: frame.assign(fold=range(len(frame)), family=1).assign(fold=lambda f: f["fold"] % 4))(toy)
    toy.edit_spec('kind = "shuffled"', 'kind = "column"\ncolumn = "fold"\ngroup = "family"')


CASES: dict[str, tuple[Change, list[str]]] = {
    "empty file": (_bytes("train.csv", b""), ["train.csv", "empty"]),
    "not a csv: zip": (_bytes("train.csv", b"PK\x03\x04" + bytes(200)), ["train.csv", "zip"]),
    "not a csv: web page": (_bytes("train.csv", b"<!DOCTYPE html><html><body>Sign in</body></html>"), ["train.csv"]),
    "two delimiters": (_text("train.csv", lambda text: text.replace(",", ";", 3)), ["train.csv", "row 1"]),
    "wrong encoding": (_bytes("test.csv", "id,area\n1,2\n".encode("utf-16")), ["test.csv"]),
    "broken gzip": (
        _several(
            lambda toy: (toy.workspace.raw / "train.csv").unlink(),
            _bytes("train.csv.gz", gzip.compress(b"id,area\n1,2\n")[:-9]),
        ),
        ["train.csv.gz"],
    ),
    "no such file": (lambda toy: (toy.workspace.raw / "test.csv").rename(toy.workspace.raw / "tset.csv"), ["test.csv"]),
    "ragged row": (_text("train.csv", lambda text: text + "999,1,2\n"), ["train.csv", "65"]),
    "spec column not there": (_spec('["code"]', '["cod"]'), ["'cod'", "code"]),
    "target not there": (_spec('"price"', '"prize"'), ["'prize'", "price"]),
    "id not there": (_spec('"id"', '"idd"'), ["'idd'"]),
    "duplicate ids": (
        _text("test.csv", lambda text: text.replace("\n66,", "\n65,")),
        ["test.csv", "id", "65", "row 2"],
    ),
    "infinite target": (_cell(7, "price", "inf"), ["price", "row 7"]),
    "text target": (_cell(9, "price", "cheap"), ["price", "row 9", "cheap"]),
    "non-positive target with a log metric": (_cell(4, "price", -5), ["price", "row 4", "-5"]),
    "fewer rows than folds": (_train(lambda frame: frame.head(3)), ["3", "4", "fold"]),
    "group in two folds": (_two_folds_for_a_group, ["family", "fold"]),
    "one-class target": (_as_classes(lambda frame: frame["price"] * 0 + 1), ["price", "class"]),
    "three classes in a binary task": (_as_classes(lambda frame: frame["id"] % 3), ["price", "3"]),
    "every class with fewer rows than folds": (
        _as_classes(lambda frame: frame["id"].map(lambda number: f"class {number // 3}"), "multiclass"),
        ["3 rows", "4 folds"],
    ),
    "every column is missing": (
        _train(lambda frame: frame.assign(area=None, town=None, code=None, year=None)),
        ["train.csv", "learn"],
    ),
    "sample ids differ": (_text("sample_submission.csv", lambda text: text.replace("\n84,", "\n9984,")), ["9984"]),
    "sample has another target": (_text("sample_submission.csv", lambda text: text.replace("price", "cost")), ["cost"]),
    "unknown key": (_spec("number = 4", "numbr = 4"), ["competition.toml", "[folds]", "'numbr'", "'number'"]),
    "missing key": (_spec('target = "price"', ""), ["competition.toml", "'target'"]),
    "unknown metric": (_spec('"log_rmse"', '"log_rmsee"'), ["metric", "'log_rmse'"]),
    "metric of another task": (_spec('"log_rmse"', '"accuracy"'), ["accuracy", "regression"]),
    "broken toml": (_spec('name = "toy"', 'name = "toy'), ["competition.toml", "line"]),
    "group folds without a group": (_spec('kind = "shuffled"', 'kind = "group"'), ["[folds]", "group"]),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a toy competition with a finished run and its submission."""
    from tests.conftest import SPEC

    workspace = Workspace(tmp_path_factory.mktemp("finished"), "toy")
    workspace.raw.mkdir(parents=True)
    train, test = toy_tables()
    train.to_csv(workspace.raw / "train.csv", index=False)
    test.to_csv(workspace.raw / "test.csv", index=False)
    test[["id"]].assign(price=1.0).to_csv(workspace.raw / "sample_submission.csv", index=False)
    workspace.spec.write_text(SPEC)
    Toy(workspace).submit()
    return workspace.root


@pytest.fixture
def toy(finished: Path, tmp_path: Path) -> Toy:
    """A copy of the finished competition."""
    shutil.copytree(finished, tmp_path / "copy")
    return Toy(Workspace(tmp_path / "copy", "toy"))


def _made(toy: Toy) -> dict[Path, bytes]:
    folders = [toy.workspace.submissions, toy.workspace.features, toy.workspace.runs]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in files if "checkpoints" not in path.parts}


def _assert_refused(toy: Toy, before: dict[Path, bytes], expected: list[str], *command: str) -> None:
    result = toy.run(*(command or ("submit", *TINY)))
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stderr.count("error:") == 1
    for part in expected:
        assert part in result.stderr, result.stderr
    assert _made(toy) == before
    assert not list(toy.workspace.root.rglob("*.partial"))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_bad_files_and_specs_are_refused(toy: Toy, case: str) -> None:
    change, expected = CASES[case]
    before = _made(toy)
    change(toy)
    _assert_refused(toy, before, expected)


@pytest.mark.slow
def test_a_column_that_test_lacks_is_left_out_and_said(toy: Toy) -> None:
    toy.edit("test.csv", lambda _: pd.read_csv(toy.workspace.raw / "test.csv").drop(columns="year").to_csv(index=False))
    result = toy.submit()
    assert "'year' is left out: not in test.csv" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("value", [None, 7])
def test_an_all_missing_or_constant_column_is_left_out_and_said(toy: Toy, value: int | None) -> None:
    _train(lambda frame: frame.assign(area=value))(toy)
    result = toy.submit()
    assert "'area' is left out" in result.stderr


@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "may not write")]
)
def test_output_that_cannot_be_written(toy: Toy, monkeypatch: pytest.MonkeyPatch, code: int, words: str) -> None:
    before = _made(toy)

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "fsync", fail)
    result = toy.run("submit", *TINY, "--set", "lr=0.003")
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    after = _made(toy)
    assert {path: after[path] for path in before} == before
    assert not list(toy.workspace.root.rglob("*.partial"))


def test_a_loss_that_is_not_finite_names_fold_seed_epoch_and_lr(toy: Toy) -> None:
    before = _made(toy)
    options = ["--set", "lr=1e3", "--set", "optimizer=sgd", "--set", "evaluate_every=1", "--set", "epochs=30"]
    result = toy.run("submit", *TINY, *options)
    assert result.exit_code == 2, result.output
    for part in ("fold", "seed", "epoch", "lr 1000", "smaller learning rate"):
        assert part in result.stderr
    after = _made(toy)
    assert {path: after[path] for path in before} == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--preset", "fats"], ["'fats'", "'fast'"]),
        (["--model", "mpl"], ["'mpl'", "'mlp'"]),
        (["--set", "learning"], ["key=value"]),
        (["--set", "drop_out=0.1"], ["'drop_out'", "'dropout'"]),
        (["--set", "lr=-1"], ["lr", "greater than 0", "-1"]),
        (["--set", "dropout=1.0"], ["dropout"]),
        (["--set", "loss=cross_entropy"], ["cross_entropy", "regression"]),
        (["--set", "features.rare=3"], ["features", "'rare'"]),
        (["--device", "tpu"], ["'tpu'", "cuda"]),
    ],
)
def test_wrong_options_name_the_nearest_right_one(toy: Toy, options: list[str], expected: list[str]) -> None:
    _assert_refused(toy, _made(toy), expected, "submit", *options)


def test_a_changed_raw_file_is_noticed(toy: Toy) -> None:
    before = _made(toy)
    path = toy.workspace.raw / "train.csv"
    path.write_text(path.read_text().replace("north", "south"))
    _assert_refused(toy, before, ["train.csv", "changed"])


def test_an_unknown_competition_says_where_files_belong(tmp_path: Path) -> None:
    result = Toy(Workspace(tmp_path, "hose-prices")).run("submit", *TINY)
    assert result.exit_code == 2
    assert "train.csv" in result.stderr
    assert "'house-prices'" in result.stderr


@pytest.mark.parametrize("command", ["predict", "score"])
def test_commands_on_files_that_are_not_there(toy: Toy, command: str, tmp_path: Path) -> None:
    absent = str(tmp_path / "absent.csv")
    run = toy.only_run().name
    result = toy.run(command, *([run, absent] if command == "predict" else [absent]))
    assert result.exit_code == 2, result.output
    assert "error:" in result.stderr


def test_predict_with_an_unknown_run_names_the_nearest(toy: Toy) -> None:
    name = toy.only_run().name
    result = toy.run("predict", name[:-1], str(toy.workspace.raw / "test.csv"))
    assert result.exit_code == 2
    assert name in result.stderr


def test_a_changed_raw_file_may_be_accepted(toy: Toy) -> None:
    assert toy.run("data").exit_code == 0
    with (toy.workspace.raw / "train.csv").open("a") as file:
        file.write("\n")
    result = toy.run("features")
    assert result.exit_code == 2
    assert f"Delete the folder {toy.workspace.raw} to fetch the files again" in result.stderr
    assert f"or {toy.workspace.source} to accept the change" in result.stderr
    toy.workspace.source.unlink()
    assert toy.run("features").exit_code == 0


def test_an_ordered_level_that_only_new_rows_have_is_predicted_by_every_model(toy: Toy, tmp_path: Path) -> None:
    toy.workspace.spec.write_text(
        toy.workspace.spec.read_text() + '\n[columns.ordered]\ntown = ["north", "east", "south"]\n'
    )
    rows = pd.read_csv(toy.workspace.raw / "test.csv")
    rows.assign(town="west").to_csv(tmp_path / "new.csv", index=False)
    for model in ("ridge", "mlp", "histogram_boosting"):
        options = TINY if model == "mlp" else []
        assert toy.run("submit", "-m", model, "--no-upload", *options).exit_code == 0
    for run in sorted(path.name for path in toy.workspace.runs.iterdir()):
        result = toy.run("predict", run, str(tmp_path / "new.csv"))
        assert result.exit_code == 0, result.output
        assert pd.read_csv(tmp_path / f"new-{run}.csv")["price"].between(1.0, 1e9).all()
