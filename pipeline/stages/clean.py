"""Stage `clean`: remove the features, runs and page of a competition, which the other stages make again."""

from __future__ import annotations

import shutil

from pipeline.base.locks import exclusively
from pipeline.base.progress import say
from pipeline.competition.workspace import Workspace


def clean(workspace: Workspace) -> None:
    """Remove `features/`, `runs/` and `report/`. Raises InUseError while another command uses them."""
    if not workspace.folder.is_dir():
        say(f"clean: there is no {workspace.folder}")
        return
    with exclusively(workspace.folder, wanted="clean"):
        workspace.remove_unfinished()
        for folder in (workspace.features, workspace.runs, workspace.page.parent):
            # under another name first, so that no half of it is ever taken for whole
            if folder.exists():
                shutil.rmtree(folder.rename(folder.with_name(f".{folder.name}.partial")))
                say(f"clean: removed {folder}")
