"""Preset best on tables that are hard for a plan: long, wide, full of texts, tiny, lopsided, messy.

    python benchmarks/hard_tables.py                      # all, one minute each: about a quarter of an hour
    python benchmarks/hard_tables.py long wide --minutes 2 --folder /tmp/hard

Each table is written as a competition's files with simulated values, its spec drafted by `init`, and submitted in a
process of its own. Shown: wall and processor seconds against the budget, when the first submission was there, peak
memory, and the score of the submission on the hidden targets beside a constant's and that of LightGBM with its own
defaults on the same folds (categories as pandas' own, the folds' mean).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from pipeline.config.records import Provenance
from pipeline.metrics import METRICS

WAIT_S = 0.1  # between looks at whether the process is done and its submission there


@dataclass(frozen=True)
class Hard:
    """One table: its rows with the target, how many are for training, what is scored."""

    frame: pd.DataFrame
    n_train: int
    metric: str
    is_probability: bool = False


def signal(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(rows,) a target of steps, products and waves of some columns, with deviation 1, and noise of half of that."""
    y = np.sin(2.0 * x[:, 0]) + x[:, 1] * x[:, 2] + np.maximum(x[:, 3], 0.0) + 0.5 * (x[:, 4] > 0.3) * x[:, 5]
    return y / y.std() + rng.normal(0.0, 0.5, len(y))


def numbers(rng: np.random.Generator, n_rows: int, n_columns: int) -> np.ndarray:
    """Columns that share some of their variance."""
    common = rng.normal(size=(n_rows, 5)) @ rng.normal(size=(5, n_columns)) * 0.3
    return common + rng.normal(size=(n_rows, n_columns))


def named(x: np.ndarray) -> pd.DataFrame:
    """As a table."""
    return pd.DataFrame(x.round(4), columns=[f"measure_{chr(97 + j % 26)}{j}" for j in range(x.shape[1])])


def long(rng: np.random.Generator, *, is_binary: bool = False) -> Hard:
    """100,000 train rows of 20 columns, four of them categories."""
    n_rows = 150_000
    x = numbers(rng, n_rows, 20)
    y = signal(x, rng)
    frame = named(x)
    for j in range(16, 20):
        levels = pd.qcut(x[:, j], 4 * (j - 14), labels=False)
        frame = frame.drop(columns=frame.columns[16]).assign(**{f"kind_{j}": [f"k{level}" for level in levels]})
        y = y + 0.2 * rng.normal(size=4 * (j - 14))[levels]
    target = (y > 0.5).astype(int) if is_binary else y.round(4)
    return Hard(frame.assign(target=target), 100_000, "roc_auc" if is_binary else "rmse", is_binary)


def wide(rng: np.random.Generator) -> Hard:
    """1,500 train rows of 400 columns, of which few matter."""
    x = numbers(rng, 3_000, 400)
    return Hard(named(x).assign(target=signal(x, rng).round(4)), 1_500, "rmse")


def texts(rng: np.random.Generator) -> Hard:
    """20,000 train rows with a text of 5,000 values, one of free words, and five numbers."""
    n_rows, n_makers = 30_000, 5_000
    x = numbers(rng, n_rows, 6)
    maker = rng.integers(0, n_makers, n_rows)
    worth = rng.normal(0.0, 0.7, n_makers)[maker]
    words = np.array(
        [f"{a}{b}{c}" for a in ("lo", "mi", "ka", "ru") for b in ("ta", "ne", "so") for c in ("n", "r", "l")]
    )
    weights = rng.normal(0.0, 0.3, len(words))
    picks = rng.integers(0, len(words), (n_rows, 12))
    has = np.zeros((n_rows, len(words)))
    np.put_along_axis(has, picks, 1.0, axis=1)
    frame = named(x).assign(
        maker=[f"maker {chr(65 + m % 26)}{m}" for m in maker], note=[" ".join(words[row]) for row in picks]
    )
    return Hard(frame.assign(target=(signal(x, rng) + worth + has @ weights).round(4)), 20_000, "rmse")


