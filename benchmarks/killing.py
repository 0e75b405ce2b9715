"""Every command ended at random moments and run again, against one that nobody ends.

    python benchmarks/killing.py                            # 300 kills; some 25 minutes on one core
    python benchmarks/killing.py --kills 20 --only train    # of one command

A chain of one to three kills hits a command amid its work: SIGKILL, SIGTERM, SIGHUP, SIGINT, a disk that is full from
that moment on, a closed terminal, a closed pipe. Then the same command runs to its end. It must end well and leave the
same files as without the kills, each submission sent to the fake Kaggle once, and nothing unfinished. Of `tune` the
trials must be the same and none running. Preset best, whose plan follows the clock, must end with a valid submission.
An ended command must not print a traceback. The commands run in forks of this process, which has imported the packages
already.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import hashlib
import json
import os
import pty
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import optuna
import pandas as pd
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from rich.console import Console
from rich.table import Table

from pipeline import cli
from pipeline.competition.workspace import Workspace
from pipeline.config.records import Provenance
from pipeline.kaggle.client import calls
from pipeline.kaggle.ledger import Ledger
from pipeline.stages import best, check, final, kernel, leaderboard, predict, submit, train, tune  # noqa: F401
from pipeline.stages.repeat import repeat_run  # noqa: F401
from pipeline.tuning.ownership import ordinals
from pipeline.tuning.study import finished_trials
from tests.conftest import SPEC, TINY, toy_tables
from tests.kaggle.conftest import FakeClock, offer_toy
from tests.kaggle.server import TOKEN, KaggleServer

HANGS = -999  # in place of an exit code
NAME, LONGEST_S, N_TRIALS = "toy", 240.0, 6
NETWORK = [*TINY, "--set", "epochs=12"]
ENDS = ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT", "full disk", "closed terminal", "closed pipe")


@dataclass(frozen=True)
class Command:
    """A command line, the state it starts from, and what must be equal afterwards."""

    args: tuple[str, ...]
    state: str  # "files", "features" or "run"
    same: tuple[str, ...]  # patterns of files whose bytes must be equal
    may_upload: bool = False
    facts: Callable[[Path], str] = lambda _: ""  # must be equal, too
    look: Callable[[Path], str] = lambda _: ""  # a fault in what it left
    weight: int = 3


def _study(root: Path) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(Workspace(root, NAME).tuning("mlp") / "study.log")))
    (summary,) = optuna.get_all_study_summaries(storage)
    return optuna.load_study(study_name=summary.study_name, storage=storage)


def _trials(root: Path) -> str:
    """What is proposed and found, by the numbers without kills."""
    study = _study(root)
    number_of = ordinals(study)
    return str(sorted((number_of[one.number], one.params, one.value) for one in finished_trials(study)))


def _tuned(root: Path) -> str:
    study = _study(root)
    finished, n_open = len(finished_trials(study)), sum(not trial.state.is_finished() for trial in study.trials)
    return "" if (finished, n_open) == (N_TRIALS, 0) else f"{finished} trials are finished, {n_open} open"


def _valid(root: Path) -> str:
    for path in (root / "submissions" / NAME).glob("*.json"):
        if Provenance.read(path).sha256 != hashlib.sha256(path.with_suffix(".csv").read_bytes()).hexdigest():
            return f"{path.name} does not describe its file"
    return "" if list((root / "submissions" / NAME).glob("best-*.csv")) else "there is no submission"


FEATURES = ("data/toy/features/*.parquet", "data/toy/features/*.npy")
RUN = (*FEATURES, "data/toy/runs/*/*.parquet", "data/toy/runs/*/model/*")
CSV = ("submissions/toy/*[!r].csv",)  # all but the ledger
COMMANDS = {
    "init": Command(("init", NAME, "--metric", "rmsle", "--force"), "files", ("data/toy/competition.toml",)),
    "data": Command(("data",), "nothing", ("data/toy/raw/*.csv", "data/toy/competition.toml"), may_upload=True),
    "features": Command(("features",), "files", FEATURES),
    "check": Command(("check",), "files", FEATURES),
    "train": Command(("train", *NETWORK), "features", RUN, weight=6),
    "train ridge": Command(("train", "-m", "ridge", "--workers", "2", "--repeats", "1"), "features", RUN),
    "tune": Command(
        ("tune", *NETWORK, "--trials", str(N_TRIALS), "--batch", "2", "--pruner", "none"),
        *("features", FEATURES),
        facts=_trials,
        look=_tuned,
        weight=5,
    ),
    "final": Command(("final", *NETWORK, "--set", "final=refit"), "features", (*RUN, *CSV), weight=5),
    "submit": Command(("submit", *NETWORK, "--yes"), "files", (*RUN, *CSV), may_upload=True, weight=6),
    "best": Command(("submit", "-p", "best", "--minutes", "0.1", "--no-upload"), "features", FEATURES, look=_valid),
    "predict": Command(("predict", "RUN", "ROWS", "--output", "OUT"), "run", ("predicted.csv",)),
    "kernel": Command(("kernel", *NETWORK[:4], "--no-push"), "run", ("kernels/toy/*.py",)),
    "leaderboard": Command(("leaderboard",), "run", ("submissions/toy/ledger.csv",), may_upload=True),
    "clean": Command(("clean",), "run", ("data/**/*",)),
}


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    text: str  # all that it printed
    elapsed_s: float
    was_hit: bool


@dataclass
class Bench:
    """The states that commands start from, and the fake Kaggle."""

    folder: Path
    server: KaggleServer
    references: dict[str, tuple[float, dict[str, str]]] = field(default_factory=dict)
    sent: list[dict[str, Any]] = field(default_factory=list)  # in the state "run"

    def prepare(self) -> None:
        """Make the states."""
        (self.folder / "nothing").mkdir()
        raw = self.folder / "files" / "data" / NAME / "raw"
        raw.mkdir(parents=True)
        made, test = toy_tables()
        sample = pd.DataFrame({"id": test["id"], "price": 1000.0})
        for name, table in {"train": made, "test": test, "sample_submission": sample}.items():
            table.to_csv(raw / f"{name}.csv", index=False)
        (raw.parent / "competition.toml").write_text(SPEC)
        for state, before, args in (("features", "files", ("features",)), ("run", "features", ("submit", *NETWORK))):
            shutil.copytree(self.folder / before, self.folder / state)
            ended = self.run(Command((*args, *(["--yes"] if state == "run" else [])), before, (), True), state)
            assert ended.code == 0, ended.text
        self.sent = copy.deepcopy(self.server.submissions)

    def copy(self, command: Command) -> str:
        """A fresh copy of the command's state, and a Kaggle that knows the submissions in it."""
        shutil.rmtree(self.folder / "work", ignore_errors=True)
        shutil.copytree(self.folder / command.state, self.folder / "work")
        self.server.submissions[:] = copy.deepcopy(self.sent) if command.state == "run" else []
        return "work"

    def run(self, command: Command, state: str, end: str | None = None, after_s: float = LONGEST_S) -> Ended:
        """Run the command on a state; `end` hits it after so many seconds, unless it has ended by then."""
        root, began = self.folder / state, time.monotonic()
        read, write = pty.openpty() if end == "closed terminal" else os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            self._be(command, root, write)
        os.close(write)
        output = _Output(read)
        code = _wait(pid, output, began + after_s)
        if was_hit := code is None and end is not None:
            _hit(pid, str(end), output)
            code = _wait(pid, output, time.monotonic() + LONGEST_S)
        if code is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            code = HANGS
        output.drain()
        return Ended(code, output.text, time.monotonic() - began, was_hit)

    def _be(self, command: Command, root: Path, write: int) -> None:
        """Become the command."""
        code = 1
        try:
            os.setsid()
            if os.isatty(write):
                os.close(os.open(os.ttyname(write), os.O_RDWR))  # becomes the terminal of this session
            for number in (1, 2):
                os.dup2(write, number)
            os.close(write)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
            runs = sorted(path.parent.name for path in root.glob("data/toy/runs/*/report.json"))
            named = {"RUN": (runs or [""])[0], "ROWS": str(self.folder / "files/data/toy/raw/test.csv")}
            args = [{**named, "OUT": str(root / "predicted.csv")}.get(arg, arg) for arg in command.args]
            competition = [] if args[0] == "init" else ["-c", NAME]
            clock = FakeClock(time.time())
            calls.Clock.sleep, calls.Clock.now = staticmethod(clock.sleep), staticmethod(clock.now)
            if command.may_upload:
                os.environ["KAGGLE_API_TOKEN"] = TOKEN
            sys.argv = ["pipeline", *args, *competition, "--root", str(root)]
            cli.main()
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except KeyboardInterrupt:  # before or after the command
            code = 130
        except BaseException:
            with contextlib.suppress(OSError):
                traceback.print_exc()
        finally:
            with contextlib.suppress(BaseException):
                sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)

    def left(self, command: Command) -> dict[str, str]:
        """The hashes of what must be equal."""
        root = self.folder / "work"
        found = {path for pattern in command.same for path in root.glob(pattern) if path.is_file()}
        found = {path for path in found if ".locks" not in path.parts}
        left = {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(found)}
        return left | ({"facts": facts} if (facts := command.facts(root)) else {})

    def fault(self, command: Command, reference: dict[str, str]) -> str:
        """What is wrong after the last run; "" if it is as without kills."""
        root, found = self.folder / "work", self.left(command)
        if found != reference:
            return f"other files: {sorted(name for name, _ in found.items() ^ reference.items())[:3]}"
        partial = [*root.rglob("*.partial")]
        if command.look is not _valid:  # preset best keeps what it gave up, for a later call
            partial += root.glob("data/toy/runs/*/*checkpoints")
        if partial:
            return f"left: {partial[0].relative_to(root)}"
        sent = [one["ref"] for one in self.server.submissions]
        ledger = Ledger(Workspace(root, NAME).ledger).entries()
        if command.may_upload and command.state != "nothing" and (len(sent), len(ledger)) != (1, 1):
            return f"{len(sent)} were sent, {len(ledger)} are in the ledger"
        return command.look(root)


