"""Tables larger than memory likes: seconds and peak memory of `features`, `train` and `final` against the rows.

    python benchmarks/large.py                                   # 1,000,000 and 3,000,000 rows x 20 columns
    python benchmarks/large.py --rows 10000000 --folder /tmp/big # a CSV of 2 GB; the folder is kept
    python benchmarks/large.py --only features submit            # with preset fast in place of one model

The CSVs are simulated: numbers, whole numbers, categories, a flag, a date, and a target of two classes; the test table
has a tenth of the rows. Each command is a process of its own. Memory is the resident memory of the command's processes
together, measured every 50 ms on Linux; "own" leaves out what is mapped from files, which the system takes back when it
needs to. "per row" is the time per row over that of the line with the fewest rows: 1.0 is a straight line.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
from rich.console import Console
from rich.table import Table

CHUNK = 250_000  # rows made at once
EVERY_S = 0.05
LEVELS = {"colour": 3, "shop": 12, "town": 60, "product": 500}
SPEC = """name = "large"
kaggle_slug = "large"
task = "binary"
metric = "roc_auc"
id = "id"
target = "bought"

[columns]
dates = ["seen"]

[folds]
kind = "stratified"
number = 5
"""


def chunk(number: int, n_rows: int, *, is_train: bool) -> pd.DataFrame:
    """Rows from `number * CHUNK` on, which depend on nothing but their number."""
    rng = np.random.default_rng([number, int(is_train)])
    columns: dict[str, object] = {"id": np.arange(n_rows) + number * CHUNK + (0 if is_train else 100_000_000)}
    x = rng.normal(size=(n_rows, 8)).round(9)
    for j in range(8):
        columns[f"measure_{j}"] = np.where(rng.random(n_rows) < 0.02, np.nan, x[:, j]) if j == 7 else x[:, j]
    for j, most in enumerate((2, 30, 1_000, 1_000_000)):
        columns[f"count_{j}"] = rng.integers(0, most, n_rows)
    score = 0.8 * (x[:, 0] > 0) + 0.5 * (x[:, 1] > 0.5) * (x[:, 2] > 0) - 0.3 * (columns["count_1"] > 20)  # type: ignore[operator]
    for name, n_levels in LEVELS.items():
        code = rng.integers(0, n_levels, n_rows)
        texts = np.array([f"{name} {level}" for level in range(n_levels)], dtype=object)[code]
        columns[name] = pd.Series(texts, dtype="str").mask(rng.random(n_rows) < (0.05 if name == "town" else 0.0))
        score = score + (0.4 * ((code * 7919) % 13 > 6) if n_levels < 100 else 0.0)
    columns["is_member"] = np.where(rng.random(n_rows) < 0.3, "True", "False")
    seconds = pd.to_timedelta(rng.integers(0, 3 * 365 * 24, n_rows), unit="h")
    columns["seen"] = (pd.Timestamp("2021-01-01") + seconds).strftime("%Y-%m-%d %H:%M:%S")
    if is_train:
        columns["bought"] = (rng.logistic(size=n_rows) < 1.5 * (score - 1.5)).astype(np.int64)
    return pd.DataFrame(columns)


def write_csv(path: Path, n_rows: int, *, is_train: bool) -> None:
    """Write a table, chunk by chunk."""
    options = pacsv.WriteOptions(quoting_style="needed")
    writer = None
    for number, start in enumerate(range(0, n_rows, CHUNK)):
        table = pa.Table.from_pandas(chunk(number, min(CHUNK, n_rows - start), is_train=is_train), preserve_index=False)
        writer = writer or pacsv.CSVWriter(path, table.schema, write_options=options)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def make_competition(root: Path, name: str, n_rows: int) -> None:
    """Write the files and the spec of a competition, unless they are there."""
    folder = root / "data" / name
    if (folder / "competition.toml").exists():
        return
    raw = folder / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    write_csv(raw / "train.csv", n_rows, is_train=True)
    write_csv(raw / "test.csv", n_rows // 10, is_train=False)
    ids = np.arange(n_rows // 10) + 100_000_000
    pd.DataFrame({"id": ids, "bought": 0.5}).to_csv(raw / "sample_submission.csv", index=False)
    (folder / "competition.toml").write_text(SPEC)


@dataclass
class Measured:
    """What a command took."""

    seconds: float
    peak_gb: float
    own_gb: float


def measured(command: list[str]) -> Measured:
    """Run a command; its seconds and the peak memory of its processes together. Raises CalledProcessError."""
    started = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    peak = own = 0
    while process.poll() is None:
        resident, anonymous = memory_of(process.pid)
        peak, own = max(peak, resident), max(own, anonymous)
        time.sleep(EVERY_S)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Measured(time.perf_counter() - started, peak / 1e6, own / 1e6)


def memory_of(pid: int) -> tuple[int, int]:
    """kB of resident memory, and of what is not mapped from files, of a process and those that it started."""
    resident = anonymous = 0
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended
        return 0, 0
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            resident = int(line.split()[1])
        if line.startswith("RssAnon:"):
            anonymous = int(line.split()[1])
    for child in children:
        of_child = memory_of(int(child))
        resident, anonymous = resident + of_child[0], anonymous + of_child[1]
    return resident, anonymous


def main() -> None:
    """Measure every number of rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 3_000_000], help="train rows")
    parser.add_argument("--folder", type=Path, help="keep the files here; default: a temporary folder")
    parser.add_argument("--only", nargs="+", default=["features", "train", "final"], help="commands to measure")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the model")
    options = parser.parse_args()
    settings = [word for one in options.set for word in ("--set", one)]
    table = Table("rows", "command", "seconds", "per row", "peak GB", "own GB")
    least: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        root = options.folder or Path(temporary)
        for n_rows in sorted(options.rows):
            name = f"large-{n_rows}"
            make_competition(root, name, n_rows)
            for command in options.only:
                model = ["--model", "lightgbm", *settings] if command in ("train", "final") else []
                model += ["--no-upload"] if command == "submit" else []
                base = [sys.executable, "-m", "pipeline", command, "-c", name, "--root", str(root), *model]
                found = measured(base)
                by_row = found.seconds / n_rows
                ratio = by_row / least.setdefault(command, by_row)
                shown = (f"{found.seconds:.0f}", f"{ratio:.2f}", f"{found.peak_gb:.2f}", f"{found.own_gb:.2f}")
                table.add_row(f"{n_rows:,}", command, *shown)
                Console(stderr=True).print(f"{n_rows:,} {command}:", *shown)
    Console().print(table)


if __name__ == "__main__":
    main()
