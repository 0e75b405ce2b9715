"""README and docs tell the truth: links lead somewhere, commands and settings exist, examples run."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documentation import (
    ROOT,
    Block,
    apply_block,
    blocks_of,
    broken_links,
    commands_of,
    inline_commands,
    pages,
    wrong_command,
    wrong_imports,
    wrong_names,
    wrong_toml,
)
from tests.test_layers import FLOOR_OF

PAGES = {str(page.relative_to(ROOT)): page for page in pages()}
TEXTS = {name: page.read_text("utf-8") for name, page in PAGES.items()}
IS_GENERATED = {"docs/settings.md", "docs/models.md", "docs/commands.md"}
HOW_TOS = [name for name in PAGES if name.startswith("docs/how-to/") and not name.endswith("index.md")]
WITH_RUNS = [name for name, text in TEXTS.items() if any(b.is_run for b in blocks_of(text)) and name not in HOW_TOS]
MOST_WORDS = 1300
EXAMPLE_TIMEOUT_S = 600


def is_python(block: Block) -> bool:
    """Whether a block is an example in Python, not a file of a how-to."""
    return block.language == "python" and not block.title


WITH_PYTHON = [name for name, text in TEXTS.items() if any(is_python(block) for block in blocks_of(text))]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the repository to run commands in, with an environment in which all is installed."""
    folder = tmp_path / "clone"
    without = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / "pipeline", folder / "pipeline", ignore=without)
    for spec in (ROOT / "data").glob("*/competition.toml"):
        target = folder / spec.parent.relative_to(ROOT)
        target.mkdir(parents=True)
        for path in (spec, spec.with_name("feature_function.py")):
            if path.exists():
                shutil.copy(path, target)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    (folder / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "test_layers.py", folder / "tests")
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    for stamp in (".installed", ".installed-dev", ".installed-boosting"):
        (folder / ".venv" / stamp).touch()
    return folder


def run_in(copy: Path, program: list[str]) -> None:
    """Run a program in the copy; fail with its output."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "COMPETITION")}
    environment |= {"PATH": f"{copy / '.venv' / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(copy)}
    done = subprocess.run(
        program, cwd=copy, env=environment, capture_output=True, text=True, timeout=EXAMPLE_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, f"{program}\n{done.stdout}\n{done.stderr}"


def test_the_readme_is_short() -> None:
    assert len(TEXTS["README.md"].split()) <= MOST_WORDS


def test_the_results_are_the_same_in_both_places() -> None:
    def table(text: str) -> str:
        return text[text.index("| competition | metric | ours") :].split("\n\n")[0]

    assert table(TEXTS["README.md"]) == table(TEXTS["docs/performance.md"])


def test_the_generated_pages_are_current() -> None:
    for name, text in runpy.run_path(str(ROOT / "docs" / "generate.py"))["pages"]().items():
        assert TEXTS[f"docs/{name}"] == text, f"docs/{name} is out of date: run `make docs` and commit it"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    assert [name for name in PAGES if name.startswith("docs/") and name.removeprefix("docs/") not in navigation] == []


@pytest.mark.parametrize("name", HOW_TOS)
def test_the_list_of_how_tos_names_the_files_that_each_touches(name: str) -> None:
    (row,) = (line for line in TEXTS["docs/how-to/index.md"].splitlines() if f"({Path(name).name})" in line)
    titles = [block.title for block in blocks_of(TEXTS[name]) if block.title]
    touched = [title for title in titles if block_is_ours(title)]
    assert [title for title in touched if title not in row and f"{Path(title).parent}/" not in row] == []


def block_is_ours(title: str) -> bool:
    """Whether a how-to's file is a part of the change, not the test that comes with it."""
    return not title.startswith("tests/") or title == "tests/test_layers.py"


def test_the_floors_are_those_that_the_layer_test_checks() -> None:
    rows = re.findall(r"^\| (\d+) \| `pipeline/(\w+)", TEXTS["docs/architecture.md"], flags=re.MULTILINE)
    assert {room: int(floor) for floor, room in rows} == {room: n for room, n in FLOOR_OF.items() if room != "__main__"}


@pytest.mark.parametrize("name", PAGES)
def test_links_paths_and_names_exist(name: str) -> None:
    assert [*broken_links(PAGES[name], TEXTS[name]), *wrong_names(TEXTS[name])] == []


