"""Reads Markdown pages and checks what they say against the code: links, paths, settings, commands.

Knows pages, the Makefile and the command line; must not know what any page is about.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from pipeline.base.errors import PipelineError
from pipeline.cli import app
from pipeline.config.run import RunConfig
from pipeline.config.search_space import SpaceEntry
from pipeline.config.spec import CompetitionSpec
from pipeline.config.table import validated
from pipeline.models.registry import model_params
from pipeline.models.run_configuration import load_run_config

ROOT = Path(__file__).parents[1]
FENCE = re.compile(
    r"(?:^<!-- (?P<note>.+?) -->\n)?"
    r"^```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$",
    flags=re.MULTILINE | re.DOTALL,
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
REPOSITORY_PATH = re.compile(r"^(?:pipeline|tests|docs|benchmarks|notebooks|\.github)/[\w./-]+$")
NAME_IN_FILE = re.compile(r"`(\w+)` (?:in|of) `(pipeline/[\w/]+\.py)`")
OTHER_PROGRAMS = {
    "dask",
    "export",
    "source",
    "cd",
    "git",
    "tensorboard",
    "optuna-dashboard",
    ".venv/bin/pre-commit",
} | {*("apt-get", "runuser", "ssh", "docker", "dask")}
EXAMPLE_SPEC = {"name": "a", "kaggle_slug": "a", "id": "id", "target": "y", "task": "regression", "metric": "rmse"}
EXAMPLE_RUN = {"preset": "mine", "model": "mlp"}


@dataclass(frozen=True)
class Block:
    """A fenced block; `note` is the comment right above it, `title` the file it stands for."""

    language: str
    text: str
    note: str
    title: str

    @property
    def is_run(self) -> bool:
        """Whether a shell block is to be executed."""
        return self.note == "run"


def pages() -> list[Path]:
    """Every Markdown page of the repository's root and of `docs/`."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(text: str) -> list[Block]:
    """The page's fenced blocks, in order."""
    return [
        Block(found["language"], found["text"], found["note"] or "", found["title"] or "")
        for found in FENCE.finditer(text)
    ]


def prose_of(text: str) -> str:
    """The page without its fenced blocks."""
    return FENCE.sub("", text)


def slug_of(heading: str) -> str:
    """The anchor of a heading, as GitHub and mkdocs make it."""
    words = re.sub(r"[^\w\s-]", "", re.sub(r"[`*]", "", heading)).strip().lower()
    return re.sub(r"\s+", "-", words)


def anchors_of(text: str) -> set[str]:
    """The anchors of a page's headings."""
    return {slug_of(found) for found in re.findall(r"^#+ (.+)$", prose_of(text), flags=re.MULTILINE)}


def broken_links(page: Path, text: str) -> Iterator[str]:
    """Relative links that lead to no file or no heading."""
    for link in LINK.findall(prose_of(text)):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = page if not name else (page.parent / name).resolve()
        if not target.exists():
            yield f"{link}: there is no such file"
        elif anchor and anchor not in anchors_of(text if not name else target.read_text("utf-8")):
            yield f"{link}: there is no such heading"
        elif page.is_relative_to(ROOT / "docs") and not target.is_relative_to(ROOT / "docs"):
            yield f"{link}: leads out of docs/, so that the rendered page cannot follow it"


def wrong_names(text: str, *, root: Path = ROOT) -> Iterator[str]:
    """Paths of the repository that are not there, and names that their file does not define."""
    made = {block.title for block in blocks_of(text)}
    for path in CODE.findall(prose_of(text)):
        if REPOSITORY_PATH.match(path) and path not in made and not (root / path).exists():
            yield f"{path}: there is no such file"
    for name, path in NAME_IN_FILE.findall(prose_of(text).replace("\n", " ")):
        if path not in made and (root / path).exists() and name not in defined_in(root / path):
            yield f"{path} does not define {name}"


