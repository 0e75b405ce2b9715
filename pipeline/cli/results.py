"""Commands that show and use finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.base.progress import print_result, say
from pipeline.cli.application import app, in_use, sample_mark
from pipeline.cli.options import HOUSE_PRICES, RESULTS, AsJson, Competition, Root, RunName
from pipeline.competition.workspace import Workspace


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
def report(
    run: Annotated[str | None, typer.Argument(help="The run to look at closely; default: the best.")] = None,
    competition: Competition = HOUSE_PRICES,
    importance: Annotated[
        bool, typer.Option("--importance/--no-importance", help="Measure what the prediction goes by; once per run.")
    ] = True,
    is_opened: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
    root: Root = Path(),
) -> None:
    """Write a page with everything known of the competition: runs, data, errors, what models go by.

    Writes `data/<competition>/report/index.html`, one file that needs no network.
    """
    from pipeline.stages import steps
    from pipeline.stages.report import make_report, open_page

    store, _ = steps.with_features(in_use(root, competition))
    path = make_report(store, run, is_measured=importance)
    print_result(f"report: {path}{sample_mark(store.is_sample)}")
    if is_opened:
        open_page(path)


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

    path, is_sample = predict_file(in_use(root, competition), run, rows, output)
    print_result(f"predictions: {path}{sample_mark(is_sample)}")


@app.command(rich_help_panel=RESULTS)
def score(
    submission: Annotated[Path, typer.Argument(help="A submission CSV.")],
    competition: Competition = HOUSE_PRICES,
    root: Root = Path(),
) -> None:
    """Score a submission on held-back targets; only sample data has them."""
    from pipeline.stages import steps
    from pipeline.stages.score import score_submission

    store, _ = steps.with_features(in_use(root, competition))
    print_result(f"score: {store.spec.metric} {score_submission(store, submission):.5f}{sample_mark(store.is_sample)}")


@app.command(rich_help_panel=RESULTS)
def tensorboard(
    competition: Competition = HOUSE_PRICES,
    port: Annotated[int, typer.Option(help="The port on this machine; 0: any free one.", min=0, max=65535)] = 6006,
    root: Root = Path(),
) -> None:
    """Show the curves of all runs in TensorBoard, those in training too, until Ctrl-C."""
    from pipeline.stages.watch import serve_curves

    serve_curves(Workspace(root, competition), port)


@app.command(rich_help_panel=RESULTS)
def dashboard(
    competition: Competition = HOUSE_PRICES,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Default: the one tuned last.")] = None,
    storage: Annotated[
        str | None, typer.Option(envvar="STORAGE", help="The Optuna storage URL that `tune` was given.")
    ] = None,
    host: Annotated[str, typer.Option(help="The address to serve at; 0.0.0.0: for every machine.")] = "localhost",
    port: Annotated[int, typer.Option(help="The port on this machine; 0: any free one.", min=0, max=65535)] = 8080,
    root: Root = Path(),
) -> None:
    """Show a model's study in Optuna's dashboard, also while it is tuned, until Ctrl-C."""
    from pipeline.stages.watch import serve_study

    serve_study(Workspace(root, competition), model, storage, host, port)
