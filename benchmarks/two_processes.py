"""Two `tune` processes on one study against one, over House Prices (the built-in sample when there are no real files).

The same number of trials by one process with one worker, then by two of one worker each on a study they share, and by
one process with two workers. Trials per second of the tuning itself, from the first trial's start to the last one's
end; how often a configuration was trained twice.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from rich.console import Console
from rich.table import Table

from pipeline.tuning.study import finished_trials

REPOSITORY = Path(__file__).parents[1]


def tuned(root: Path, n_processes: int, n_workers: int, n_trials: int, epochs: int) -> tuple[int, float, int]:
    """Finished trials, seconds between the first start and the last end, and trials whose values came twice."""
    command = [sys.executable, "-m", "pipeline", "tune", "--root", str(root), "--trials", str(n_trials)]
    options = ["--workers", str(n_workers), "--batch", "8", "--pruner", "none", "--device", "cpu"]
    processes = [
        subprocess.Popen(
            [*command, *options, "--set", f"epochs={epochs}", "--set", "seeds=1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(n_processes)
    ]
    if any(process.wait() for process in processes):
        raise SystemExit("a tune process failed")
    storage = JournalStorage(JournalFileBackend(str(root / "data/house-prices/tuning/mlp/study.log")))
    (summary,) = optuna.get_all_study_summaries(storage)
    trials = finished_trials(optuna.load_study(study_name=summary.study_name, storage=storage))
    ends = [trial.datetime_complete for trial in trials if trial.datetime_complete]
    starts = [trial.datetime_start for trial in trials if trial.datetime_start]
    distinct = {str(sorted(trial.params.items())) for trial in trials}
    return len(trials), (max(ends) - min(starts)).total_seconds(), len(trials) - len(distinct)


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    table = Table("how", "trials", "seconds", "trials/s", "ratio", "repeated")
    reference = None
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made"
        shutil.copytree(
            REPOSITORY / "data/house-prices",
            made / "data/house-prices",
            ignore=shutil.ignore_patterns("tuning", "runs"),
        )
        subprocess.run([sys.executable, "-m", "pipeline", "features", "--root", str(made)], check=True)
        for n_processes, n_workers in ((1, 1), (2, 1), (1, 2)):
            root = Path(folder) / f"{n_processes}-{n_workers}"
            shutil.copytree(made, root)
            n_trials, elapsed_s, n_repeated = tuned(root, n_processes, n_workers, options.trials, options.epochs)
            rate = n_trials / elapsed_s
            reference = reference or rate
            how = f"{n_processes} process(es) x {n_workers} worker(s)"
            table.add_row(
                how, f"{n_trials}", f"{elapsed_s:.1f}", f"{rate:.2f}", f"{rate / reference:.2f}x", f"{n_repeated}"
            )
    Console().print(table)


if __name__ == "__main__":
    main()