class _Output:
    """What a command prints; the end of a pipe or terminal that can be closed."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor: int | None = descriptor
        self.parts: list[bytes] = []
        os.set_blocking(descriptor, False)

    @property
    def text(self) -> str:
        return b"".join(self.parts).decode(errors="replace")

    def drain(self) -> None:
        """Read what is there."""
        while self.descriptor is not None:
            try:
                part = os.read(self.descriptor, 1 << 16)
            except BlockingIOError:
                return
            except OSError:  # a terminal that nobody writes to
                part = b""
            if not part:
                self.close()
                return
            self.parts.append(part)

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def _wait(pid: int, output: _Output, until: float) -> int | None:
    """The exit code, negative for a signal; None if the process still runs at `until`."""
    while True:
        output.drain()
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            return None
        time.sleep(0.003)


def _hit(pid: int, end: str, output: _Output) -> None:
    if end == "full disk":  # no file may grow
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    elif end.startswith("closed"):
        output.close()
    else:
        os.kill(pid, signal.Signals[end])


def _chain(bench: Bench, name: str, rng: random.Random, n_kills: int) -> tuple[list[str], str]:
    """Hit the command `n_kills` times and let it end; the ends used and what is wrong."""
    command = COMMANDS[name]
    duration_s, reference = bench.references[name]
    ends, state = list[str](), bench.copy(command)
    for _ in range(n_kills):
        end = rng.choice(ENDS)
        ended = bench.run(command, state, end, rng.uniform(0.0, duration_s))
        if not ended.was_hit:  # it was quicker: this is no kill
            break
        ends.append(end)
        if "Traceback" in ended.text or ended.code == HANGS:
            return ends, f"exit {ended.code}: {ended.text[-1500:]}"
    ended = bench.run(command, state)
    if ended.code != 0:
        return ends, f"the last run: exit {ended.code}: {ended.text[-1500:]}"
    return ends, bench.fault(command, reference)


def main() -> None:
    """Kill, compare, print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=sorted(COMMANDS))
    options = parser.parse_args()
    os.environ.pop("PIPELINE_DATA_DIR", None)
    os.environ.pop("COMPETITION", None)
    os.environ["OMP_NUM_THREADS"] = "1"
    names = options.only or list(COMMANDS)
    rng = random.Random(options.seed)
    counts, good = collections.Counter[tuple[str, str]](), collections.Counter[tuple[str, str]]()
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as folder, _kaggle() as server:
        os.environ["HOME"] = folder
        bench = Bench(Path(folder), server)
        bench.prepare()
        for name in names:
            ended = bench.run(COMMANDS[name], bench.copy(COMMANDS[name]))
            bench.references[name] = ended.elapsed_s, bench.left(COMMANDS[name])
            if ended.code != 0 or not bench.references[name][1]:
                raise SystemExit(f"{name}, which nobody kills, failed: {ended.text}")
        while sum(counts.values()) < options.kills:
            name = rng.choices(names, [COMMANDS[one].weight for one in names])[0]
            n_kills = min(rng.choice((1, 1, 2, 3)), options.kills - sum(counts.values()))
            ends, fault = _chain(bench, name, rng, n_kills)
            for end in ends:
                counts[name, end] += 1
                good[name, end] += not fault
            if fault:
                faults.append(f"{name} after {', '.join(ends)}: {fault}")
                print(faults[-1], file=sys.stderr, flush=True)
    table = Table("command", *ENDS, "all")
    for name in names:
        cells = [f"{good[name, end]} of {counts[name, end]}" for end in ENDS]
        whole = [sum(found[name, end] for end in ENDS) for found in (good, counts)]
        table.add_row(name, *cells, "{} of {}".format(*whole))
    Console(width=160).print(table)
    print(json.dumps({"kills": sum(counts.values()), "good": sum(good.values()), "faults": len(faults)}))
    sys.exit(1 if faults else 0)


@contextlib.contextmanager
def _kaggle():  # type: ignore[no-untyped-def]
    from kagglesdk import kaggle_env

    server = KaggleServer()
    server.competition["deadline"] = "2030-01-01T00:00:00.000Z"
    offer_toy(server)
    server.url = server.start()
    for environment in kaggle_env._env_to_endpoint:
        kaggle_env._env_to_endpoint[environment] = server.url
    for name in [name for name in os.environ if name.startswith("KAGGLE_") or name.lower().endswith("_proxy")]:
        del os.environ[name]
    yield server
    server.stop()


if __name__ == "__main__":
    main()