def classes(rng: np.random.Generator) -> Hard:
    """20,000 train rows, ten classes with names."""
    x = numbers(rng, 30_000, 20)
    scores = np.tanh(x[:, :8]) @ rng.normal(size=(8, 10)) + np.cos(x[:, 4:9]) @ rng.normal(size=(5, 10))
    labels = (2.0 * scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    names = np.array(["ash", "beech", "cedar", "fir", "hazel", "larch", "maple", "oak", "pine", "yew"])
    return Hard(named(x).assign(target=names[labels]), 20_000, "accuracy")


def tiny(rng: np.random.Generator) -> Hard:
    """200 train rows of 15 columns."""
    x = numbers(rng, 700, 15)
    frame = named(x).assign(town=rng.choice(["north", "south", "east"], 700))
    y = x[:, 0] + 0.5 * x[:, 1] * x[:, 2] + (frame["town"] == "north") + rng.normal(0.0, 0.7, 700)
    return Hard(frame.assign(target=y.round(4)), 200, "rmse")


def lopsided(rng: np.random.Generator) -> Hard:
    """20,000 train rows of two classes, one of them in a hundred."""
    x = numbers(rng, 40_000, 15)
    score = signal(x, rng)
    return Hard(named(x).assign(target=(score > np.quantile(score, 0.99)).astype(int)), 20_000, "roc_auc", True)


def messy(rng: np.random.Generator) -> Hard:
    """Heavy tails, negatives, constant and empty columns, mixed types, gaps, repeated rows, dates, huge numbers."""
    n_rows = 8_000
    x = numbers(rng, n_rows, 10)
    day = pd.Timestamp("2015-01-01") + pd.to_timedelta(rng.integers(0, 2_000, n_rows), unit="D")
    frame = named(x).assign(
        constant=7,
        empty=np.nan,
        nearly_empty=np.where(rng.random(n_rows) < 0.002, 1.0, np.nan),
        mixed=np.where(rng.random(n_rows) < 0.5, rng.integers(0, 50, n_rows).astype(str), "about ten"),
        huge=np.exp(rng.normal(0.0, 12.0, n_rows)),
        flag=rng.choice(["True", "False", ""], n_rows),
        bought=day.strftime("%Y-%m-%d"),
        code=rng.choice(["", "NA", "x-1", "x-2", "ü"], n_rows),
    )
    for name in frame.columns[:5]:
        frame.loc[rng.random(n_rows) < 0.3, name] = np.nan
    y = signal(x, rng) + 0.5 * np.sin(day.day_of_year.to_numpy() / 58.0) + 0.3 * rng.standard_t(1.5, n_rows)
    frame = frame.assign(target=np.sinh(y.clip(-6, 6)).round(4))
    frame.iloc[rng.integers(0, 5_000, 300)] = frame.iloc[rng.integers(0, 5_000, 300)].to_numpy()
    return Hard(frame, 5_000, "mae")


TABLES: dict[str, Callable[[np.random.Generator], Hard]] = {
    "long": long,
    "long-binary": lambda rng: long(rng, is_binary=True),
    "wide": wide,
    "texts": texts,
    "classes": classes,
    "tiny": tiny,
    "lopsided": lopsided,
    "messy": messy,
}


def written(name: str, folder: Path) -> tuple[Hard, pd.Series]:
    """Write a table as a competition's files; the table, and the hidden targets in the order of test.csv."""
    hard = TABLES[name](np.random.default_rng(7))
    ids = np.arange(1, len(hard.frame) + 1)
    train = hard.frame.iloc[: hard.n_train]
    test = hard.frame.iloc[hard.n_train :]
    folder.mkdir(parents=True, exist_ok=True)
    train.insert(0, "row_id", ids[: hard.n_train])
    test.insert(0, "row_id", ids[hard.n_train :])
    train.to_csv(folder / "train.csv", index=False)
    test.drop(columns="target").to_csv(folder / "test.csv", index=False)
    constant = 0.5 if hard.is_probability else train["target"].iloc[0]
    test[["row_id"]].assign(target=constant).to_csv(folder / "sample_submission.csv", index=False)
    return hard, test["target"].reset_index(drop=True)


def submitted(name: str, root: Path, minutes: float) -> dict[str, Any]:
    """Run `submit --preset best` in a process of its own, and watch it."""
    log = root / f"{name}.log"
    command = [sys.executable, "-m", "pipeline", "submit", "-c", name, "--root", str(root), "--no-upload"]
    command += ["--preset", "best", "--minutes", str(minutes), "--device", "cpu"]
    submissions, first_s, started = root / "submissions" / name, None, time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            now = time.monotonic() - started
            if first_s is None and list(submissions.glob("*.json")):
                first_s = now
            if pid:
                break
            time.sleep(WAIT_S)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{name}: exit code {process.returncode}\n{log.read_text()[-3000:]}")
    return {
        "wall_s": now,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "first_s": first_s,
        "peak_mb": usage.ru_maxrss / 1024,
    }


def plain_lightgbm(hard: Hard, folds: np.ndarray) -> np.ndarray:
    """LightGBM's defaults on the same folds: test predictions, (rows,) values or (rows, classes) probabilities."""
    import lightgbm

    frame = hard.frame.drop(columns="target")
    for column in frame.columns:
        if not pd.api.types.is_numeric_dtype(frame[column]):
            frame[column] = frame[column].astype("category")
    codes = hard.frame["target"]
    if METRICS[hard.metric].reads != "value":
        codes = codes.astype("category").cat.codes
    train, test, y = frame.iloc[: hard.n_train], frame.iloc[hard.n_train :], codes.iloc[: hard.n_train]
    is_regression = METRICS[hard.metric].reads == "value"
    predictions = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for fold in range(int(folds.max()) + 1):
            model = (lightgbm.LGBMRegressor if is_regression else lightgbm.LGBMClassifier)(verbosity=-1)
            model.fit(train[folds != fold], y[folds != fold])
            predictions.append(model.predict(test) if is_regression else model.predict_proba(test))
    return np.mean(predictions, axis=0)


def scored(hard: Hard, truth: pd.Series, submission: pd.DataFrame, folds: np.ndarray) -> dict[str, float]:
    """The metric on the hidden targets: the submission's, LightGBM's, a constant's."""
    metric, known = METRICS[hard.metric], hard.frame["target"].iloc[: hard.n_train]
    given, lightgbm = submission["target"], plain_lightgbm(hard, folds)
    if metric.reads == "value":
        y = truth.to_numpy(dtype=np.float64)
        constant = known.median() if hard.metric == "mae" else known.mean()
        values = {"best": given.to_numpy(), "lightgbm": lightgbm, "constant": np.full(len(y), constant)}
        return {name: metric(y, value) for name, value in values.items()}
    labels = sorted(hard.frame["target"].unique())
    y = truth.map({label: code for code, label in enumerate(labels)}).to_numpy()
    shares = known.value_counts(normalize=True).reindex(labels).to_numpy()
    if hard.is_probability:
        positive = given.to_numpy()
        best = np.column_stack([1.0 - positive, positive])
    else:
        best = np.eye(len(labels))[given.map({label: code for code, label in enumerate(labels)}).to_numpy()]
    values = {"best": best, "lightgbm": lightgbm, "constant": np.tile(shares, (len(y), 1))}
    return {name: metric(y, value) for name, value in values.items()}


def main() -> None:
    """Write, run, watch and score the tables that are asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*TABLES, []], help="default: all")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, default=None, help="kept; default: a temporary one")
    options = parser.parse_args()
    root = options.folder or Path(tempfile.mkdtemp(prefix="hard-tables-"))
    shown = Table("table", "metric", "wall s", "cpu s", "first s", "peak MB", "nested", "test", "LightGBM", "constant")
    for name in options.names or TABLES:
        hard, truth = written(name, root / "files" / name)
        init = [sys.executable, "-m", "pipeline", "init", str(root / "files" / name), "--root", str(root), "--force"]
        subprocess.run([*init, "--metric", hard.metric], check=True, capture_output=True)
        took = submitted(name, root, options.minutes)
        (path,) = set((root / "submissions" / name).glob("best-*.csv"))
        folds = np.load(root / "data" / name / "features" / "folds.npy")
        scores = scored(hard, truth, pd.read_csv(path), folds)
        nested = Provenance.read(path.with_suffix(".json")).nested_score
        seconds = [f"{took[key]:.1f}" for key in ("wall_s", "cpu_s", "first_s")]
        values = [f"{value:.4f}" for value in (nested, scores["best"], scores["lightgbm"], scores["constant"])]
        shown.add_row(name, hard.metric, *seconds, f"{took['peak_mb']:.0f}", *values)
        print(name, *seconds, f"{took['peak_mb']:.0f}", *values, flush=True)
    Console().print(shown)
    print(f"{options.minutes:g} minutes each; logs in {root}")


if __name__ == "__main__":
    main()
