"""Predictions made elsewhere, as a run: a folder with out-of-fold and test predictions, checked and copied.

Knows feature stores, predictions and the form of runs; must not know who made them, or which ensemble takes them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError
from pipeline.base.progress import say
from pipeline.base.text import TEXT
from pipeline.competition.folds import NEVER_VALIDATED, FoldArray
from pipeline.competition.store import FeatureStore
from pipeline.competition.tables.formats import is_table
from pipeline.competition.tables.reading import read_table
from pipeline.competition.workspace import RunFolder
from pipeline.config.run import GIVEN, RunConfig
from pipeline.config.run_report import RunReport
from pipeline.scoring.cross_validation import PREDICTION, oof_frame, prediction_frame, scores_of

UNLIKE = 0.12  # two-sample Kolmogorov-Smirnov statistic of out-of-fold and test predictions above which one asks why
LEAST_ROWS = 200  # of each for that
HINT = "docs/best.md, `Members made elsewhere`, says what the folder must hold."


def given_run(store: FeatureStore, folder: Path, label: str) -> RunFolder:
    """Make the predictions in `folder` a finished run and return it; as it is if it was made of the same files.

    `folder` holds a table `oof` and a table `test` of any format that raw files may have, each with the id column and
    what is predicted: the targets of a regression, a column per class, or one column with the probability of the second
    of two classes. A column `fold` is compared with the folds in use. Raises DataError.

    >>> given_run(store, Path("data/titanic/svm"), "svm").report  # doctest: +SKIP
    """
    oof_path, test_path = (_table_in(folder, name) for name in ("oof", "test"))
    sha256 = "".join(files.sha256_of(path)[:16] for path in (oof_path, test_path))
    config = RunConfig(preset=label, description="predictions made elsewhere", model=GIVEN, params={"sha256": sha256})
    run = store.run_of(config)
    known = RunReport.read_or_none(run.report, otherwise="it is read again")
    if known is not None and not store.outdated(known):
        return run
    is_validated = store.fold_of_row != NEVER_VALIDATED
    frame = _by_id(store, oof_path, store.train_rows["id"].astype(TEXT)[is_validated])
    _check_folds(store, oof_path, frame, store.fold_of_row[is_validated])
    predicted = _predictions(store, oof_path, frame)
    oof = np.full((len(is_validated), *predicted.shape[1:]), np.nan)
    oof[is_validated] = predicted
    test = _predictions(store, test_path, _by_id(store, test_path, store.test_rows["id"].astype(TEXT)))
    _say_if_unlike(folder, oof, test)
    as_stored = oof_frame(store.train_rows["id"], store.fold_of_row, store.target, oof)
    cv_score, fold_scores = scores_of(as_stored, store.metric)
    run.path.mkdir(parents=True, exist_ok=True)
    files.write_parquet(run.oof, as_stored)
    files.write_parquet(run.test, prediction_frame(store.test_rows["id"], test))
    report = store.report_of(
        run,
        config,
        cv_score=cv_score,
        fold_scores=fold_scores,
        elapsed_s=0.0,
        device="elsewhere",
        parts=[],
        last_epoch_by_fold=[],
        classification=None,
        trust=None,
        ensemble=None,
    )
    report.write(run.report)
    say(f"members: {label} of {folder}: cv {store.spec.metric} {cv_score:.5f}")
    return run


def _table_in(folder: Path, name: str) -> Path:
    if not folder.is_dir():
        raise DataError("there is no such folder", where=str(folder), hint=HINT)
    found = sorted(path for path in folder.iterdir() if path.name.split(".")[0] == name and is_table(path))
    if len(found) != 1:
        what = "holds no table" if not found else f"holds {len(found)} tables called"
        raise DataError(f"{what} `{name}` (csv, parquet, ...)", where=str(folder), hint=HINT)
    return found[0]


def _by_id(store: FeatureStore, path: Path, ids: pd.Series) -> pd.DataFrame:
    """The table's rows in the order of `ids`. Raises DataError."""
    spec = store.spec
    frame = read_table(path, as_text=[*spec.text_columns, "id"])
    names = [name for name in (spec.id, spec.sample_id, "id") if name in frame.columns]
    if not names:
        raise DataError(f"has no id column {spec.id!r}", where=str(path), hint=HINT)
    given = frame[names[0]].astype(TEXT)
    if given.duplicated().any():
        raise DataError(f"the id {given[given.duplicated()].iloc[0]!r} is there twice", where=str(path), hint=HINT)
    place = pd.Index(given).get_indexer(pd.Index(ids))
    if (place < 0).any():
        lacking = ids[place < 0]
        what = f"{len(lacking)} of {len(ids)} ids have no row, {lacking.iloc[0]!r} the first"
        raise DataError(what, where=str(path), hint="Every row must be predicted. " + HINT)
    return frame.drop(columns=names[0]).iloc[place].reset_index(drop=True)


