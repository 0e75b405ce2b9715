"""Stage `report`: all artifacts of a competition -> `report/index.html`, the page that shows them."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from pipeline.base.errors import PipelineError
from pipeline.base.progress import say
from pipeline.competition.store import FeatureStore
from pipeline.report.build import write_report


def make_report(store: FeatureStore, run: str | None = None, *, is_measured: bool = True) -> Path:
    """Write the page about `run`, by default the best one, and return its path. Raises ArtifactError."""
    return write_report(store, run, is_measured=is_measured)


def refresh_report(store: FeatureStore) -> Path | None:
    """Write the page after other work and say where it is; a failure is one line, and None is returned."""
    try:
        path = write_report(store)
        say(f"report: {path}")
        return path
    except Exception as error:
        what = error.message.splitlines()[0] if isinstance(error, PipelineError) else f"{type(error).__name__}: {error}"
        say(f"report: the page could not be written: {what}")
        return None


def open_page(path: Path) -> None:
    """Show the page in the user's browser."""
    webbrowser.open(path.resolve().as_uri())
