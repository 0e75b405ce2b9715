"""Commands that train, tune and submit."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from pipeline.base.interruption import Stopped
from pipeline.base.progress import print_result
from pipeline.cli.application import app, close_at_end, in_use, sample_mark
from pipeline.cli.options import (
    HOUSE_PRICES,
    TRAIN,
    Again,
    Cluster,
    Competition,
    Device,
    Minutes,
    ModelName,
    Overrides,
    Preset,
    Prune,
    Report,
    Root,
    Upload,
    Workers,
    Yes,
)


@app.command(rich_help_panel=TRAIN)
def train(
    competition: Competition = HOUSE_PRICES,
    preset: Preset = "auto",
    model: ModelName = None,
    overrides: Overrides = None,
    device: Device = "auto",
    workers: Workers = 0,
    cluster: Cluster = None,
    repeats: Annotated[
        int, typer.Option(help="Then score it on this many other fold assignments.", min=0, max=100)
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved configuration and exit.")] = False,
    root: Root = Path(),
) -> None:
    """Cross-validate a model: out-of-fold predictions, scores, fold models.

    Writes `data/<competition>/runs/<run>/`. A finished run is not trained again; an interrupted one resumes.
    """
    from pipeline.config.run import as_toml
    from pipeline.stages import steps
    from pipeline.stages.repeat import describe, repeat_run

    workspace = in_use(root, competition)
    config = steps.run_configuration(workspace, steps.Choice(preset, model, overrides or ()))
    if dry_run:
        print_result(as_toml(config.model_dump(mode="json")))
        return
    context = steps.fit_context(device, workers, cluster)
    close_at_end(context.workers)
    store, run = steps.train(workspace, config, context)
    print_result(f"run: {run.path}")
    if repeats:
        found = repeat_run(store, config, run, context, n_repeats=repeats)
        print_result(f"cv {store.spec.metric}: {describe(found)}")


@app.command(rich_help_panel=TRAIN)
def tune(
    competition: Competition = HOUSE_PRICES,
    preset: Annotated[str, typer.Option("--preset", "-p", help="The preset to start from.")] = "fast",
    model: ModelName = None,
    overrides: Overrides = None,
    trials: Annotated[
        int, typer.Option(help="Finished trials in the study, earlier calls included.", min=1, max=1_000_000)
    ] = 100,
    batch: Annotated[int, typer.Option(help="Networks: trials trained together.", min=1, max=10_000)] = 16,
    sampler: Annotated[str, typer.Option(help="tpe, gp, cmaes, qmc or random.")] = "tpe",
    pruner: Annotated[str, typer.Option(help="Networks: halving, hyperband, median, wilcoxon or none.")] = "halving",
    storage: Annotated[
        str | None, typer.Option(envvar="STORAGE", help="An Optuna storage URL; default: a journal file.")
    ] = None,
    rows: Annotated[
        int | None, typer.Option(help="Tune on a stratified sample of this many train rows.", min=1)
    ] = None,
    device: Device = "auto",
    workers: Workers = 0,
    cluster: Cluster = None,
    report: Report = True,
    root: Root = Path(),
) -> None:
    """Tune a model's hyperparameters with Optuna; continue an earlier study.

    Networks train in packs, all folds of a batch of trials together; other models train one trial at a time. The best
    trials are scored again on other folds before one is chosen. `train` and `submit` then use it. Ctrl-C keeps
    finished trials.
    """
    from pipeline.stages import steps
    from pipeline.stages.report import refresh_report
    from pipeline.stages.runs import show_tuning
    from pipeline.tuning.session import TuneOptions

    choice, context = steps.Choice(preset, model, overrides or ()), steps.fit_context(device, workers, cluster)
    close_at_end(context.workers)
    options = TuneOptions(trials, batch, sampler, pruner, storage or None, rows)
    store, folder, is_interrupted = steps.tune(in_use(root, competition), choice, context, options)
    show_tuning(folder, store.spec)
    if report:
        refresh_report(replace(store, n_rows=None))
    if is_interrupted:
        raise Stopped


@app.command(rich_help_panel=TRAIN)
def submit(
    competition: Competition = HOUSE_PRICES,
    preset: Preset = "auto",
    model: ModelName = None,
    overrides: Overrides = None,
    device: Device = "auto",
    workers: Workers = 0,
    cluster: Cluster = None,
    upload: Upload = True,
    yes: Yes = False,
    again: Again = False,
    minutes: Minutes = None,
    prune: Prune = None,
    report: Report = True,
    root: Root = Path(),
) -> None:
    """Run every step up to a checked submission, and upload it.

    Writes `submissions/<competition>/<run>.csv`. Steps that are up to date are skipped, and the same file is never
    uploaded twice: one that may have arrived is uploaded again only with `--again`. Without Kaggle credentials, and for
    sample data, nothing is uploaded.
    """
    started = time.monotonic()
    from pipeline.config.records import Provenance
    from pipeline.metrics import score_text
    from pipeline.stages import steps
    from pipeline.stages.report import refresh_report
    from pipeline.stages.submit import submit as submit_file

    workspace, choice = in_use(root, competition), steps.Choice(preset, model, overrides or ())
    context = steps.fit_context(device, workers, cluster)
    close_at_end(context.workers)
    store, path, is_interrupted = steps.finish(
        workspace, choice, context, minutes=minutes, smallest_weight=prune, started=started
    )
    submit_file(store, path, is_upload_wanted=upload, may_use_last_slot=yes, is_again=again)
    provenance = Provenance.read(path.with_suffix(".json"))
    nested = "" if provenance.nested_score is None else f"  nested {provenance.nested_score:.5f}"
    cv = f"cv {provenance.metric} {score_text(provenance.cv_score)}{nested}"
    print_result(f"submission: {path}  {cv}{sample_mark(store.is_sample)}")
    if report:
        refresh_report(store)
    if is_interrupted:
        raise Stopped


@app.command(rich_help_panel=TRAIN)
def final(
    competition: Competition = HOUSE_PRICES,
    preset: Preset = "auto",
    model: ModelName = None,
    overrides: Overrides = None,
    device: Device = "auto",
    workers: Workers = 0,
    cluster: Cluster = None,
    minutes: Minutes = None,
    prune: Prune = None,
    report: Report = True,
    root: Root = Path(),
) -> None:
    """Run every step up to a checked submission: `submit` without the upload."""
    of_upload = (False, False, False)
    submit(competition, preset, model, overrides, device, workers, cluster, *of_upload, minutes, prune, report, root)
