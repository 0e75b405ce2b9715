"""A finished project, the ways to damage each of its files, and how every command that reads the file answers.

Used by `benchmarks/corruption.py`, which tries all pairs, and by `tests/test_corruption.py`, which tries a sample.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from pipeline.cli import app
from pipeline.competition.workspace import Workspace
from tests.conftest import SPEC, TINY, toy_tables

MLP = [*TINY[:6], "--workers", "1", "--device", "cpu"]
RIDGE = ["--preset", "fast", "--model", "ridge", "--set", "final=refit", "--workers", "1"]
FOREST = ["--preset", "fast", "--model", "random_forest", "--set", "n_trees=5", "--set", "seeds=1", "--workers", "1"]
TUNE = ["--model", "lightgbm", "--set", "rounds=5", "--trials", "3", "--workers", "1", "--device", "cpu"]
OUTPUT = "predicted.csv"  # of `predict`

# command -> its name and options, the files it makes, and the artifacts it reads (below data/toy/, unless stated)
FEATURES = ["competition.toml", "raw/*", "features/*"]
COMMANDS: dict[str, tuple[list[str], list[str], list[str]]] = {
    "features": (
        ["features"],
        ["data/toy/features/*.parquet", "data/toy/features/folds.npy", "data/toy/features/manifest.json"],
        FEATURES,
    ),
    "check": (["check"], ["stdout"], FEATURES),
    "train": (
        ["train", "--preset", "fast", *MLP],
        ["data/toy/runs/fast-mlp-*/*.parquet"],
        [*FEATURES, "runs/fast-mlp-*"],
    ),
    "final, refitted": (
        ["final", *RIDGE],
        ["submissions/toy/fast-ridge-*.csv", "data/toy/runs/fast-ridge-*/final/*"],
        [*FEATURES, "runs/fast-ridge-*", "submissions/fast-ridge-*"],
    ),
    "submit": (
        ["submit", "--no-upload", *FOREST],
        ["submissions/toy/fast-random_forest-*.csv"],
        [*FEATURES, "runs/fast-random_forest-*", "submissions/fast-random_forest-*"],
    ),
    "tune": (["tune", *TUNE], ["data/toy/tuning/lightgbm/best.json"], [*FEATURES, "tuning/*.log", "tuning/*/oof/*"]),
    "tune, database": (
        ["tune", *TUNE, "--storage", "sqlite:///{root}/studies.db"],
        ["data/toy/tuning/lightgbm/best.json"],
        ["studies.db"],
    ),
    "train, tuned": (
        ["train", "--model", "lightgbm", "--workers", "1"],
        ["data/toy/runs/tuned-*/*.parquet"],
        ["competition.toml", "features/manifest.json", "tuning/lightgbm/best.json", "runs/tuned-*"],
    ),
    "runs": (
        ["runs"],
        ["stdout"],
        ["competition.toml", "features/manifest.json", "runs/*/report.json", "submissions/*"],
    ),
    "compare": (
        ["compare", "{mlp}", "{ridge}"],
        ["stdout"],
        ["runs/fast-mlp-*/report.json", "runs/fast-ridge-*/report.json"],
    ),
    "predict": (
        ["predict", "{mlp}", "{root}/rows.csv", "-o", "{root}/" + OUTPUT],
        [OUTPUT],
        ["competition.toml", "features/*", "runs/fast-mlp-*"],
    ),
    "predict, refitted": (
        ["predict", "{ridge}", "{root}/rows.csv", "-o", "{root}/" + OUTPUT],
        [OUTPUT],
        ["runs/fast-ridge-*"],
    ),
    "predict, forest": (
        ["predict", "{random_forest}", "{root}/rows.csv", "-o", "{root}/" + OUTPUT],
        [OUTPUT],
        ["runs/fast-random_forest-*"],
    ),
    "score": (
        ["score", "{root}/submissions/toy/{ridge}.csv"],
        ["stdout"],
        ["competition.toml", "raw/source.json", "features/*", "solution/*", "submissions/fast-ridge-*.csv"],
    ),
    "kernel": (["kernel", "--no-push", *RIDGE[:-2]], ["kernels/toy/final_training.py"], [*FEATURES, "kernels/*"]),
    "leaderboard": (["leaderboard"], ["stdout"], ["competition.toml"]),
    "doctor": (["doctor"], ["stdout"], ["competition.toml"]),
}
# commands that may go on without a file: a list without a run, a study from the trials before a broken line, and the
# score of whatever file is given; all others have the results of a whole project, or none
GOES_ON = ("runs", "tune", "score")
NOT_READ = (
    "*.guard",
    "*.lock",
    "*/tensorboard/*",
    "*/report/*",
    "*/trials.parquet",
    "*/importances.parquet",
    "*/ledger*",
)
TEXT = (".json", ".toml")


def _garbled(content: bytes) -> bytes:
    """Other bytes in the middle."""
    middle, n = len(content) // 2, min(8, len(content))
    start = max(0, middle - n // 2)
    return content[:start] + bytes(byte ^ 0x55 for byte in content[start : start + n]) + content[start + n :]


def _another_digit(content: bytes) -> bytes:
    """One digit is another one: the file may still have its form."""
    digits = [found.start() for found in re.finditer(rb"[1-8]", content)]
    if not digits:
        return _garbled(content)
    position = digits[len(digits) * 2 // 3]
    return content[:position] + bytes([content[position] + 1]) + content[position + 1 :]


def _without_a_key(content: bytes) -> bytes:
    raw = json.loads(content)
    key = sorted(set(raw) - {"checksum"})[len(raw) // 2 - 1]
    return json.dumps({name: value for name, value in raw.items() if name != key}).encode()


def _replace(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(change(path.read_bytes())) and None


def _as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _as_loop(path: Path) -> None:
    """A link to itself, which nobody can read, not even root."""
    path.unlink()
    path.symlink_to(path.name)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "truncated": _replace(lambda content: content[: len(content) // 2]),
    "last bytes lost": _replace(lambda content: content[:-3]),
    "emptied": _replace(lambda _: b""),
    "garbled": _replace(_garbled),
    "another digit": _replace(_another_digit),
    "zeroed": _replace(lambda content: bytes(len(content))),
    "another file": _replace(lambda _: b"\xff\xfe nothing of this program"),
    "deleted": lambda path: path.unlink(),
    "a folder": _as_folder,
    "unreadable": _as_loop,
    "key removed": _replace(_without_a_key),
    "key added": _replace(lambda content: json.dumps(json.loads(content) | {"surplus": 1}).encode()),
    "a list": _replace(lambda content: json.dumps([json.loads(content)]).encode()),
    "a newer format": _replace(lambda content: json.dumps(json.loads(content) | {"format": 999}).encode()),
    "an older format": _replace(lambda content: json.dumps(json.loads(content) | {"format": 0}).encode()),
    "NaN": _replace(lambda content: re.sub(rb"(: )-?\d[\d.e-]*", rb"\1NaN", content, count=1)),
    "deep": _replace(lambda _: b"[" * 50_000),
}
OF_JSON = ("key removed", "key added", "a list", "a newer format", "an older format", "NaN", "deep")


@dataclass
class World:
    """A finished project under `root`, and its untouched copy."""

    root: Path
    names: dict[str, str] = field(default_factory=dict)  # model -> run
    wanted: dict[str, dict[str, bytes]] = field(
        default_factory=dict
    )  # command -> what it makes when nothing is damaged

    @property
    def _copy(self) -> Path:
        return self.root.with_name(f"{self.root.name}.whole")

    def build(self) -> None:
        """Run every command once; then again, to know what it answers in a finished project."""
        workspace = Workspace(self.root, "toy")
        workspace.raw.mkdir(parents=True)
        train, test = toy_tables()
        train.to_csv(workspace.raw / "train.csv", index=False)
        test.to_csv(workspace.raw / "test.csv", index=False)
        test.to_csv(self.root / "rows.csv", index=False)
        sample = test[["id"]].assign(price=1000.0)
        sample.to_csv(workspace.raw / "sample_submission.csv", index=False)
        workspace.solution.parent.mkdir()
        sample.assign(price=sample["id"] * 100.0).to_csv(workspace.solution, index=False)
        workspace.spec.write_text(SPEC.replace("number = 4", "number = 3"))
        for command in COMMANDS:
            self.names |= {
                path.parent.name.split("-")[1]: path.parent.name for path in workspace.runs.glob("fast-*/report.json")
            }
            result = self.run(command)
            assert result.exit_code == 0 or command in ("leaderboard", "doctor"), result.output
        shutil.copytree(self.root, self._copy)
        for command in COMMANDS:
            result = self.run(command)
            assert not _is_traceback(result), (command, result.exception)
            self.wanted[command] = self.made(command, result)
            self.restore()

    def restore(self) -> None:
        """Put all files back."""
        shutil.rmtree(self.root)
        shutil.copytree(self._copy, self.root)

    def run(self, command: str) -> Result:
        """Run a command in this process."""
        (self.root / OUTPUT).unlink(missing_ok=True)
        known = {"root": str(self.root), **self.names}
        options = [re.sub(r"\{(\w+)\}", lambda found: known[found[1]], one) for one in COMMANDS[command][0]]
        return CliRunner().invoke(app, [*options, "--competition", "toy", "--root", str(self.root)])

    def made(self, command: str, result: Result) -> dict[str, bytes]:
        """What a command has made: its files, without times, or its lines."""
        patterns = COMMANDS[command][1]
        if patterns == ["stdout"]:
            return {"stdout": result.stdout.encode()}
        paths = sorted(
            path for pattern in patterns for path in self.root.glob(pattern) if path.name != "history.parquet"
        )
        return {path.relative_to(self.root).as_posix(): _content(path) for path in paths if path.is_file()}

    def cases(self) -> Iterator[tuple[str, str, str]]:
        """All triples of artifact, damage and command that reads the artifact."""
        for path in sorted(path for path in self._copy.rglob("*") if path.is_file()):
            name = path.relative_to(self._copy).as_posix()
            readers = [
                command for command, (_, _, reads) in COMMANDS.items() if any(_is_read(name, one) for one in reads)
            ]
            if any(fnmatch(name, pattern) for pattern in NOT_READ):
                continue
            for damage in DAMAGES:
                is_edit = path.suffix == ".toml" and damage == "another digit"  # users may edit specs
                if not is_edit and (path.suffix == ".json" or damage not in OF_JSON):
                    # users may delete runs and submissions, which are then not listed
                    asked = [command for command in readers if (damage, command) != ("deleted", "runs")]
                    yield from ((name, damage, command) for command in asked)

    def answer(self, name: str, damage: str, command: str) -> tuple[str, str]:
        """Damage an artifact, run the command; how it ended, and its message. Restores the project.

        `same`: the results of an undamaged project. `refused`: one message. `told`: it went on without the artifact
        and said so. `wrong`: other results without a word. `traceback`, `crash`: neither.
        """
        path = self.root / name
        DAMAGES[damage](path)
        try:
            result = self.run(command)
            said = " ".join(result.stderr.split())
            if _is_traceback(result):
                return "traceback", repr(result.exception)
            if result.exit_code in (2, 3):
                return ("refused" if said.count("error:") == 1 else "crash"), said
            if result.exit_code:
                return "crash", said
            if self.made(command, result) == self.wanted[command]:
                return "same", said
            may_go_on = command in GOES_ON or path.suffix == ".toml"
            return ("told" if may_go_on and _names(said, path) else "wrong"), said
        finally:
            self.restore()


def _is_traceback(result: Result) -> bool:
    return result.exception is not None and not isinstance(result.exception, SystemExit)


def _content(path: Path) -> bytes:
    """A file's bytes; a JSON file without what differs from call to call."""
    try:
        raw: dict[str, Any] = json.loads(path.read_bytes()) if path.suffix == ".json" else {}
    except (ValueError, RecursionError):
        raw = {}
    if not isinstance(raw, dict) or not raw:
        return path.read_bytes()
    return json.dumps({key: raw[key] for key in sorted(raw.keys() - {"written_at", "checksum", "study"})}).encode()


def _is_read(name: str, pattern: str) -> bool:
    top, _, rest = pattern.partition("/")
    places = [f"data/toy/{pattern}", f"{top}/toy/{rest}", pattern]
    places += [f"data/toy/tuning/lightgbm/{rest.removeprefix('*/')}"] if top == "tuning" else []
    return any(fnmatch(name, place) or fnmatch(name, f"{place}/*") for place in places)


def _names(said: str, path: Path) -> bool:
    names = (path.name, path.parent.name, *(["in the spec changed"] if path.suffix == ".toml" else []))
    return any(name in said for name in names)
