"""The command line's application: what all commands share, and how errors become messages and exit codes.

Must not know the commands.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
import typer.core

from pipeline.base import files
from pipeline.base.errors import ArtifactError, PipelineError
from pipeline.base.interruption import ENDED_EARLY, exit_code
from pipeline.base.progress import mark_messages, print_result, say, say_error
from pipeline.base.share import ShareDone
from pipeline.base.version import VERSION
from pipeline.competition.workspace import Workspace
from pipeline.kaggle.client.credentials import remember_secrets


class SupportsClose(Protocol):
    """What has a method `close`."""

    def close(self) -> None:
        """Give back what was taken."""
        ...


_until_the_end = ExitStack()  # what a command holds


class _Commands(typer.core.TyperGroup):
    """Turns a PipelineError, a full disk or a file that cannot be used into a message; Ctrl-C into exit code 130."""

    def main(self, *args: Any, **options: Any) -> Any:
        remember_secrets()
        return super().main(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        mark_messages("")
        try:
            with _until_the_end:
                return super().invoke(ctx)
        except typer.BadParameter as error:  # a value out of range or of another type
            say_error(error.format_message())
            raise typer.Exit(error.exit_code) from error
        except MemoryError as error:
            say_error("memory is full\nUse fewer rows, columns or workers, or smaller models.")
            raise typer.Exit(PipelineError.exit_code) from error
        except PipelineError as error:
            say_error(error.message)
            raise typer.Exit(error.exit_code) from error
        except OSError as error:
            if error.errno not in files.WRITE_HINTS and error.filename is None:
                raise
            shown: PipelineError = files.write_error(None, error)
            if error.errno not in files.WRITE_HINTS:
                hint = "Move it away or make it accessible, then run the same command again."
                shown = ArtifactError(f"cannot be used: {error.strerror}", where=str(error.filename), hint=hint)
            say_error(shown.message)
            raise typer.Exit(shown.exit_code) from error
        except ShareDone:
            say("this process has trained its share")
            return None
        except ENDED_EARLY as error:
            say("interrupted; finished work is kept, and the same command continues from there")
            raise typer.Exit(exit_code()) from error


app = typer.Typer(
    cls=_Commands,
    help="From a Kaggle competition's name to a checked submission. Start with `submit`: it runs what is missing.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def in_use(root: Path, competition: str) -> Workspace:
    """Return the competition's files, which `clean` leaves alone until the command ends."""
    workspace = Workspace(root, competition)
    _until_the_end.enter_context(workspace.in_use())
    return workspace


def close_at_end(resource: SupportsClose) -> None:
    """Close it when the command ends, however it ends."""
    _until_the_end.callback(resource.close)


def sample_mark(is_sample: bool) -> str:
    """Return what follows a result of sample data."""
    return "  SAMPLE DATA" if is_sample else ""


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print_result(f"pipeline {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
