"""1,000,000 rows x 30 columns: presets fast and best against LightGBM's defaults with early stopping in the same time.

    python benchmarks/million.py                        # fast, then best with 10 minutes
    python benchmarks/million.py --only fast --rows 300000

The table is simulated: 26 numbers, four categories, a target of two classes; all are scored on the 200,000 test rows,
whose labels no command sees. Seconds, processor seconds and peak memory are those of the command's processes together,
as `large.py` measures them. The reference trains on nine tenths of the rows until the rest improves no more, or until
it has had as many seconds as the command.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
from large import measured
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

N_TEST, N_NUMBERS, LEVELS = 200_000, 26, (5, 12, 40, 200)
PATIENCE = 50
SPEC = """name = "million"
kaggle_slug = "million"
task = "binary"
metric = "roc_auc"
id = "id"
target = "target"
"""


def simulated(n_rows: int, seed: int) -> pd.DataFrame:
    """Rows whose target depends on nine of the numbers, on two of them together."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, N_NUMBERS))
    columns: dict[str, Any] = {"id": np.arange(n_rows) + seed * 10_000_000}
    columns |= {f"x{j}": x[:, j].round(4) for j in range(N_NUMBERS)}
    columns |= {f"c{j}": np.char.add("v", rng.integers(0, n, n_rows).astype(str)) for j, n in enumerate(LEVELS)}
    signal = x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2]) + 0.5 * x[:, 3] ** 2 - 0.5 + 0.3 * x[:, 4:9].sum(axis=1)
    return pd.DataFrame(columns | {"target": (signal + rng.normal(size=n_rows) > 0).astype(np.int64)})


def reference(train: pd.DataFrame, test: pd.DataFrame, seconds: float) -> tuple[float, int, float]:
    """AUC, rounds and seconds of LightGBM's defaults on label-encoded columns."""
    started = time.perf_counter()
    x, x_test = (part.drop(columns=["id", "target"]).copy() for part in (train, test))
    for name in x.columns[x.dtypes == "object"].union(x.columns[x.dtypes == "str"]):
        levels = pd.Index(x[name].unique())
        x[name], x_test[name] = levels.get_indexer(x[name]), levels.get_indexer(x_test[name])
    is_held = np.random.default_rng(0).random(len(x)) < 0.1
    fitted, held = (lightgbm.Dataset(x[rows], train.target[rows]) for rows in (~is_held, is_held))

    def look_at_clock(now: lightgbm.callback.CallbackEnv) -> None:
        if time.perf_counter() - started > seconds:
            raise lightgbm.callback.EarlyStopException(now.iteration, now.evaluation_result_list)

    model = lightgbm.train(
        {"objective": "binary", "metric": "auc", "verbosity": -1, "num_threads": 2},
        fitted,
        100_000,
        valid_sets=[held],
        callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False), look_at_clock],
    )
    rounds = model.best_iteration or model.current_iteration()
    score = roc_auc_score(test.target, model.predict(x_test, num_iteration=rounds))
    return float(score), rounds, time.perf_counter() - started


def main() -> None:
    """Print a line per command and its reference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=10.0, help="of preset best")
    parser.add_argument("--only", nargs="+", choices=["fast", "best"], default=["fast", "best"])
    given = parser.parse_args()
    train, test = simulated(given.rows, 1), simulated(N_TEST, 2)
    table = Table("what", "seconds", "processor s", "peak GB", "AUC of test rows")
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "data/million/raw"
        raw.mkdir(parents=True)
        (raw.parent / "competition.toml").write_text(SPEC)
        train.to_csv(raw / "train.csv", index=False)
        test.drop(columns="target").to_csv(raw / "test.csv", index=False)
        test[["id"]].assign(target=0.5).to_csv(raw / "sample_submission.csv", index=False)
        presets = {"fast": [], "best": ["--preset", "best", "--minutes", str(given.minutes)]}
        commands = {"features": ["features"]} | {
            f"submit, {preset}": ["submit", "--no-upload", *presets[preset]] for preset in given.only
        }
        for title, options in commands.items():
            before = _processor_s()
            found = measured([sys.executable, "-m", "pipeline", *options, "-c", "million", "--root", folder])
            used = _processor_s() - before
            score = "" if title == "features" else f"{_score(Path(folder), test):.5f}"
            table.add_row(title, f"{found.seconds:.0f}", f"{used:.0f}", f"{found.peak_gb:.2f}", score)
            if score:
                auc, rounds, taken = reference(train, test, found.seconds)
                table.add_row(f"LightGBM, {rounds} rounds", f"{taken:.0f}", "", "", f"{auc:.5f}")
    Console().print(table)


def _processor_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _score(root: Path, test: pd.DataFrame) -> float:
    newest = max((root / "submissions/million").glob("*.csv"), key=lambda path: path.stat().st_mtime)
    found = test[["id", "target"]].merge(pd.read_csv(newest), on="id", suffixes=("", "_predicted"))
    return float(roc_auc_score(found.target, found.target_predicted))


if __name__ == "__main__":
    main()
