"""Stage `init`: a competition's own files -> a draft of its `competition.toml`, with a comment at every guess."""

from __future__ import annotations

import re

from pipeline.base import files
from pipeline.base.errors import SpecError
from pipeline.base.progress import say
from pipeline.competition.draft.explanation import Guess, checks_of, explained
from pipeline.competition.draft.files import find_files
from pipeline.competition.draft.spec_text import draft_spec
from pipeline.competition.workspace import Workspace
from pipeline.config.records import metric_at_kaggle
from pipeline.config.spec import load_spec


def write_spec(
    workspace: Workspace, *, metric: str | None, dataset: str | None = None, is_overwriting: bool = False
) -> str:
    """Draft the spec from the raw files in the workspace and return its text. Raises SpecError, DataError."""
    if workspace.spec.exists() and not is_overwriting:
        raise SpecError("already exists", where=str(workspace.spec), hint="--force overwrites it.")
    kaggle_metric = metric_at_kaggle(workspace.raw)
    text = draft_spec(workspace.raw, workspace.competition, metric=metric, kaggle_metric=kaggle_metric)
    if dataset is not None:
        text = re.sub(r"(?m)^(kaggle_slug = .*)$", f'\\1\ndataset = "{dataset}"', text, count=1)
    files.write_text(workspace.spec, text)
    say(f"init: wrote {workspace.spec}; read it and correct wrong guesses")
    for question in checks_of(text):
        say(f"init: check: {question}")
    return text


def explain_spec(workspace: Workspace) -> list[Guess]:
    """Return the guesses in the spec that are still marked, with their evidence and what else they could have been."""
    spec = load_spec(workspace.spec)
    return explained(workspace.spec.read_text(encoding="utf-8"), spec, find_files(workspace.raw))
