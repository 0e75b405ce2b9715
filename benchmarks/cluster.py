"""What a cluster of local Dask workers costs, gains and survives, over House Prices (the sample without real files).

tune        one worker of this process against `--cluster local:2`: a tune of 40 trials; two workers of this process
            show what the machine gives without a cluster
candidates  the same for candidates of preset best; the files that both leave are compared byte by byte
overhead    1,000 tasks of 0.1 s on two workers, against 50 s
kills       workers and the scheduler of a cluster of its own are killed while `tune` and `final` run; what they leave
            is compared with what a run without kills leaves
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from rich.console import Console
from rich.table import Table

from pipeline.base.cluster import Cluster
from pipeline.base.fit_workers import n_waiting
from pipeline.tuning.study import finished_trials

REPOSITORY = Path(__file__).parents[1]
HERE, BOTH, CLUSTER = ["--workers", "1"], ["--workers", "2"], ["--cluster", "local:2"]
TUNE = ["tune", "--pruner", "none", "--no-report"]  # what is pruned depends on which trial is first at a rung
CANDIDATES = [  # models of preset best's plan for House Prices, with their seeds
    *(("mlp", 4), ("lightgbm", 3), ("xgboost", 2), ("catboost", 2), ("extra_trees", 2), ("random_forest", 2)),
    *(("kernel_ridge", 1), ("svm", 1), ("lasso", 1)),
]
PLAN = 'model = "mlp"\n' + "".join(f'[[parts]]\nmodel = "{model}"\nseeds = {seeds}\n' for model, seeds in CANDIDATES)


def run(root: Path, options: Sequence[str], *, may_fail: bool = False) -> tuple[float, str]:
    """Run the program on House Prices; seconds and what it said."""
    started = time.monotonic()
    command = [sys.executable, "-m", "pipeline", *options, "--root", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode and not may_fail:
        raise SystemExit(f"{' '.join(options)}: {done.stderr}")
    return time.monotonic() - started, done.stderr


def left(root: Path) -> dict[str, str]:
    """What a run leaves that does not depend on time: submissions, predictions, the values of all trials."""
    found = [*root.glob("submissions/*/*.csv"), *root.glob("data/*/runs/*/oof.parquet")]
    hashes = {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(found)}
    for log in root.glob("data/*/tuning/*/study.log"):
        storage = JournalStorage(JournalFileBackend(str(log)))
        for summary in optuna.get_all_study_summaries(storage):
            trials = finished_trials(optuna.load_study(study_name=summary.study_name, storage=storage))
            values = sorted((json.dumps(trial.params, sort_keys=True), repr(trial.value)) for trial in trials)
            hashes[log.parent.name] = f"{len(trials)} trials, {hashlib.sha256(repr(values).encode()).hexdigest()}"
    return hashes


def prepared(folder: Path) -> Path:
    """A project with the features of House Prices."""
    made = folder / "made"
    unused = shutil.ignore_patterns("tuning", "runs")
    shutil.copytree(REPOSITORY / "data/house-prices", made / "data/house-prices", ignore=unused)
    run(made, ["features"])
    return made


def speed(folder: Path, parts: Sequence[str], n_trials: int) -> Table:
    """Seconds of whole commands, their ratio, and whether they leave the same bytes."""
    made, table = prepared(folder), Table(*("what", "one worker", "two", "ratio", "local:2", "ratio", "same bytes"))
    commands = dict[str, list[list[str]]]()
    if "tune" in parts:
        commands[f"tune, {n_trials} trials"] = [[*TUNE, "--trials", str(n_trials)]]
    if "candidates" in parts:
        plan = made / "plan.toml"
        plan.write_text(PLAN)
        commands["candidates of best"] = [["final", "--no-report", "--preset", str(plan)]]
    for title, of_one in commands.items():
        seconds, files = list[float](), list[dict[str, str]]()
        for number, where in enumerate((HERE, BOTH, CLUSTER)):
            root = shutil.copytree(made, folder / f"{title}-{number}")
            seconds.append(0.0)
            for options in of_one:
                taken, _ = run(root, [*options, *where])
                seconds[-1] += taken
                print(f"{' '.join([*options, *where])}: {taken:.1f} s", file=sys.stderr, flush=True)
            files.append(left(root))
        shown = [f"{seconds[0]:.1f} s"]
        for taken in seconds[1:]:
            shown += [f"{taken:.1f} s", f"{seconds[0] / taken:.2f}x"]
        table.add_row(title, *shown, str(files[0] == files[2]))
    return table


def nap(seconds: float, *, stop: threading.Event) -> float:
    """A task."""
    stop.wait(seconds)
    return seconds


def overhead(n_tasks: int) -> Table:
    """Seconds of naps on two workers beyond what they take."""
    table, cluster, stop = Table("tasks", "seconds", "least", "overhead"), Cluster("local:2"), threading.Event()
    cluster.run(nap, [], 0.0, stop=stop)
    started = time.monotonic()
    with ThreadPoolExecutor(n_waiting(2, cluster)) as pool:
        list(pool.map(lambda seconds: cluster.run(nap, [], seconds, stop=stop), [0.1] * n_tasks))
    taken, least = time.monotonic() - started, n_tasks * 0.1 / 2
    cluster.close()
    table.add_row(f"{n_tasks} of 0.1 s", f"{taken:.1f}", f"{least:.1f}", f"{taken / least - 1:.1%}")
    return table


class Machines:
    """A scheduler and two workers as processes, which are started again when they end, as services are."""

    def __init__(self) -> None:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.is_over = threading.Event()
        self.keeper = threading.Thread(target=self._keep, daemon=True)

    def _keep(self) -> None:
        workers = ["worker", self.address, "--nthreads", "1", "--no-nanny"]
        commands = {"scheduler": ["scheduler", "--port", str(self.port)], "worker 1": workers, "worker 2": workers}
        while not self.is_over.wait(0.1):
            for name, (kind, *options) in commands.items():
                if name not in self.processes or self.processes[name].poll() is not None:
                    command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *options, "--no-dashboard"]
                    self.processes[name] = subprocess.Popen(
                        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                    )

    def kill(self, name: str) -> None:
        """End a process at once."""
        self.processes[name].kill()

    @contextlib.contextmanager
    def running(self) -> Iterator[Machines]:
        """Keep them running."""
        self.keeper.start()
        try:
            yield self
        finally:
            self.is_over.set()
            self.keeper.join()
            for process in self.processes.values():
                process.kill()
                process.wait()


def kills(folder: Path, n_of: dict[str, int], every_s: tuple[float, float], seed: int, n_trials: int) -> Table:
    """Kill workers, or the scheduler, while commands run, until all kills are done; compare what each run leaves."""
    made, rng = prepared(folder), random.Random(seed)
    work = [
        [*TUNE, "--trials", str(n_trials), "--set", "epochs=20"],
        ["final", "--no-report", "--model", "lightgbm", "--set", "seeds=2"],
    ]
    reference = shutil.copytree(made, folder / "reference")
    for options in work:
        run(reference, [*options, *HERE])
    expected, table = left(reference), Table("killed", "kills", "runs", "equal", "commands repeated")
    for kind, n_wanted in n_of.items():
        n_kills, n_equal, n_runs, n_repeated = 0, 0, 0, 0
        while n_kills < n_wanted:
            root = shutil.copytree(made, folder / f"{kind}-{n_runs}")
            n_runs += 1
            with Machines().running() as machines:
                is_over = threading.Event()

                def kill(
                    machines: Machines = machines,
                    is_over: threading.Event = is_over,
                    kind: str = kind,
                    n_wanted: int = n_wanted,
                ) -> None:
                    nonlocal n_kills
                    while n_kills < n_wanted and not is_over.wait(rng.uniform(*every_s)):
                        machines.kill(kind if kind == "scheduler" else f"worker {rng.randint(1, 2)}")
                        n_kills += 1

                time.sleep(5.0)
                killer = threading.Thread(target=kill)
                killer.start()
                for options in work:
                    while True:
                        _, said = run(root, [*options, "--cluster", machines.address], may_fail=True)
                        if "Traceback" in said:
                            raise SystemExit(said)
                        if "error:" not in said:
                            break
                        n_repeated += 1
                        print(said[-400:], file=sys.stderr, flush=True)
                is_over.set()
                killer.join()
            is_equal = left(root) == expected
            n_equal += is_equal
            print(f"{kind}: {n_kills} kills, {n_runs} runs, {n_equal} equal", file=sys.stderr, flush=True)
        table.add_row(kind, str(n_kills), str(n_runs), str(n_equal), str(n_repeated))
    return table


def main() -> None:
    """Measure and print one table for each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=["overhead", "tune", "candidates", "kills"])
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--worker-kills", type=int, default=30)
    parser.add_argument("--scheduler-kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    wanted, n_of = options.only or ["overhead", "tune", "candidates", "kills"], dict[str, int]()
    n_of |= {"worker": options.worker_kills} if options.worker_kills else {}
    n_of |= {"scheduler": options.scheduler_kills} if options.scheduler_kills else {}
    with tempfile.TemporaryDirectory() as folder:
        if "overhead" in wanted:
            Console().print(overhead(1000))
        if {"tune", "candidates"} & set(wanted):
            Console().print(speed(Path(folder) / "speed", wanted, options.trials))
        if "kills" in wanted:
            Console().print(kills(Path(folder) / "kills", n_of, (2.0, 6.0), options.seed, n_trials=16))


if __name__ == "__main__":
    main()
