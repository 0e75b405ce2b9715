"""The command line: one command per stage. The one place where a PipelineError becomes a message and an exit code."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from pipeline.base.errors import PipelineError
from pipeline.base.interruption import ENDED_EARLY, Stopped
from pipeline.base.progress import console, mark_messages, say
from pipeline.base.version import VERSION
from pipeline.competition.workspace import Workspace
from pipeline.config.presets import preset_names

# What a command needs is imported by it, so that none waits for the packages of the others.

KAGGLE_TROUBLE = 3  # exit code of `doctor` when something is wrong, as of a KaggleError
INTERRUPTED = 130  # exit code of a program ended by Ctrl-C


class _Commands(typer.core.TyperGroup):
    """Runs a command; a user's mistake is a message and exit code 2, never a traceback."""

    def invoke(self, ctx: Any) -> Any:
        mark_messages("")
        try:
            return super().invoke(ctx)
        except PipelineError as error:
            console.print(f"error: {error.message}", markup=False, style="red")
            raise typer.Exit(error.exit_code) from error
        except ENDED_EARLY as error:
            say("interrupted; what was finished is kept, the same command goes on from there")
            raise typer.Exit(INTERRUPTED) from error


app = typer.Typer(
    cls=_Commands,
    help="From a Kaggle competition's name to a checked submission.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _slug(given: str) -> str:
    """A competition's slug from itself or from the address of one of its pages."""
    from pipeline.kaggle.client.urls import slug_of

    return slug_of(given)


Competition = Annotated[
    str,
    typer.Option(
        "--competition", "-c", envvar="COMPETITION", callback=_slug, help="folder name under data/, or Kaggle's address"
    ),
]
Root = Annotated[Path, typer.Option("--root", help="folder that holds data/ and submissions/")]
Preset = Annotated[
    str,
    typer.Option(
        "--preset",
        "-p",
        help=f"{', '.join(preset_names())}, best, tuned, a .toml file; auto: tuned if there is, else fast",
    ),
]
ModelName = Annotated[
    str | None, typer.Option("--model", "-m", help="another than the preset's, e.g. ridge, random_forest, catboost")
]
Device = Annotated[str, typer.Option("--device", help="auto, cuda, mps or cpu")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="key=value over the preset, e.g. lr=0.01, seeds=2, features.log1p_skewed=1"),
]
Workers = Annotated[int, typer.Option("--workers", help="worker threads; 0 is one per core", min=0)]
Minutes = Annotated[float, typer.Option(help="preset best: time for all its calls together", min=0.1)]
Prune = Annotated[float | None, typer.Option(help="preset best: weights below are left out", min=0.0, max=0.5)]
HOUSE_PRICES = "house-prices"


@app.command()
def init(
    competition: Annotated[str, typer.Argument(help="the competition's slug, URL, or a folder of its files")],
    metric: Annotated[str | None, typer.Option(help="what Kaggle scores, e.g. rmsle; it cannot be guessed")] = None,
    force: Annotated[bool, typer.Option("--force", help="write the spec anew when it is there")] = False,
    root: Root = Path(),
) -> None:
    """Write a competition's spec from its own files, what was guessed as comments."""
    from pipeline.stages.data import fetch_data
    from pipeline.stages.init import write_spec

    name, place = _name_and_place(competition)
    workspace = Workspace(root, name)
    fetch_data(workspace, name, place=place)
    print(write_spec(workspace, metric=metric, is_overwriting=force))


@app.command()
def data(
    competition: Competition = HOUSE_PRICES,
    dataset: Annotated[str | None, typer.Option(help="owner/name of a Kaggle data set that holds the files")] = None,
    root: Root = Path(),
) -> None:
    """Fetch the raw files; for a competition without a spec, write one and show it."""
    from pipeline.stages import steps

    workspace = Workspace(root, competition)
    had_spec = workspace.spec.exists()
    steps.with_spec(workspace, dataset)
    if not had_spec:
        print(workspace.spec.read_text(encoding="utf-8"))


