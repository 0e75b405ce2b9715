"""`tune` killed with SIGKILL at random moments, and resumed until its total, against a run that nobody kills.

    python benchmarks/killing.py                 # 20 kills; some ten minutes
    python benchmarks/killing.py --kills 5 --trials 40

The built-in sample of House Prices. A kill comes at a moment drawn evenly from the time a start's first batch takes and
that of some more: while the command loads, asks, trains, scores, writes. The study is read right before and after
each kill: a trial that was finished before must be there afterwards, with the same values, score and predictions. The
exit code is 1 when one is lost, or when in the end a trial is left running or the number of trials differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from rich.console import Console
from rich.table import Table

from pipeline.tuning.study import finished_trials

REPOSITORY, COMPETITION = Path(__file__).parents[1], "house-prices"
BATCH = 4
NUMBERS = ["--set", "epochs=10", "--set", "seeds=1", "--batch", str(BATCH), "--device", "cpu"]
SPACE = """
[tune.mlp.hidden_sizes]
choices = [[8], [16], [32], [16, 8]]
"""


def start(root: Path, n_trials: int, stage: str = "tune") -> subprocess.Popen[bytes]:
    """The command in the background, in a group of processes of its own."""
    own = [sys.executable, "-m", "pipeline", stage, "--root", str(root)]
    environment = {name: value for name, value in os.environ.items() if name != "PIPELINE_DATA_DIR"}
    return subprocess.Popen(
        [*own, "--trials", str(n_trials), *NUMBERS] if stage == "tune" else own,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment | {"PYTHONPATH": str(REPOSITORY)},
        start_new_session=True,
    )


def study_of(root: Path) -> optuna.Study | None:
    """The study as it is on the disk; None before there is one."""
    log = root / "data" / COMPETITION / "tuning/mlp/study.log"
    if not log.exists():
        return None
    storage = JournalStorage(JournalFileBackend(str(log)))
    summaries = optuna.get_all_study_summaries(storage)
    return optuna.load_study(study_name=summaries[0].study_name, storage=storage) if summaries else None


def finished(root: Path) -> dict[int, Any]:
    """Finished trials: number -> what must not change, and whether a complete one's predictions are there."""
    study = study_of(root)
    if study is None:
        return {}
    oofs = root / "data" / COMPETITION / "tuning/mlp/oof" / study.study_name
    return {
        t.number: (
            t.state.name,
            json.dumps(t.params, sort_keys=True),
            t.value,
            t.state.name != "COMPLETE" or (oofs / f"{t.number}.npy").exists(),
        )
        for t in finished_trials(study)
    }


def states(root: Path) -> tuple[int, int, int]:
    """Finished trials, those left running or waiting, and complete ones whose values came twice."""
    study = study_of(root)
    assert study is not None
    complete = [str(sorted(t.params.items())) for t in study.trials if t.state.name == "COMPLETE"]
    n_left = sum(t.state.name in ("RUNNING", "WAITING") for t in study.trials)
    return len(finished_trials(study)), n_left, len(complete) - len(set(complete))


def unkilled(root: Path, n_trials: int) -> tuple[float, float]:
    """Seconds from the start of a run that nobody kills to its first trial's end, and from there to its last one's."""
    began = time.time()
    if start(root, n_trials).wait():
        raise SystemExit("the run that nobody kills failed")
    study = study_of(root)
    assert study is not None
    ends = [t.datetime_complete.timestamp() for t in study.trials if t.datetime_complete]
    return min(ends) - began, max(ends) - min(ends)


def killed(root: Path, n_trials: int, n_kills: int, latest_s: float, seed: int) -> tuple[int, int, int]:
    """(kills, finished trials lost, kills while trials were running); then the study is brought to its end."""
    rng, n_killed, n_lost, n_amid = random.Random(seed), 0, 0, 0
    while n_killed < n_kills:
        process = start(root, n_trials)
        time.sleep(rng.uniform(0.0, latest_s))
        before = finished(root)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        after = finished(root)
        if len(after) >= n_trials:
            print(f"after {n_killed} kills all {n_trials} trials are there: ask for more", file=sys.stderr)
            break
        n_killed += 1
        n_lost += sum(after.get(number) != was or not was[-1] for number, was in before.items())
        study = study_of(root)
        n_amid += study is not None and any(t.state.name == "RUNNING" for t in study.trials)
        print(f"kill {n_killed}: {len(after)} of {n_trials} trials finished, {n_lost} lost", file=sys.stderr)
    if start(root, n_trials).wait():
        raise SystemExit("the last run failed")
    return n_killed, n_lost, n_amid


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--batches", type=int, default=6, help="a kill comes within as many after the first")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table = Table("run", "kills", "while trials ran", "finished", "of", "lost", "left running", "trained twice")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made"
        shutil.copytree(
            REPOSITORY / "data" / COMPETITION,
            made / "data" / COMPETITION,
            ignore=shutil.ignore_patterns("raw", "features", "tuning", "runs", "report", "download"),
        )
        spec = made / "data" / COMPETITION / "competition.toml"
        spec.write_text(spec.read_text() + SPACE)
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
        if start(made, 0, "features").wait():
            raise SystemExit("the features could not be made")
        shutil.copytree(made, whole)
        shutil.copytree(made, broken)
        start_s, trials_s = unkilled(whole, options.trials)
        latest_s = start_s + options.batches * BATCH * trials_s / options.trials
        n_killed, n_lost, n_amid = killed(broken, options.trials, options.kills, latest_s, options.seed)
        ends = {"nobody kills": (states(whole), "", "", ""), "killed": (states(broken), n_killed, n_amid, n_lost)}
        for name, ((n_finished, n_left, n_twice), kills, amid, lost) in ends.items():
            row = (name, kills, amid, n_finished, options.trials, lost, n_left, n_twice)
            table.add_row(*map(str, row))
    console = Console()
    console.print(f"a first batch takes {start_s:.1f} s, the others {trials_s:.1f} s; kills within {latest_s:.1f} s")
    console.print(table)
    is_good = n_lost == 0 and n_killed == options.kills
    is_good &= all(count == options.trials and left == 0 for (count, left, _), *_ in ends.values())
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
