"""A study in PostgreSQL under fire: `tune` processes that are killed and a server that restarts, by chance.

    python benchmarks/postgresql.py                                 # 4 processes, 200 trials, 20 kills, 2 restarts
    python benchmarks/postgresql.py --trials 24 --kills 4 --restarts 1

Each process has a folder of its own, as on a machine of its own, and shares nothing but the database. Kills are
SIGKILL, spread over the study by the number of finished trials; a killed process is started again after a moment. Every
second restart of the server is a crash. At the end exactly `--trials` trials must be finished, no values trained twice,
none left running or waiting, no process hanging, and all folders must hold the same `best.json`. Needs PostgreSQL's
server (Debian: `apt-get install postgresql`) and the extra `cluster`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import optuna
from rich.console import Console
from rich.table import Table

from pipeline.config.records import TuningResult
from pipeline.tuning.ownership import KILLED
from pipeline.tuning.storages import open_storage
from pipeline.tuning.study import REASON, finished_trials, quiet_optuna
from tests.conftest import Toy, toy_in
from tests.tuning.server import PASSWORD, PostgresServer, why_not
from tests.tuning.test_tuning import SPACE

LONGEST_S = 1800.0
OPTIONS = ("--batch", "4", "--workers", "1", "--device", "cpu", "--pruner", "none", "--no-report")


@dataclass
class Bench:
    """The processes of one study, and the server."""

    server: PostgresServer
    url: str
    machines: list[Toy]
    n_trials: int
    epochs: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, number: int) -> subprocess.Popen[bytes]:
        """Start the process of a machine, which adds to its log."""
        toy = self.machines[number]
        where = ("--competition", "toy", "--root", str(toy.workspace.root))
        settings = ("--set", f"epochs={self.epochs}", "--set", "seeds=1", "--trials", str(self.n_trials))
        with self.log(number).open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "pipeline", "tune", *where, *OPTIONS, *settings],
                env=os.environ | {"STORAGE": self.url, "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
            )

    def log(self, number: int) -> Path:
        """What a machine's processes print."""
        return self.machines[number].workspace.root / "log.txt"

    def study(self) -> optuna.Study:
        """The one study of the database."""
        with quiet_optuna():
            storage = open_storage(self.url)
            (summary,) = optuna.get_all_study_summaries(storage)
            return optuna.load_study(study_name=summary.study_name, storage=storage)


def run(bench: Bench, kills: list[int], restarts: list[int], rng: random.Random) -> tuple[float, float, int]:
    """Kill and restart when so many trials are finished; seconds in all, of outages, and processes that hang."""
    began, away_s, n_restarts = time.monotonic(), 0.0, 0
    bench.processes = [bench.start(number) for number in range(len(bench.machines))]
    while any(process.poll() is None for process in bench.processes):
        if time.monotonic() - began > LONGEST_S:
            break
        time.sleep(0.05)
        n_finished = bench.server.n_complete(bench.url)
        while kills and kills[0] <= n_finished:
            kills.pop(0)
            number = rng.choice([n for n, process in enumerate(bench.processes) if process.poll() is None] or [0])
            bench.processes[number].send_signal(signal.SIGKILL)
            bench.processes[number].wait()
            time.sleep(rng.uniform(0.0, 1.0))
            bench.processes[number] = bench.start(number)
        if restarts and restarts[0] <= n_finished:
            restarts.pop(0)
            n_restarts += 1
            stopped = time.monotonic()
            bench.server.stop(is_crash=n_restarts % 2 == 0)
            time.sleep(rng.uniform(0.5, 3.0))
            bench.server.start()
            away_s += time.monotonic() - stopped
    hanging = [process for process in bench.processes if process.poll() is None]
    for process in hanging:
        process.kill()
    return time.monotonic() - began, away_s, len(hanging)


def main() -> None:
    """Run the study, look at what it left, print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if reason := why_not():
        raise SystemExit(reason)
    rng = random.Random(options.seed)
    kills = sorted(rng.randrange(1, options.trials * 19 // 20) for _ in range(options.kills))
    restarts = [options.trials * (number + 1) // (options.restarts + 1) for number in range(options.restarts)]
    server = PostgresServer()
    try:
        server.create()
        with tempfile.TemporaryDirectory() as folder:
            machines = [toy_in(Path(folder) / f"machine-{number}") for number in range(options.processes)]
            for toy in machines:
                toy.workspace.spec.write_text(toy.workspace.spec.read_text() + SPACE)
                assert toy.run("features").exit_code == 0
            bench = Bench(server, server.database(), machines, options.trials, options.epochs)
            n_kills, n_restarts = len(kills), len(restarts)
            elapsed_s, away_s, n_hanging = run(bench, kills, restarts, rng)
            report(bench, n_kills - len(kills), n_restarts - len(restarts), elapsed_s, away_s, n_hanging)
    finally:
        server.remove()


def report(bench: Bench, n_kills: int, n_restarts: int, elapsed_s: float, away_s: float, n_hanging: int) -> None:
    """Print the table, and end with 1 if a law is broken."""
    study = bench.study()
    finished, trials = finished_trials(study), study.get_trials()
    trained = [json.dumps(one.params, sort_keys=True) for one in finished if REASON not in one.user_attrs]
    n_open = sum(not one.state.is_finished() for one in trials)
    results = [toy.workspace.tuning("mlp") / "best.json" for toy in bench.machines]
    n_results = len({TuningResult.read(path).model_dump_json() for path in results if path.exists()})
    texts = [bench.log(number).read_text() for number in range(len(bench.machines))]
    facts = {
        "processes": len(bench.machines),
        "kills": n_kills,
        "restarts": n_restarts,
        "finished": len(finished),
        "trained twice": len(trained) - len(set(trained)),
        "running or waiting": n_open,
        "hanging": n_hanging,
        "exit codes": [process.returncode for process in bench.processes],
        "results": n_results,
        "given back": sum(bool(one.user_attrs.get(KILLED)) for one in trials),
        "waited for the server": sum(text.count("waiting for the database") for text in texts),
        "tracebacks": sum(text.count("Traceback") for text in texts),
        "passwords": sum(PASSWORD in text for text in texts),
        "seconds": round(elapsed_s),
        "of them without a server": round(away_s, 1),
    }
    table = Table("what", "how many")
    for name, value in facts.items():
        table.add_row(name, str(value))
    Console().print(table)
    print(json.dumps(facts))
    wanted = {"finished": bench.n_trials, "trained twice": 0, "running or waiting": 0, "hanging": 0, "results": 1}
    wanted |= {"tracebacks": 0, "passwords": 0, "exit codes": [0] * len(bench.machines)}
    broken = [name for name, value in wanted.items() if facts[name] != value]
    if broken:
        for number, text in enumerate(texts):
            told = "\n".join(line for line in text.splitlines() if not line.startswith(("│", "┃", "┏", "┡", "└")))
            print(f"--- machine {number}\n{told[-3000:]}", file=sys.stderr)
        raise SystemExit(f"not as wanted: {', '.join(broken)}")


if __name__ == "__main__":
    main()
