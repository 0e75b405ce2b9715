"""The command line: options in, one stage or `stages.steps` called, results printed; errors become messages here.

Must not decide anything that a stage decides. A command imports what it needs itself, so that each starts fast.
"""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from pipeline.base import files, names
from pipeline.base.errors import ArtifactError, PipelineError
from pipeline.base.interruption import ENDED_EARLY, Stopped, exit_code, interrupt_on_signals
from pipeline.base.progress import mark_messages, prepare_streams, print_result, say, say_error
from pipeline.base.share import ShareDone
from pipeline.base.version import VERSION
from pipeline.competition.workspace import Workspace
from pipeline.config.presets import preset_names
from pipeline.kaggle.client.credentials import remember_secrets

KAGGLE_TROUBLE = 3  # exit code of `doctor` when something is wrong; that of a KaggleError
PREPARE, TRAIN, RESULTS, KAGGLE = "Prepare", "Train and submit", "Results", "Kaggle"  # panels of `--help`

_until_the_end = ExitStack()  # what a command holds


class _Commands(typer.core.TyperGroup):
    """Turns a PipelineError, a full disk or a file that cannot be used into a message; Ctrl-C into exit code 130."""

    def main(self, *args: Any, **options: Any) -> Any:
        remember_secrets()
        return super().main(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        mark_messages("")
        try:
            with _until_the_end:
                return super().invoke(ctx)
        except typer.BadParameter as error:  # a value out of range or of another type
            say_error(error.format_message())
            raise typer.Exit(error.exit_code) from error
        except MemoryError as error:
            say_error("memory is full\nUse fewer rows, columns or workers, or smaller models.")
            raise typer.Exit(PipelineError.exit_code) from error
        except PipelineError as error:
            say_error(error.message)
            raise typer.Exit(error.exit_code) from error
        except OSError as error:
            if error.errno not in files.WRITE_HINTS and error.filename is None:
                raise
            shown: PipelineError = files.write_error(None, error)
            if error.errno not in files.WRITE_HINTS:
                hint = "Move it away or make it accessible, then run the same command again."
                shown = ArtifactError(f"cannot be used: {error.strerror}", where=str(error.filename), hint=hint)
            say_error(shown.message)
            raise typer.Exit(shown.exit_code) from error
        except ShareDone:
            say("this process has trained its share")
            return None
        except ENDED_EARLY as error:
            say("interrupted; finished work is kept, and the same command continues from there")
            raise typer.Exit(exit_code()) from error


app = typer.Typer(
    cls=_Commands,
    help="From a Kaggle competition's name to a checked submission. Start with `submit`: it runs what is missing.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _number(value: float | None) -> float | None:
    """Refuse NaN, which is in every range."""
    if value is not None and math.isnan(value):
        raise typer.BadParameter("nan is not a number.")
    return value


def _dataset(given: str | None) -> str | None:
    return None if given is None else names.dataset_slug(given)


def _wheels(given: list[str] | None) -> list[str]:
    return [one if one == "auto" else names.dataset_slug(one) for one in given or ()]


HOUSE_PRICES = "house-prices"
SLUG = "The competition's Kaggle slug or URL, or the name of its folder under data/."
Competition = Annotated[
    str, typer.Option("--competition", "-c", envvar="COMPETITION", callback=names.competition_slug, help=SLUG)
]
Root = Annotated[Path, typer.Option(help="The folder that holds data/ and submissions/.")]
PRESETS = f"{', '.join(preset_names())}, best, tuned or a .toml file; auto: tuned if up to date, otherwise fast."
Preset = Annotated[str, typer.Option("--preset", "-p", help=PRESETS)]
MODEL = "Replaces the preset's model, e.g. ridge, random_forest, catboost."
ModelName = Annotated[str | None, typer.Option("--model", "-m", help=MODEL)]
Device = Annotated[str, typer.Option(help="auto, cuda, mps or cpu.")]
SETTINGS = "Changes a setting of the preset, e.g. lr=0.01, seeds=2, features.log1p_skewed=1. Repeatable."
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help=SETTINGS)]
Workers = Annotated[int, typer.Option(help="Worker threads; 0: one per core.", min=0, max=1024)]
MINUTES = "Preset best: total training time, earlier calls included."
Minutes = Annotated[float, typer.Option(help=MINUTES, min=0.1, max=20_160, callback=_number)]
PRUNE = "Preset best: smallest ensemble weight."
Prune = Annotated[float | None, typer.Option(help=PRUNE, min=0.0, max=0.5, callback=_number)]
Upload = Annotated[bool, typer.Option("--upload/--no-upload", help="Send the submission to Kaggle.")]
Yes = Annotated[bool, typer.Option("--yes", help="Upload even if it takes the last submission of the day.")]
AGAIN = "Upload even if an earlier upload may have arrived, or if Kaggle failed to score it."
Again = Annotated[bool, typer.Option("--again", help=AGAIN)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
RunName = Annotated[str, typer.Argument(help="The name of a finished run (see `runs`).")]


def _in_use(root: Path, competition: str) -> Workspace:
    """Return the competition's files, which `clean` leaves alone until the command ends."""
    workspace = Workspace(root, competition)
    _until_the_end.enter_context(workspace.in_use())
    return workspace


@app.command(rich_help_panel=PREPARE)
def init(
    competition: Annotated[str, typer.Argument(help="The competition's slug or URL, or a folder with its files.")],
    metric: Annotated[str | None, typer.Option(help="Kaggle's metric, e.g. rmsle; the files do not show it.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing spec.")] = False,
    root: Root = Path(),
) -> None:
    """Draft a competition's spec from its own files.

    Writes `data/<competition>/competition.toml`, with a comment at every guess, and prints it. Read it and correct what
    was guessed wrong.
    """
    from pipeline.stages import steps

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
        steps.add_files(_in_use(root, competition), wanted, dataset)
        return
    workspace = _in_use(root, competition)
    had_spec = workspace.spec.exists()
    steps.with_spec(workspace, dataset)
    if not had_spec:
        print_result(workspace.spec.read_text(encoding="utf-8"))


@app.command(rich_help_panel=PREPARE)
def features(competition: Competition = HOUSE_PRICES, root: Root = Path()) -> None:
    """Check the raw files; write typed tables and folds."""
    from pipeline.stages import steps

    store, was_written = steps.with_features(_in_use(root, competition))
    if not was_written:
        say(f"features: {store.workspace.features} is up to date")


@app.command(rich_help_panel=PREPARE)
def check(competition: Competition = HOUSE_PRICES, root: Root = Path()) -> None:
    """Check the data for leaks, repeated rows and a test set unlike the train set."""
    from pipeline.stages import steps
    from pipeline.stages.check import check_data

    store, _ = steps.with_features(_in_use(root, competition))
    for finding in check_data(store):
        print_result(f"{finding.mark:5} {finding.text}")


@app.command(rich_help_panel=TRAIN)
def train(
    competition: Competition = HOUSE_PRICES,
    preset: Preset = "auto",
    model: ModelName = None,
    overrides: Overrides = None,
    device: Device = "auto",
    workers: Workers = 0,
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

    workspace = _in_use(root, competition)
    config = steps.run_configuration(workspace, steps.Choice(preset, model, overrides or ()))
    if dry_run:
        print_result(as_toml(config.model_dump(mode="json")))
        return
    context = steps.fit_context(device, workers)
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
    storage: Annotated[str | None, typer.Option(help="An Optuna storage URL; default: a journal file.")] = None,
    rows: Annotated[
        int | None, typer.Option(help="Tune on a stratified sample of this many train rows.", min=1)
    ] = None,
    device: Device = "auto",
    workers: Workers = 0,
    root: Root = Path(),
) -> None:
    """Tune a model's hyperparameters with Optuna; continue an earlier study.

    Networks train in packs, all folds of a batch of trials together; other models train one trial at a time. The best
    trials are scored again on other folds before one is chosen. `train` and `submit` then use it. Ctrl-C keeps
    finished trials.
    """
    from pipeline.stages import steps
    from pipeline.stages.runs import show_tuning
    from pipeline.tuning.session import TuneOptions

    choice, context = steps.Choice(preset, model, overrides or ()), steps.fit_context(device, workers)
    options = TuneOptions(trials, batch, sampler, pruner, storage, rows)
    store, folder, is_interrupted = steps.tune(_in_use(root, competition), choice, context, options)
    show_tuning(folder, store.spec)
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
    upload: Upload = True,
    yes: Yes = False,
    again: Again = False,
    minutes: Minutes = 10.0,
    prune: Prune = None,
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
    from pipeline.stages.submit import submit as submit_file

    workspace, choice = _in_use(root, competition), steps.Choice(preset, model, overrides or ())
    context = steps.fit_context(device, workers)
    store, path, is_interrupted = steps.finish(
        workspace, choice, context, minutes=minutes, smallest_weight=prune, started=started
    )
    submit_file(store, path, is_upload_wanted=upload, may_use_last_slot=yes, is_again=again)
    provenance = Provenance.read(path.with_suffix(".json"))
    nested = "" if provenance.nested_score is None else f"  nested {provenance.nested_score:.5f}"
    cv = f"cv {provenance.metric} {score_text(provenance.cv_score)}{nested}"
    print_result(f"submission: {path}  {cv}{_sample_mark(store.is_sample)}")
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
    minutes: Minutes = 10.0,
    prune: Prune = None,
    root: Root = Path(),
) -> None:
    """Run every step up to a checked submission: `submit` without the upload."""
    submit(competition, preset, model, overrides, device, workers, False, False, False, minutes, prune, root)


