"""The command line: options in, one stage or `stages.steps` called, results printed.

Must not decide anything that a stage decides. A command imports what it needs itself, so that each starts fast.
"""

from pipeline.base.interruption import interrupt_on_signals
from pipeline.base.progress import prepare_streams
from pipeline.cli.application import app

from pipeline.cli import prepare, training, results, at_kaggle  # isort: skip  # the order of `--help`

__all__ = ["app", "at_kaggle", "main", "prepare", "results", "training"]


def main() -> None:
    """Run the command line."""
    prepare_streams()
    interrupt_on_signals()
    app()