def defined_in(path: Path) -> set[str]:
    """Functions, methods, classes and constants of a module."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def wrong_toml(text: str) -> str:
    """What is wrong with a TOML block: a part of a spec, of a run, or a model's search space; "" if nothing."""
    try:
        raw = tomllib.loads(text)
        if raw.keys() <= CompetitionSpec.model_fields.keys():
            validated(CompetitionSpec, EXAMPLE_SPEC | raw, where="spec")
        elif raw.keys() <= RunConfig.model_fields.keys():
            config = validated(RunConfig, EXAMPLE_RUN | raw, where="run")
            for _, part in config.weighted_parts:
                model_params(part.model, part.params, where="run")
        else:
            for name, entry in raw.items():
                validated(SpaceEntry, entry, where=name)
    except (tomllib.TOMLDecodeError, PipelineError, TypeError, AttributeError) as error:
        return str(error)
    return ""


def commands_of(text: str) -> Iterator[list[str]]:
    """The words of each command of a shell block."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words:
            yield words


def inline_commands(text: str) -> Iterator[list[str]]:
    """Commands in the prose, set as code: `make x`, `python -m pipeline x`."""
    for code in CODE.findall(prose_of(text)):
        if code.startswith(("make ", "python -m pipeline ")):
            yield from commands_of(code)


def wrong_command(words: list[str]) -> str:
    """What is wrong with a command; "" if nothing."""
    if words[0] == "make":
        return _wrong_make(words[1:])
    if words[:3] == ["python", "-m", "pipeline"] or words[0] == "pipeline":
        return _wrong_call(words[3:] if words[0] == "python" else words[1:])
    if words[0] == "python":
        return "" if (ROOT / words[1]).is_file() or words[1] == "final_training.py" else f"there is no {words[1]}"
    if words[:2] == ["pip", "install"]:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
        asked = [extra for word in words for found in re.findall(r"^\.\[(.+)\]$", word) for extra in found.split(",")]
        return "" if set(asked) <= extras.keys() else f"there are no extras {asked}"
    return "" if words[0] in OTHER_PROGRAMS else f"{words[0]} is not a program the pages may name"


def _wrong_make(words: list[str]) -> str:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    variables = set(re.findall(r"^([A-Z]+) *\?=", makefile, flags=re.MULTILINE))
    given = dict(word.split("=", 1) for word in words if "=" in word)
    if unknown := {word for word in words if "=" not in word} - targets:
        return f"the Makefile has no target {unknown}"
    if unknown := given.keys() - variables:
        return f"the Makefile has no variable {unknown}"
    return _wrong_run(given.get("PRESET", "fast"), given.get("MODEL") or None, [])


def _wrong_call(words: list[str]) -> str:
    group: Any = typer.main.get_command(app)
    if not words or words[0].startswith("-"):
        return "" if words in ([], ["--help"], ["--version"]) else f"there is no option {words[0]}"
    if words[0] not in group.commands:
        return f"there is no command {words[0]}"
    if "--help" in words:
        return ""
    try:
        context = group.commands[words[0]].make_context(words[0], words[1:])
    except Exception as error:  # click's own errors, and a PipelineError of a callback
        return str(getattr(error, "message", error))
    given = context.params
    return _wrong_run(given.get("preset", "fast"), given.get("model"), given.get("overrides") or [])


def _wrong_run(preset: str, model: str | None, overrides: list[str]) -> str:
    if preset in ("best", "tuned", "auto") or preset.endswith(".toml"):
        preset = "fast"
    try:
        config = load_run_config(preset, model=model, overrides=[word for word in overrides if "=..." not in word])
        model_params(config.model, config.params, where="command")
    except PipelineError as error:
        return str(error)
    return ""


def wrong_imports(text: str) -> Iterator[str]:
    """Names that a Python block imports from the project and that are not there. Raises SyntaxError."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pipeline":
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                if not hasattr(module, alias.name):
                    try:
                        importlib.import_module(f"{node.module}.{alias.name}")
                    except ImportError:
                        yield f"{node.module} has no {alias.name}"


def apply_block(block: Block, folder: Path) -> None:
    """Write a titled block to its file under `folder`; a `diff` block changes the file. Raises AssertionError."""
    path = folder / block.title
    if block.language != "diff":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        return
    text = path.read_text("utf-8")
    for hunk in re.split(r"^@@.*\n", block.text, flags=re.MULTILINE):
        lines = hunk.splitlines()
        assert all(line[:1] in ("", " ", "+", "-") for line in lines), f"{block.title}: not a diff: {lines}"
        old = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "+")
        new = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "-")
        assert text.count(old) == 1, f"{block.title} holds these lines {text.count(old)} times:\n{old}"
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
