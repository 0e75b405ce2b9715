"""What is printed is plain text: no markup, no emoji names, no escape codes from data, archives or servers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pipeline
from pipeline.base.errors import DataError
from pipeline.base.printable import is_printable, printable
from pipeline.base.progress import print_result, print_table, say
from tests.conftest import Toy

PACKAGE = Path(pipeline.__file__).parent
HOSTILE = "\x1b]0;title\x07\x1b[31m\r\x9b1m\u202egnp.exe\u2066\u200b\ufeff\u2028\udc80\x00"


def test_unsafe_characters_become_escapes() -> None:
    assert printable("a\x1b[31mb\rc\u202ed") == r"a\x1b[31mb\rc\u202ed"
    assert printable("Größe\t気温\n👩‍🚀 𝛼") == "Größe\t気温\n👩‍🚀 𝛼"
    assert printable("a\nb", is_one_line=True) == r"a\nb"
    assert not is_printable("a\nb")


@given(st.text())
def test_what_is_printable_stays_as_it_is(text: str) -> None:
    assert printable(printable(text)) == printable(text)
    assert printable(text).encode("utf-8").decode("utf-8") == printable(text)


def test_nothing_printed_has_a_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE)
    print_result(HOSTILE, f"'{HOSTILE}'")
    print_table(HOSTILE, [HOSTILE], [[f"[bold]{HOSTILE}[/] [/] :x:"]])
    out, err = capsys.readouterr()
    assert printable(out) == out
    assert printable(err) == err
    assert "[bold]" in out
    assert "[/] :x:" in out
    error = DataError(HOSTILE, where=f"{HOSTILE}\n", hint=HOSTILE)
    assert printable(str(error)) == str(error)
    assert str(error).count("\n") == 1


def test_a_message_quotes_the_file_as_it_is(toy: Toy) -> None:
    for text, shown in ((":x:", ":x:"), ("[red]", "[red]"), ("\x1b[31m", r"\x1b[31m")):
        path = toy.workspace.raw / "train.csv"
        lines = path.read_text().splitlines()
        lines[5] = f"{lines[5].rpartition(',')[0]},{text}"
        path.write_text("\n".join(lines) + "\n")
        result = toy.run("features")
        assert result.exit_code == 2
        assert shown in result.stderr
        assert printable(result.output) == result.output
        toy.workspace.source.unlink(missing_ok=True)


def test_only_one_module_prints() -> None:
    """`base/progress.py` makes texts harmless; a script on Kaggle's machine has no pipeline yet."""
    printing = {
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "console.print", "sys.stdout.write")
    }
    assert printing <= {"base/progress.py", "kaggle/notebook/script.py"}
