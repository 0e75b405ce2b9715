"""Stage `runs`: the finished runs of a competition as a table, best first; tables on the terminal."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.base import files
from pipeline.base.progress import print_result, print_table, say
from pipeline.competition.manifest import FeatureManifest
from pipeline.competition.store import FeatureStore
from pipeline.competition.workspace import Workspace
from pipeline.config.run_report import RunReport
from pipeline.config.spec import CompetitionSpec


def list_runs(workspace: Workspace, spec: CompetitionSpec) -> pd.DataFrame:
    """Return one row per run: model, preset, cv_score, fold spread, seconds, date, data, submission.

    `features` tells runs of the current features and spec from others, whose scores do not compare.
    """
    rows, store = [], FeatureStore(workspace, spec)
    otherwise = "whether runs are of the current features is unknown"
    has_features = FeatureManifest.read_or_none(workspace.manifest, otherwise=otherwise)
    if not workspace.manifest.exists():
        say(f"runs: there is no {workspace.manifest}; {otherwise}")
    for folder in workspace.runs.glob("*/"):
        report = RunReport.read_or_none(
            workspace.run(folder.name).report, otherwise="the run is skipped", may_be_newer=True
        )
        if report is None:
            continue
        submission = workspace.submissions / f"{report.run}.csv"
        rows.append(
            {
                "run": report.run,
                "model": report.config.model,
                "preset": report.config.preset,
                "cv_score": report.cv_score,
                "fold_sd": report.fold_sd,
                "elapsed_s": report.elapsed_s,
                "finished_at": report.finished_at[:16].replace("T", " "),
                "data": "sample" if report.is_sample else "real",
                "features": _features(store, report) if has_features else "unknown",
                "submission": str(submission) if os.path.lexists(submission) else "",
            }
        )
    frame = pd.DataFrame(rows)
    return frame if frame.empty else frame.sort_values("cv_score", key=store.spec.scorer.losses)


def _features(store: FeatureStore, report: RunReport) -> str:
    return "other" if store.outdated(report) else "current"


def show_frame(frame: pd.DataFrame, title: str) -> None:
    """Print a table on stdout, wide enough for a pipe."""
    print_table(title, frame.columns, (map(_cell, row) for row in frame.itertuples(index=False)))


def show_json(value: dict[str, Any]) -> None:
    """Print one JSON object on stdout; numbers that JSON lacks are null."""
    print_result(json.dumps(_finite(value), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if np.isnan(value) else f"{value:.5g}"
    return str(value)


def show_tuning(folder: Path, spec: CompetitionSpec) -> None:
    """Print the best trials and the importances in a study's folder, and the path of `best.json`."""
    trials, importances = (files.read_parquet(folder / f"{name}.parquet") for name in ("trials", "importances"))
    if not trials.empty:
        best_first = trials.sort_values("cv_score", key=spec.scorer.losses)
        show_frame(best_first.head(10), "best trials")
    if not importances.empty:
        show_frame(importances, "importances")
    if (folder / "best.json").exists():
        print_result(f"best: {folder / 'best.json'}")