@app.command()
def features(competition: Competition = HOUSE_PRICES, root: Root = Path()) -> None:
    """Check the raw files, write typed tables and the folds."""
    from pipeline.stages import steps

    store, was_written = steps.with_features(Workspace(root, competition))
    if not was_written:
        say(f"features: {store.workspace.features} is up to date")


@app.command()
def train(
    competition: Competition = HOUSE_PRICES,
    preset: Preset = "auto",
    model: ModelName = None,
    overrides: Overrides = None,
    device: Device = "auto",
    workers: Workers = 0,
    repeats: Annotated[int, typer.Option(help="then score it on so many other cuts of the folds", min=0)] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the resolved configuration and stop")] = False,
    root: Root = Path(),
) -> None:
    """Cross-validate a preset: out-of-fold predictions, scores, fold models."""
    from pipeline.config.run import as_toml
    from pipeline.metrics import score_text
    from pipeline.stages import steps
    from pipeline.stages.repeat import repeat_run

    workspace = Workspace(root, competition)
    config = steps.run_configuration(workspace, steps.Choice(preset, model, overrides or ()))
    if dry_run:
        print(as_toml(config.model_dump(mode="json")))
        return
    context = steps.fit_context(device, workers)
    store, run = steps.train(workspace, config, context)
    print(f"run: {run.path}")
    if repeats:
        found = repeat_run(store, config, run, context, n_repeats=repeats)
        scores = " ".join(score_text(one.cv_score) for one in found.repeats)
        print(
            f"cv {store.spec.metric}: {score_text(found.own)}, on {repeats} other cuts {scores}; "
            f"mean {score_text(found.mean)} (sd {score_text(found.sd)})"
        )


@app.command()
def submit(
    competition: Competition = HOUSE_PRICES,
    preset: Preset = "auto",
    model: ModelName = None,
    overrides: Overrides = None,
    device: Device = "auto",
    workers: Workers = 0,
    upload: Annotated[bool, typer.Option("--upload/--no-upload", help="send it to Kaggle")] = True,
    yes: Annotated[bool, typer.Option("--yes", help="also when it is the last submission of the day")] = False,
    minutes: Minutes = 10.0,
    prune: Prune = None,
    root: Root = Path(),
) -> None:
    """Everything up to a checked submission, and its upload. What is there and up to date is not made again."""
    started = time.monotonic()
    from pipeline.config.records import Provenance
    from pipeline.metrics import score_text
    from pipeline.stages import steps
    from pipeline.stages.submit import submit as submit_file

    choice = steps.Choice(preset, model, overrides or ())
    store, path, is_interrupted = steps.finish(
        Workspace(root, competition),
        choice,
        steps.fit_context(device, workers),
        minutes=minutes,
        smallest_weight=prune,
        started=started,
    )
    submit_file(store, path, is_upload_wanted=upload, may_use_last_slot=yes)
    provenance = Provenance.read(path.with_suffix(".json"))
    sample = "  SAMPLE DATA" if store.is_sample else ""
    nested = "" if provenance.nested_score is None else f"  nested {provenance.nested_score:.5f}"
    print(f"submission: {path}  cv {provenance.metric} {score_text(provenance.cv_score)}{nested}{sample}")
    if is_interrupted:
        raise Stopped


@app.command()
def final(
    competition: Competition = HOUSE_PRICES,
    preset: Preset = "auto",
    model: ModelName = None,
    overrides: Overrides = None,
    device: Device = "auto",
    workers: Workers = 0,
    minutes: Minutes = 10.0,
    prune: Prune = None,
    root: Root = Path(),
) -> None:
    """Final training and the submission file, without the upload."""
    submit(
        competition, preset, model, overrides, device, workers, upload=False, minutes=minutes, prune=prune, root=root
    )


