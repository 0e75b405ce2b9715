"""The command line: options in, one stage or `stages.steps` called, results printed.

Must not decide anything that a stage decides. A command imports what it needs itself, so that each starts fast.
"""

from pipeline.base.interruption import interrupt_on_signals
from pipeline.base.progress import prepare_streams
from pipeline.cli import at_kaggle, prepare, results, training  # registers the commands, in the order of `--help`
from pipeline.cli.application import app

__all__ = ["app", "at_kaggle", "main", "prepare", "results", "training"]


def main() -> None:
    """Run the command line."""
    prepare_streams()
    interrupt_on_signals()
    app()