@app.command(rich_help_panel=PREPARE)
def clean(competition: Competition = HOUSE_PRICES, root: Root = Path()) -> None:
    """Remove features and runs; keep raw files, spec, studies and submissions."""
    from pipeline.stages.clean import clean as clean_up

    clean_up(Workspace(root, competition))


@app.command(rich_help_panel=RESULTS)
def runs(competition: Competition = HOUSE_PRICES, as_json: AsJson = False, root: Root = Path()) -> None:
    """List all finished runs, best first."""
    from pipeline.config.spec import load_spec
    from pipeline.stages.runs import list_runs, show_frame, show_json

    workspace = Workspace(root, competition)
    frame = list_runs(workspace, load_spec(workspace.spec))
    if as_json:
        show_json({"competition": competition, "runs": frame.to_dict("records")})
    elif frame.empty:
        say(f"runs: none yet for {competition}; `make submit COMPETITION={competition}` makes one")
    else:
        show_frame(frame, competition)


@app.command(rich_help_panel=RESULTS)
def compare(first: RunName, second: RunName, competition: Competition = HOUSE_PRICES, root: Root = Path()) -> None:
    """Compare two runs fold by fold, with a confidence interval."""
    from pipeline.stages.compare import compare_runs

    print_result(*compare_runs(Workspace(root, competition), first, second))


