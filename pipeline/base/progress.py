"""All that is printed: messages and progress bars on stderr, results on stdout. Knows rich; must not know what runs."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import IO, Any, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from pipeline.base.printable import printable
from pipeline.base.redaction import redact

LINE_EVERY_S = 10.0
GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ECONNRESET)  # nobody reads any more: `| head`, a closed terminal


class Stream:
    """stdout or stderr as `sys` names it now, without secrets: if its reader goes away, the program goes on.

    On stderr no error counts, such as that of a log file on a full disk.
    """

    def __init__(self, name: str, original: Any = None) -> None:
        self._name, self._original = name, original

    def write(self, text: str) -> int:
        """Write the text without secrets, unless the reader is gone."""
        self._try("write", redact(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write lines without secrets, unless the reader is gone."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush, unless the reader is gone."""
        self._try("flush")

    def _target(self) -> Any:
        return self._original or getattr(sys, self._name)

    def _try(self, method: str, *values: str) -> None:
        target = self._target()
        try:
            getattr(target, method)(*values)
        except OSError as error:
            if self._name == "stdout" and error.errno not in GONE:
                raise
            with contextlib.suppress(OSError, ValueError):  # else what is buffered fails again at exit
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, target.fileno())
                os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target(), name)


console = Console(file=cast("IO[str]", Stream("stderr")), highlight=False, markup=False, emoji=False, soft_wrap=True)
# context variables, so that a call in a copy of the context changes nothing outside it
_mark = ContextVar("mark", default="")
_is_quiet = ContextVar("is_quiet", default=False)


def prepare_streams() -> None:
    """Make stdout and stderr outlive their readers, and write what their encoding lacks as escapes, not raise.

    Opens those that are closed at the start, or else the next file that is opened would receive what is printed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            stream = open(1 if name == "stdout" else 2, "w", encoding="utf-8")  # noqa: SIM115
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, Stream(name, stream))


def mark_messages(mark: str) -> None:
    """Append `mark` to every message from now on; "" ends that."""
    _mark.set(f"  [{mark}]" if mark else "")


def be_quiet() -> None:
    """Show neither messages nor progress from now on."""
    _is_quiet.set(True)


def say(message: str) -> None:
    """Print one line for the user, as plain text."""
    if not _is_quiet.get():
        console.print(printable(message) + _mark.get())


def say_error(message: str) -> None:
    """Print what is wrong, as plain text in red."""
    console.print(f"error: {printable(message)}", style="red")


def print_result(*lines: object) -> None:
    """Print lines on stdout, as plain text."""
    for line in lines:
        print(printable(redact(str(line))))


def print_table(title: str, columns: Iterable[object], rows: Iterable[Iterable[str]]) -> None:
    """Print a table of plain texts on stdout, wide enough for a pipe."""
    table = Table(*(printable(str(column), is_one_line=True) for column in columns), title=printable(title))
    for row in rows:
        table.add_row(*(printable(redact(cell), is_one_line=True) for cell in row))
    Console(width=None if sys.stdout.isatty() else 240, markup=False, emoji=False).print(table)


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Callable[[float, str], None]]:
    """Yield `update(share done, text)`, which moves a bar, or prints a line every LINE_EVERY_S without a terminal."""
    if _is_quiet.get():
        yield lambda _, __: None
        return
    if not console.is_terminal:
        yield _periodic_line(title)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=1.0, text="")
        yield lambda share, text: progress.update(task, completed=share, text=text)


def _periodic_line(title: str) -> Callable[[float, str], None]:
    started = said_at = time.monotonic()
    first_share: float | None = None  # done before the start

    def update(share: float, text: str) -> None:
        nonlocal said_at, first_share
        now = time.monotonic()
        first_share = share if first_share is None else first_share
        if now - said_at > LINE_EVERY_S:
            said_at = now
            gained = share - first_share
            left = f", about {(1 - share) * (now - started) / gained:.0f} s left" if gained > 0 else ""
            say(f"{title}: {share:.0%} {text}{left}")

    return update
