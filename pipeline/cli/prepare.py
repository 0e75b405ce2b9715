"""Commands that prepare a competition: its spec, raw files and features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.base import names
from pipeline.base.progress import print_result, say
from pipeline.cli.application import app, in_use
from pipeline.cli.options import HOUSE_PRICES, PREPARE, Competition, Root
from pipeline.competition.workspace import Workspace


def _dataset(given: str | None) -> str | None:
    return None if given is None else names.dataset_slug(given)


@app.command(rich_help_panel=PREPARE)
def init(
    competition: Annotated[str, typer.Argument(help="The competition's slug or URL, or a folder with its files.")],
    metric: Annotated[str | None, typer.Option(help="Kaggle's metric, e.g. rmsle; the files do not show it.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing spec.")] = False,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Show each guess with its evidence and alternatives."),
    ] = False,
    root: Root = Path(),
) -> None:
    """Draft a competition's spec from its own files.

    Writes `data/<competition>/competition.toml`, with a comment at every guess, and prints it. Read it and correct what
    was guessed wrong.
    """
    from pipeline.stages import steps

    if explain:
        for guess in steps.explain(root, competition, metric=metric, is_overwriting=force):
            print_result(*guess.lines)
        return
    print_result(steps.draft(root, competition, metric=metric, is_overwriting=force))


@app.command(rich_help_panel=PREPARE)
def data(
    competition: Competition = HOUSE_PRICES,
    dataset: Annotated[
        str | None, typer.Option(callback=_dataset, help="A Kaggle dataset with the files, as owner/name.")
    ] = None,
    files: Annotated[
        list[str] | None, typer.Option(metavar="NAME,NAME", help="Fetch only these files from Kaggle. Repeatable.")
    ] = None,
    is_list: Annotated[bool, typer.Option("--list", help="List Kaggle's files with their sizes, and exit.")] = False,
    root: Root = Path(),
) -> None:
    """Fetch the raw files; draft a spec if there is none.

    Looks in `$PIPELINE_DATA_DIR/<competition>`, then at Kaggle, then for built-in sample data. `--files` is for
    competitions that are larger than the disk: it adds some of Kaggle's files and drafts no spec.
    """
    from pipeline.stages import steps
    from pipeline.stages.data import list_files

    if is_list:
        workspace = Workspace(root, competition)
        listed, is_whole = list_files(dataset or steps.data_slug(workspace))
        print_result(*(f"{file.n_bytes / 1e6:12.1f} MB  {file.name}" for file in listed))
        total = f"{sum(file.n_bytes for file in listed) / 1e6:12.1f} MB  in {len(listed)} files"
        print_result(total if is_whole else f"{total}; Kaggle has more, which are not listed")
        return
    if files is not None:
        wanted = [name.strip() for given in files for name in given.split(",") if name.strip()]
        steps.add_files(in_use(root, competition), wanted, dataset)
        return
    workspace = in_use(root, competition)
    had_spec = workspace.spec.exists()
    steps.with_spec(workspace, dataset)
    if not had_spec:
        print_result(workspace.spec.read_text(encoding="utf-8"))


@app.command(rich_help_panel=PREPARE)
def features(competition: Competition = HOUSE_PRICES, root: Root = Path()) -> None:
    """Check the raw files; write typed tables and folds."""
    from pipeline.stages import steps

    store, was_written = steps.with_features(in_use(root, competition))
    if not was_written:
        say(f"features: {store.workspace.features} is up to date")


@app.command(rich_help_panel=PREPARE)
def check(competition: Competition = HOUSE_PRICES, root: Root = Path()) -> None:
    """Check the data for leaks, repeated rows and a test set unlike the train set."""
    from pipeline.stages import steps
    from pipeline.stages.check import check_data

    store, _ = steps.with_features(in_use(root, competition))
    for finding in check_data(store):
        print_result(f"{finding.mark:5} {finding.text}")


@app.command(rich_help_panel=PREPARE)
def clean(competition: Competition = HOUSE_PRICES, root: Root = Path()) -> None:
    """Remove features and runs; keep raw files, spec, studies and submissions."""
    from pipeline.stages.clean import clean as clean_up

    clean_up(Workspace(root, competition))
