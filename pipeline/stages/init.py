"""Stage `init`: a competition's own files -> its `competition.toml`, with what was guessed as comments."""

from __future__ import annotations

import re

from pipeline.base import files
from pipeline.base.errors import SpecError
from pipeline.base.progress import say
from pipeline.competition.draft.spec_text import draft_spec
from pipeline.competition.workspace import Workspace
from pipeline.config.spec import load_spec


def write_spec(
    workspace: Workspace, *, metric: str | None, dataset: str | None = None, is_overwriting: bool = False
) -> str:
    """Write the spec of the raw files in the workspace and return its text. Raises SpecError, DataError."""
    if workspace.spec.exists() and not is_overwriting:
        raise SpecError("is there already", where=str(workspace.spec), hint="--force writes it anew.")
    text = draft_spec(workspace.raw, workspace.competition, metric=metric)
    if dataset is not None:
        text = re.sub(r"(?m)^(kaggle_slug = .*)$", f'\\1\ndataset = "{dataset}"', text, count=1)
    files.write_text(workspace.spec, text)
    say(f"init: wrote {workspace.spec}; read it once, correct what was guessed wrong")
    if metric is None:
        usual = load_spec(workspace.spec).metric
        say(
            f"init: the metric is not in the files; {usual} was taken as the usual one (--metric, or the spec, sets it)"
        )
    return text