@app.command()
def kernel(
    competition: Competition = HOUSE_PRICES,
    preset: Preset = "auto",
    model: ModelName = None,
    overrides: Overrides = None,
    wheels: Annotated[
        list[str] | None, typer.Option(help="owner/name of a data set of wheels that Kaggle lacks")
    ] = None,
    internet: Annotated[bool, typer.Option("--internet", help="let the notebook install what Kaggle lacks")] = False,
    push: Annotated[bool, typer.Option("--push/--no-push", help="send it to Kaggle and run it there")] = True,
    again: Annotated[bool, typer.Option("--again", help="push a new version of the same bundle")] = False,
    upload: Annotated[bool, typer.Option("--upload/--no-upload", help="submit what it wrote")] = True,
    yes: Annotated[bool, typer.Option("--yes", help="also when it is the last submission of the day")] = False,
    root: Root = Path(),
) -> None:
    """Final training as a notebook on Kaggle's GPU: pushed, followed, its output checked and submitted."""
    from pipeline.stages import steps
    from pipeline.stages.kernel import run_at_kaggle
    from pipeline.stages.submit import submit as submit_file

    workspace = Workspace(root, competition)
    config = steps.run_configuration(workspace, steps.Choice(preset, model, overrides or ()))
    store, _ = steps.with_features(workspace)
    path = run_at_kaggle(
        store, config, wheels=tuple(wheels or ()), has_internet=internet, is_push_wanted=push, is_again=again
    )
    if path is None:
        print(f"bundle: {workspace.kernels}")
        return
    submit_file(store, path, is_upload_wanted=upload, may_use_last_slot=yes)
    print(f"submission: {path}")


@app.command()
def tune(
    competition: Competition = HOUSE_PRICES,
    preset: Annotated[str, typer.Option("--preset", "-p", help="the preset whose numbers are tuned")] = "fast",
    model: ModelName = None,
    overrides: Overrides = None,
    trials: Annotated[int, typer.Option(help="finished trials the study shall have", min=1)] = 100,
    batch: Annotated[int, typer.Option(help="trials trained together", min=1)] = 16,
    sampler: Annotated[str, typer.Option(help="tpe, gp, cmaes, qmc or random")] = "tpe",
    pruner: Annotated[str, typer.Option(help="of networks: halving, hyperband, median, wilcoxon or none")] = "halving",
    storage: Annotated[str | None, typer.Option(help="an Optuna storage URL; default: a journal file")] = None,
    rows: Annotated[int | None, typer.Option(help="train rows to tune on: a sample by fold and class", min=1)] = None,
    device: Device = "auto",
    workers: Workers = 0,
    root: Root = Path(),
) -> None:
    """Tune a model: Optuna proposes, packs train networks, trials x folds, other models one by one. Resumes."""
    from pipeline.stages import steps
    from pipeline.stages.runs import show_tuning

    store, folder, is_interrupted = steps.tune(
        Workspace(root, competition),
        steps.Choice(preset, model, overrides or ()),
        steps.fit_context(device, workers),
        n_trials=trials,
        batch_size=batch,
        sampler=sampler,
        pruner=pruner,
        storage=storage,
        n_rows=rows,
    )
    show_tuning(folder, store.spec)
    if is_interrupted:
        raise Stopped


@app.command()
def runs(competition: Competition = HOUSE_PRICES, root: Root = Path()) -> None:
    """List all runs of a competition, best first."""
    from pipeline.config.spec import load_spec
    from pipeline.stages.runs import list_runs, show_frame

    workspace = Workspace(root, competition)
    frame = list_runs(workspace, load_spec(workspace.spec))
    if frame.empty:
        say(f"runs: none yet for {competition}; `make submit COMPETITION={competition}` makes one")
        return
    show_frame(frame, competition)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="name of a finished run (see `runs`)")],
    second: Annotated[str, typer.Argument(help="name of another")],
    competition: Competition = HOUSE_PRICES,
    root: Root = Path(),
) -> None:
    """Compare two runs by the paired differences of their folds, with an interval."""
    from pipeline.stages.compare import compare_runs

    for line in compare_runs(Workspace(root, competition), first, second):
        print(line)