@pytest.mark.parametrize("name", sorted(PAGES.keys() - IS_GENERATED))
def test_commands_exist(name: str) -> None:
    shell = [
        words for b in blocks_of(TEXTS[name]) if b.language == "sh" and not b.is_run for words in commands_of(b.text)
    ]
    for words in [*shell, *inline_commands(TEXTS[name])]:
        assert not wrong_command(words), f"{' '.join(words)}: {wrong_command(words)}"


@pytest.mark.parametrize("name", PAGES)
def test_toml_is_valid(name: str) -> None:
    for block in blocks_of(TEXTS[name]):
        if block.language == "toml" and not block.title:
            assert not wrong_toml(block.text), f"{block.text}\n{wrong_toml(block.text)}"


@pytest.mark.parametrize("name", PAGES)
def test_every_block_names_its_language(name: str) -> None:
    languages = {"sh", "python", "toml", "text", "diff", "make", "json"}
    assert [block.text for block in blocks_of(TEXTS[name]) if block.language not in languages] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_RUNS)
def test_commands_marked_to_run_run(name: str, copy: Path) -> None:
    for block in blocks_of(TEXTS[name]):
        if block.is_run:
            run_in(copy, ["bash", "-euc", block.text])


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_PYTHON)
def test_python_examples_run(name: str, copy: Path) -> None:
    """The blocks of a page run one after the other, as in one session."""
    examples = [block for block in blocks_of(TEXTS[name]) if is_python(block)]
    assert [mistake for block in examples for mistake in wrong_imports(block.text)] == []
    text = "\n".join(block.text for block in examples if not block.note.startswith("not run"))
    (copy / "example.py").write_text(text, encoding="utf-8")
    run_in(copy, [sys.executable, "example.py"])


@pytest.mark.slow
@pytest.mark.parametrize("name", HOW_TOS)
def test_how_tos_work(name: str, copy: Path) -> None:
    """The page's files are written into a copy of the package, in order, and its commands run there."""
    for block in blocks_of(TEXTS[name]):
        if block.title:
            apply_block(block, copy)
        elif block.is_run:
            run_in(copy, ["bash", "-euc", block.text])
    run_in(copy, [sys.executable, "-m", "pytest", "-q", "tests/test_layers.py::test_imports_only_go_down"])
    run_in(copy, [sys.executable, "-m", "ruff", "check", "--quiet", "pipeline", "tests"])
    run_in(copy, [sys.executable, "-m", "ruff", "format", "--check", "--quiet", "pipeline", "tests"])


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("[a](absent.md)", "no such file"),
        ("[a](README.md#absent)", "no such heading"),
        ("`pipeline/absent.py`", "no such file"),
        ("`absent` in `pipeline/cli/results.py`", "does not define absent"),
    ],
)
def test_a_wrong_link_or_name_is_found(text: str, mistake: str) -> None:
    assert mistake in " ".join([*broken_links(ROOT / "PAGE.md", text), *wrong_names(text)])


@pytest.mark.parametrize(
    ("command", "mistake"),
    [
        ("make absent", "no target"),
        ("make submit ABSENT=1", "no variable"),
        ("make submit MODEL=absent", "unknown model"),
        ("python -m pipeline absent", "no command"),
        ("python -m pipeline train --absent 1", "absent"),
        ("python -m pipeline tune --trials none", "valid integer"),
        ("python -m pipeline train --set absent=1", "absent"),
        ("python benchmarks/absent.py", "no benchmarks/absent.py"),
        ("pip install '.[absent]'", "no extras"),
        ("rm -rf /", "rm is not a program"),
    ],
)
def test_a_wrong_command_is_found(command: str, mistake: str) -> None:
    (words,) = commands_of(command)
    assert mistake in wrong_command(words)


@pytest.mark.parametrize("text", ["a = ", "[folds]\nkind = 'absent'", "[absent]\nlow = 1", "[columns]\nabsent = 1"])
def test_wrong_toml_is_found(text: str) -> None:
    assert wrong_toml(text)


def test_a_failing_example_fails(copy: Path) -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run_in(copy, [sys.executable, "-c", "1 / 0"])
    with pytest.raises(AssertionError, match="0 times"):
        apply_block(Block("diff", "-absent\n+present\n", "", "Makefile"), copy)
    assert list(wrong_imports("from pipeline.cli import absent")) == ["pipeline.cli has no absent"]
