"""Commands about Kaggle: notebooks, the leaderboard, and what is found here and there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.base import names
from pipeline.base.progress import print_result
from pipeline.cli.application import app, in_use
from pipeline.cli.options import (
    AGAIN,
    HOUSE_PRICES,
    KAGGLE,
    AsJson,
    Cluster,
    Competition,
    ModelName,
    Overrides,
    Preset,
    Root,
    Upload,
    Yes,
)
from pipeline.competition.workspace import Workspace

KAGGLE_TROUBLE = 3  # exit code of `doctor` when something is wrong; that of a KaggleError


def _datasets(given: list[str] | None) -> list[str]:
    return [names.dataset_slug(one) for one in given or ()]


def _wheels(given: list[str] | None) -> list[str]:
    return [one if one == "auto" else names.dataset_slug(one) for one in given or ()]


@app.command(rich_help_panel=KAGGLE)
def kernel(
    competition: Competition = HOUSE_PRICES,
    preset: Preset = "auto",
    model: ModelName = None,
    overrides: Overrides = None,
    wheels: Annotated[
        list[str] | None,
        typer.Option(
            callback=_wheels,
            help="Dataset of extra wheels, owner/name; auto: made and updated for this run. Repeatable.",
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(callback=_datasets, help="Dataset with the pretrained weights, owner/name. Repeatable."),
    ] = None,
    internet: Annotated[
        bool, typer.Option("--internet", help="Let the notebook install packages from the web.")
    ] = False,
    accelerator: Annotated[
        str, typer.Option(help="Kaggle's name of a machine, e.g. NvidiaTeslaT4 (two T4s), NvidiaL4; none: CPU only.")
    ] = "NvidiaTeslaT4",
    timeout: Annotated[
        float | None, typer.Option(help="Hours after which Kaggle stops the run.", min=0.1, max=12.0)
    ] = None,
    title: Annotated[str | None, typer.Option(help="The notebook's title; default: final COMPETITION.")] = None,
    push: Annotated[
        bool, typer.Option("--push/--no-push", help="Send the notebook to Kaggle and run it there.")
    ] = True,
    again: Annotated[bool, typer.Option("--again", help="Push a new version even if nothing has changed.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Find active runs and show where to cancel them.")] = False,
    upload: Upload = True,
    yes: Yes = False,
    submit_again: Annotated[bool, typer.Option("--submit-again", help=AGAIN)] = False,
    root: Root = Path(),
) -> None:
    """Train the final model in a notebook on Kaggle's GPU, and submit its output.

    Pushes the notebook, follows its run, and checks its output like any submission. An interrupted call resumes. Preset
    best trains the members of the ensemble that `submit --preset best` chose here.
    """
    from pipeline.kaggle.notebook.bundle import Options
    from pipeline.stages import steps
    from pipeline.stages.kernel import KernelOptions, cancel_run, run_at_kaggle
    from pipeline.stages.submit import submit as submit_file

    workspace = in_use(root, competition)
    if cancel:
        print_result(f"kernel: {cancel_run(workspace)}")
        return
    how = Options(tuple(wheels or ()), tuple(weights or ()), internet, accelerator, timeout, title)
    store, trained = steps.what_to_bundle(workspace, steps.Choice(preset, model, overrides or ()))
    path = run_at_kaggle(store, trained, KernelOptions(how, push, again, upload, yes))
    if path is None:
        print_result(f"bundle: {workspace.kernels}")
        return
    submit_file(store, path, is_upload_wanted=upload, may_use_last_slot=yes, is_again=submit_again)
    print_result(f"submission: {path}")


@app.command(rich_help_panel=KAGGLE)
def leaderboard(
    competition: Competition = HOUSE_PRICES,
    top: Annotated[int, typer.Option(help="Rows of the leaderboard to show.", min=1, max=100_000)] = 10,
    as_json: AsJson = False,
    root: Root = Path(),
) -> None:
    """Show the public leaderboard, your rank, the medal lines, and your CV and public scores."""
    from pipeline.config.spec import load_spec
    from pipeline.stages.leaderboard import board_frame, ledger_frame, read_leaderboard
    from pipeline.stages.runs import show_frame, show_json

    workspace = in_use(root, competition)
    standing = read_leaderboard(workspace, load_spec(workspace.spec), n_rows=top)
    if as_json:
        show_json(standing.as_json())
        return
    show_frame(board_frame(standing), f"{competition}: public leaderboard")
    if standing.entries:
        show_frame(ledger_frame(standing.entries), "ledger")
    print_result(*standing.lines)


@app.command(rich_help_panel=KAGGLE)
def choose(competition: Competition = HOUSE_PRICES, as_json: AsJson = False, root: Root = Path()) -> None:
    """Say which two submissions to select at Kaggle for the private leaderboard, and why.

    Reads the ledger, which `leaderboard` updates, and asks Kaggle nothing.
    """
    from pipeline.stages import steps
    from pipeline.stages.choose import candidate_frame, choice_json, choice_lines, choose_submissions
    from pipeline.stages.runs import show_frame, show_json

    store, _ = steps.with_features(in_use(root, competition))
    choice = choose_submissions(store)
    if as_json:
        show_json({"competition": competition} | choice_json(store, choice))
        return
    show_frame(candidate_frame(choice), f"{competition}: submissions, the best expected private score first")
    print_result(*choice_lines(store, choice))


@app.command(rich_help_panel=KAGGLE)
def doctor(
    competition: Competition = HOUSE_PRICES, cluster: Cluster = None, as_json: AsJson = False, root: Root = Path()
) -> None:
    """Check this machine, the workers of a cluster, the credentials and access to Kaggle.

    Never shows a secret. Exits with 3 if there is a problem.
    """
    from pipeline.stages.doctor import examine
    from pipeline.stages.runs import show_json

    findings = []
    for finding in examine(Workspace(root, competition), cluster):
        findings.append({"mark": finding.mark, "text": finding.text})
        if not as_json:
            print_result(f"{finding.mark:8} {finding.text}")
    has_problem = any(finding["mark"] == "problem" for finding in findings)
    if as_json:
        show_json({"competition": competition, "is_ready": not has_problem, "findings": findings})
    if has_problem:
        raise typer.Exit(KAGGLE_TROUBLE)