@app.command()
def check(competition: Competition = HOUSE_PRICES, root: Root = Path()) -> None:
    """Look for what would make a score lie: rows seen twice, leaks, a test table unlike train."""
    from pipeline.stages import steps
    from pipeline.stages.check import check_data

    store, _ = steps.with_features(Workspace(root, competition))
    for finding in check_data(store):
        print(f"{finding.mark:5} {finding.text}")


@app.command()
def leaderboard(
    competition: Competition = HOUSE_PRICES,
    top: Annotated[int, typer.Option(help="rows of the leaderboard", min=1)] = 10,
    root: Root = Path(),
) -> None:
    """Kaggle's public leaderboard, your place, and cv against public score for all that was sent."""
    from pipeline.config.spec import load_spec
    from pipeline.stages.leaderboard import read_leaderboard
    from pipeline.stages.runs import show_frame

    workspace = Workspace(root, competition)
    board, sent, lines = read_leaderboard(workspace, load_spec(workspace.spec), n_rows=top)
    show_frame(board, f"{competition}: public leaderboard")
    if len(sent):
        show_frame(sent, "ledger")
    for line in lines:
        print(line)


@app.command()
def doctor(competition: Competition = HOUSE_PRICES, root: Root = Path()) -> None:
    """Say what is found on this machine and at Kaggle, and what is wrong. Never shows a secret."""
    from pipeline.config.spec import load_spec
    from pipeline.stages.doctor import examine

    workspace = Workspace(root, competition)
    slug = load_spec(workspace.spec).kaggle_slug if workspace.spec.exists() else competition
    n_problems = 0
    for finding in examine(slug):
        print(f"{finding.mark:8} {finding.text}")
        n_problems += finding.mark == "problem"
    if n_problems:
        raise typer.Exit(KAGGLE_TROUBLE)


@app.command()
def predict(
    run: Annotated[str, typer.Argument(help="name of a finished run (see `runs`)")],
    rows: Annotated[Path, typer.Argument(help="csv with the competition's columns")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="default: <csv>-<run>.csv beside it")] = None,
    competition: Competition = HOUSE_PRICES,
    root: Root = Path(),
) -> None:
    """Predict a new file with a stored run."""
    from pipeline.competition.store import FeatureStore
    from pipeline.config.spec import load_spec
    from pipeline.stages.predict import predict_file

    workspace = Workspace(root, competition)
    store = FeatureStore(workspace, load_spec(workspace.spec))
    path = output or rows.with_name(f"{rows.name.split('.')[0]}-{run}.csv")
    predict_file(store, run, rows, path)
    print(f"predictions: {path}{'  SAMPLE DATA' if store.is_sample else ''}")


@app.command()
def score(
    submission: Annotated[Path, typer.Argument(help="a submission csv")],
    competition: Competition = HOUSE_PRICES,
    root: Root = Path(),
) -> None:
    """Score a submission on hidden targets, where the project has them (sample data)."""
    from pipeline.stages import steps
    from pipeline.stages.score import score_submission

    store, _ = steps.with_features(Workspace(root, competition))
    value = score_submission(store, submission)
    print(f"score: {store.spec.metric} {value:.5f}{'  SAMPLE DATA' if store.is_sample else ''}")


def _name_and_place(given: str) -> tuple[str, Path | None]:
    """A slug, a Kaggle URL or a folder -> the competition's name, and the folder if it was one."""
    if Path(given).is_dir() and ("/" in given or os.sep in given or given in (".", "..")):
        return Path(given).resolve().name, Path(given)
    return _slug(given), None


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"pipeline {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    app()
