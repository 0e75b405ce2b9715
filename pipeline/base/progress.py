"""Messages and progress bars on stderr; stdout is for results. Knows rich; must not know what runs."""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY_S = 10.0
console = Console(stderr=True, highlight=False, soft_wrap=True)
# context variables, so that a call in a copy of the context changes nothing outside it
_mark = ContextVar("mark", default="")
_is_quiet = ContextVar("is_quiet", default=False)


def accept_all_characters() -> None:
    """Make stdout and stderr write what their encoding lacks as escapes, as on a Windows console, not raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def mark_messages(mark: str) -> None:
    """Append `mark` to every message from now on; "" ends that."""
    _mark.set(f"  [{mark}]" if mark else "")


def be_quiet() -> None:
    """Show neither messages nor progress from now on."""
    _is_quiet.set(True)


def say(message: str) -> None:
    """Print one line for the user, as plain text."""
    if not _is_quiet.get():
        console.print(message + _mark.get(), markup=False)


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
        TextColumn("{task.description}"),
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