@app.command(rich_help_panel=RESULTS)
def predict(
    run: RunName,
    rows: Annotated[Path, typer.Argument(help="A CSV with the competition's columns; the target may be missing.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: ROWS-RUN.csv beside ROWS.")] = None,
    competition: Competition = HOUSE_PRICES,
    root: Root = Path(),
) -> None:
    """Predict the rows of a file with a finished run."""
    from pipeline.stages.predict import predict_file

    path, is_sample = predict_file(_in_use(root, competition), run, rows, output)
    print_result(f"predictions: {path}{_sample_mark(is_sample)}")


@app.command(rich_help_panel=RESULTS)
def score(
    submission: Annotated[Path, typer.Argument(help="A submission CSV.")],
    competition: Competition = HOUSE_PRICES,
    root: Root = Path(),
) -> None:
    """Score a submission on held-back targets; only sample data has them."""
    from pipeline.stages import steps
    from pipeline.stages.score import score_submission

    store, _ = steps.with_features(_in_use(root, competition))
    print_result(f"score: {store.spec.metric} {score_submission(store, submission):.5f}{_sample_mark(store.is_sample)}")


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

    workspace = _in_use(root, competition)
    if cancel:
        print_result(f"kernel: {cancel_run(workspace)}")
        return
    how = Options(tuple(wheels or ()), internet, accelerator, timeout, title)
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

    workspace = _in_use(root, competition)
    standing = read_leaderboard(workspace, load_spec(workspace.spec), n_rows=top)
    if as_json:
        show_json(standing.as_json())
        return
    show_frame(board_frame(standing), f"{competition}: public leaderboard")
    if standing.entries:
        show_frame(ledger_frame(standing.entries), "ledger")
    print_result(*standing.lines)


@app.command(rich_help_panel=KAGGLE)
def doctor(competition: Competition = HOUSE_PRICES, as_json: AsJson = False, root: Root = Path()) -> None:
    """Check this machine, the credentials and access to Kaggle.

    Never shows a secret. Exits with 3 if there is a problem.
    """
    from pipeline.stages.doctor import examine
    from pipeline.stages.runs import show_json

    findings = []
    for finding in examine(Workspace(root, competition)):
        findings.append({"mark": finding.mark, "text": finding.text})
        if not as_json:
            print_result(f"{finding.mark:8} {finding.text}")
    has_problem = any(finding["mark"] == "problem" for finding in findings)
    if as_json:
        show_json({"competition": competition, "is_ready": not has_problem, "findings": findings})
    if has_problem:
        raise typer.Exit(KAGGLE_TROUBLE)


def _sample_mark(is_sample: bool) -> str:
    return "  SAMPLE DATA" if is_sample else ""


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print_result(f"pipeline {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    prepare_streams()
    interrupt_on_signals()
    app()
