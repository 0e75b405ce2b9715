"""The files of a finished run, checked against the records in its report.

Knows the folder of a run and its report; must not know what the files mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pandas as pd

from pipeline.base import files
from pipeline.base.errors import ArtifactError
from pipeline.competition.workspace import RunFolder
from pipeline.config.file_record import FileRecord, fault_among, records_in
from pipeline.config.run_report import RunFiles, RunReport

PREDICTIONS: tuple[Literal["oof"], Literal["test"]] = ("oof", "test")


def how_to_repeat(report: RunReport, path: Path, *, command: str = "train") -> str:
    """Say which command makes the run whose report is at `path` again."""
    race = None if report.ensemble is None else f"submit --preset best --minutes {report.ensemble.minutes:.3g}"
    again = race or f"{command} --preset {path}"
    return f"`python -m pipeline {again} -c {report.competition}` makes it again."


def files_of(run: RunFolder) -> RunFiles:
    """Record the files of a run that has no final model yet."""
    oof, test = FileRecord.of(run.oof), FileRecord.of(run.test)
    history = FileRecord.of(run.history) if run.history.exists() else None
    return RunFiles(oof=oof, test=test, history=history, model=records_in(run.model), final={})


def record_final_model(run: RunFolder, report: RunReport, *, is_refitted: bool) -> None:
    """Record the refitted model in the run's report, or that there is none."""
    final = records_in(run.final_model) if is_refitted else {}
    if final != report.files.final:
        report.updated(files=report.files.updated(final=final)).write(run.report)


def fault_in(run: RunFolder, report: RunReport) -> str:
    """Describe the first file of the cross-validated run that is missing or was changed; "" if there is none."""
    recorded = report.files
    tables = {run.oof.name: recorded.oof, run.test.name: recorded.test}
    if recorded.history is not None:
        tables[run.history.name] = recorded.history
    return fault_among(run.path, tables) or fault_among(run.model, recorded.model)


def check_models(run: RunFolder, report: RunReport, *, is_refitted: bool) -> None:
    """Raise ArtifactError if a file of the fold models, or of the refitted one, is missing or was changed."""
    folder, recorded = (run.final_model, report.files.final) if is_refitted else (run.model, report.files.model)
    if fault := fault_among(folder, recorded):
        hint = how_to_repeat(report, run.report, command="final" if is_refitted else "train")
        raise ArtifactError(fault, where=run.name, hint=hint)


def read_predictions(run: RunFolder, report: RunReport, key: Literal["oof", "test"]) -> pd.DataFrame:
    """Read a run's predictions. Raises ArtifactError if they are not those that its report records."""
    path, record = (run.oof, report.files.oof) if key == "oof" else (run.test, report.files.test)
    return _read(path, record, run, report)


def read_history(run: RunFolder, report: RunReport) -> pd.DataFrame:
    """Read a run's scores by epoch; empty for an ensemble of runs. Raises ArtifactError if the file was changed."""
    return pd.DataFrame() if report.files.history is None else _read(run.history, report.files.history, run, report)


def _read(path: Path, record: FileRecord, run: RunFolder, report: RunReport) -> pd.DataFrame:
    return files.read_parquet(record.checked(path, hint=how_to_repeat(report, run.report)))