def _check_folds(store: FeatureStore, path: Path, frame: pd.DataFrame, own: FoldArray) -> None:
    """Raise DataError if a column `fold` divides the rows unlike the folds in use; say if there is none."""
    if "fold" not in frame.columns:
        say(f"members: {path} has no column `fold`: that it was made on the folds in use cannot be checked")
        return
    pairs = pd.DataFrame({"own": own, "given": frame["fold"].to_numpy()}).drop_duplicates()
    if pairs["own"].duplicated().any() or pairs["given"].duplicated().any():
        raise DataError(
            "was made on other folds than those in use",
            where=f"{path}, column `fold`",
            hint="Weights would be chosen on rows that some members have seen. Make it on the folds of `folds.npy` in "
            f'{store.workspace.features} (rows as in the train file), or use its folds: [folds] kind = "file".',
        )


def _predictions(store: FeatureStore, path: Path, frame: pd.DataFrame) -> FloatArray:
    """What metrics read: (rows,) or (rows, targets) numbers, (rows, classes) probabilities. Raises DataError."""
    spec, classes = store.spec, [str(label) for label in store.classes]
    is_by_class = spec.task != "regression" and len(spec.target) == 1
    others = [name for name in frame.columns if name != "fold" and not name.startswith("target_")]
    wanted = [spec.prediction_columns, classes if is_by_class else spec.target]
    wanted.append([f"{PREDICTION}{number}" for number in range(len(classes) if is_by_class else len(spec.target))])
    names = next((list(one) for one in wanted if one and set(one) <= set(others)), others)
    values = frame[names].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    if is_by_class and values.shape[1] == 1 and len(classes) == 2:
        values = np.column_stack([1.0 - values, values])
    elif is_by_class and names == spec.prediction_columns and spec.submission.classes:
        values = values[:, [spec.submission.classes.index(label) for label in classes]]
    n_columns = len(classes) if is_by_class else len(spec.target)
    if values.shape[1] != n_columns:
        expected = "a column per class: " + ", ".join(classes) if is_by_class else ", ".join(spec.target)
        raise DataError(f"has the columns {others}", where=str(path), hint=f"Expected {expected}.")
    if not np.isfinite(values).all():
        raise DataError("a prediction is missing or no number", where=str(path), hint=HINT)
    if spec.task != "regression" and ((values < 0) | (values > 1)).any():
        raise DataError("a probability is not in [0, 1]", where=str(path), hint="Labels do not do. " + HINT)
    if is_by_class:
        total = values.sum(axis=1, keepdims=True)
        if (np.abs(total - 1.0) > 0.01).any():
            raise DataError("the probabilities of a row do not add up to 1", where=str(path), hint=HINT)
        values = values / total
    found: FloatArray = values[:, 0] if values.shape[1] == 1 and not is_by_class else values
    return found


def _say_if_unlike(folder: Path, oof: FloatArray, test: FloatArray) -> None:
    """Say if out-of-fold predictions are spread unlike those of test, as they are when rows were seen in training."""
    from scipy.stats import ks_2samp

    one, other = (values.reshape(len(values), -1)[:, -1] for values in (oof, test))
    one = one[np.isfinite(one)]
    if min(len(one), len(other)) < LEAST_ROWS:
        return
    statistic = float(ks_2samp(one, other).statistic)
    if statistic > UNLIKE:
        say(
            f"members: {folder}: out-of-fold and test predictions are spread differently (Kolmogorov-Smirnov "
            f"{statistic:.2f}). If train and test rows are alike, the former may come from models that saw the rows"
        )
