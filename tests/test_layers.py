"""Law of the house: imports only go down, floor by floor. The checker itself is proven on planted arrows."""

from __future__ import annotations

import ast
import graphlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import pipeline

PACKAGE = Path(pipeline.__file__).parent

FLOORS = (
    {"base"},
    {"metrics"},
    {"config", "nets"},
    {"competition"},
    {"encoders", "kaggle"},
    {"models"},
    {"scoring"},
    {"tuning", "best", "report"},
    {"stages"},
    {"api", "cli", "__main__"},
)
# Inside `stages` the order of the work: a stage may call the stages before it.
STAGES = (
    *("data", "init", "features", "check", "train", "repeat", "tune", "final", "best", "submit", "kernel"),
    *("report", "predict", "score", "runs", "compare", "leaderboard", "choose", "watch", "doctor", "clean", "steps"),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
NO_TORCH = {"base", "metrics", "config", "competition", "encoders", "kaggle"}
KAGGLE = {"kaggle", "kagglesdk"}  # importing them reads credentials and may exit


@dataclass(frozen=True)
class Arrow:
    """One import: who, where, of what (absolute, dotted), and whether it runs when the module is imported."""

    file: Path
    line: int
    target: str
    runs_at_import: bool


class _Imports(ast.NodeVisitor):
    def __init__(self, package: list[str]) -> None:
        self.package, self.found, self._is_lazy = package, list[tuple[int, str, bool]](), False

    def visit_Import(self, node: ast.Import) -> None:
        self.found += [(node.lineno, alias.name, not self._is_lazy) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = self.package[: len(self.package) + 1 - node.level] if node.level else []
        dotted = ".".join([*base, *([node.module] if node.module else [])])
        self.found += [(node.lineno, f"{dotted}.{alias.name}", not self._is_lazy) for alias in node.names]

    def _visit_lazily(self, node: ast.AST) -> None:
        before, self._is_lazy = self._is_lazy, True
        self.generic_visit(node)
        self._is_lazy = before

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _visit_lazily

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" in ast.dump(node.test):
            self._visit_lazily(node)
        else:
            self.generic_visit(node)


def arrows_of(package: Path) -> Iterator[tuple[str, str, Arrow]]:
    """(room, module inside the room or "", arrow) of every import under `package`."""
    for file in sorted(package.rglob("*.py")):
        room, *inside = file.relative_to(package).with_suffix("").parts
        folder = ("pipeline", *file.relative_to(package).parent.parts)
        for line, target, runs_at_import in _imports_in(file.read_text(encoding="utf-8"), folder):
            yield room, ".".join(inside), Arrow(file, line, target, runs_at_import)


@cache
def _imports_in(text: str, folder: tuple[str, ...]) -> list[tuple[int, str, bool]]:
    visitor = _Imports(list(folder))
    visitor.visit(ast.parse(text))
    return visitor.found


def unplaced_rooms(package: Path) -> list[str]:
    rooms = {file.relative_to(package).with_suffix("").parts[0] for file in package.rglob("*.py")}
    return [f"the room {room!r} has no floor" for room in sorted(rooms - {*FLOOR_OF, "__init__"})]


def mistakes_of(package: Path) -> list[str]:
    """Every broken rule, as `file:line: what`."""
    mistakes = unplaced_rooms(package)
    for room, inside, arrow in arrows_of(package):
        where = f"{arrow.file.relative_to(package)}:{arrow.line}"
        top, *rest = arrow.target.split(".")
        if top == "torch" and room in NO_TORCH:
            mistakes.append(f"{where}: {room} imports torch")
        if top in KAGGLE and arrow.runs_at_import:
            mistakes.append(f"{where}: {top} is imported at module level")
        if top != "pipeline" or not rest or (room not in FLOOR_OF and room != "__init__"):
            continue
        other = rest[0]
        if room == "__init__":
            if rest[:2] == ["base", "version"] or (
                other == "api" and not arrow.runs_at_import
            ):  # names for type checkers
                continue
            mistakes.append(f"{where}: pipeline/__init__.py imports {arrow.target}")
        elif other not in FLOOR_OF:
            mistakes.append(f"{where}: imports {arrow.target}, which has no floor")
        elif room == other == "stages":
            if inside and not (rest[1] in STAGES[: STAGES.index(inside)] if inside in STAGES else False):
                mistakes.append(f"{where}: a stage imports {arrow.target}, which comes after it")
        elif room != other and FLOOR_OF[other] >= FLOOR_OF[room] and (room, other) != ("__main__", "cli"):
            way = "sideways" if FLOOR_OF[other] == FLOOR_OF[room] else "upward"
            mistakes.append(f"{where}: {way} import of {arrow.target}")
    try:
        graphlib.TopologicalSorter(modules_below(package)).prepare()
    except graphlib.CycleError as error:
        mistakes.append(f"modules import each other: {' -> '.join(error.args[1])}")
    return mistakes


def modules_below(package: Path) -> dict[str, set[str]]:
    """Module -> the modules it imports when it is imported; a package's own face counts as a module."""
    files = {file: ["pipeline", *file.relative_to(package).with_suffix("").parts] for file in package.rglob("*.py")}
    names = {file: ".".join(parts[:-1] if parts[-1] == "__init__" else parts) for file, parts in files.items()}
    known = set(names.values())
    below: dict[str, set[str]] = {name: set() for name in known}
    for _, _, arrow in arrows_of(package):
        target = arrow.target if arrow.target in known else arrow.target.rpartition(".")[0]
        if arrow.runs_at_import and target in known - {names[arrow.file], "pipeline"}:
            below[names[arrow.file]].add(target)
    return below


def test_imports_only_go_down() -> None:
    assert mistakes_of(PACKAGE) == []


def test_the_walk_sees_the_house() -> None:
    seen = {(room, arrow.target) for room, _, arrow in arrows_of(PACKAGE)}
    assert ("nets", "pipeline.base.files") in seen  # written `from pipeline.base import files`
    assert ("encoders", "pipeline.config.run.FeatureSteps") in seen


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A house of its own to break, with empty stages and an empty command line."""
    package = tmp_path / "pipeline"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "stages", "cli"))
    (package / "stages").mkdir()
    (package / "cli").mkdir()
    for file in ("stages/__init__.py", "stages/train.py", "stages/tune.py", "cli/__init__.py"):
        (package / file).write_text("")
    return package


def added_mistake(package: Path, file: str, code: str) -> str:
    """What the checker says of `code` in `file` that it did not say before."""
    before = mistakes_of(package)
    path = package / file
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as text:
        text.write(f"\n{code}\n")
    return "\n".join(mistake for mistake in mistakes_of(package) if mistake not in before)


PLANTED = {
    "upward": ("nets/losses.py", "from pipeline.models import registry", "upward import of pipeline.models.registry"),
    "upward, written short": ("nets/losses.py", "from pipeline import cli", "upward import of pipeline.cli"),
    "upward, relative": ("nets/losses.py", "from ..stages import train", "upward import of pipeline.stages.train"),
    "upward, lazy": ("metrics/late.py", "def f():\n    import pipeline.config", "upward import of pipeline.config"),
    "sideways": ("config/run.py", "from pipeline.nets import plan", "sideways import of pipeline.nets.plan"),
    "sideways, relative": ("config/run.py", "from ..nets import plan", "sideways import of pipeline.nets.plan"),
    "to a later stage": (
        "stages/train.py",
        "from pipeline.stages import tune",
        "pipeline.stages.tune, which comes after",
    ),
    "to a later stage, relative": ("stages/train.py", "from .tune import run", "stages.tune.run, which comes after"),
    "from a stage without a place": ("stages/odd.py", "from pipeline.stages import data", "a stage imports"),
    "a module of no floor": ("attic.py", "", "the room 'attic' has no floor"),
    "a package of no floor": ("attic/__init__.py", "", "the room 'attic' has no floor"),
    "an import of no floor": ("cli/prepare.py", "from pipeline import attic", "pipeline.attic, which has no floor"),
    "a circle": ("base/errors.py", "from pipeline.base import files", "modules import each other"),
    "the package itself": ("__init__.py", "from pipeline.config import run", "imports pipeline.config.run"),
    "kaggle": ("kaggle/client/session.py", "import kaggle.api", "kaggle is imported at module level"),
    "kaggle, guarded": (
        "cli/prepare.py",
        "try:\n    from kagglesdk import x\nexcept OSError:\n    pass",
        "at module level",
    ),
    "torch": ("encoders/texts.py", "def f():\n    from torch import nn", "encoders imports torch"),
}


@pytest.mark.parametrize(("file", "code", "mistake"), PLANTED.values(), ids=PLANTED)
def test_the_checker_catches_a_planted_import(copy: Path, file: str, code: str, mistake: str) -> None:
    assert mistake in added_mistake(copy, file, code)


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("nets/losses.py", "from pipeline.nets.networks import MLP\nfrom .networks import MLP"),
        ("nets/losses.py", "from pipeline.base import errors, seeds\nimport torch"),
        ("stages/tune.py", "from pipeline.models import registry\nfrom pipeline import tuning"),
        ("stages/tune.py", "from pipeline.stages import train\nfrom .data import fetch"),
        ("cli/prepare.py", "from pipeline.stages import train, tune"),
        ("kaggle/client/session.py", "def f():\n    import kaggle"),
        ("kaggle/client/session.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import kaggle"),
        ("config/run.py", "from pipeline.base.seeds import derive_seed"),
    ],
)
def test_the_checker_allows_what_is_allowed(copy: Path, file: str, code: str) -> None:
    assert added_mistake(copy, file, code) == ""
