"""The files of a finished run, checked against the records in its report.

Knows the folder of a run and its report; must not know what the files mean.
"""

from __future__ import annotations

from typing import Literal

import pandas as pd

from pipeline.base import files
from pipeline.base.errors import ArtifactError
from pipeline.competition.workspace import RunFolder
from pipeline.config.file_record import FileRecord, fault_among, records_in
from pipeline.config.run_report import RunFiles, RunReport

PREDICTIONS: tuple[Literal["oof"], Literal["test"]] = ("oof", "test")
HINT = "Train the run again: `python -m pipeline train --preset {report}`."


def files_of(run: RunFolder) -> RunFiles:
    """Record the files of a run that has no final model yet."""
    oof, test = FileRecord.of(run.oof), FileRecord.of(run.test)
    return RunFiles(oof=oof, test=test, model=records_in(run.model), final={})


def record_final_model(run: RunFolder, report: RunReport, *, is_refitted: bool) -> None:
    """Record the refitted model in the run's report, or that there is none."""
    final = records_in(run.final_model) if is_refitted else {}
    if final != report.files.final:
        report.updated(files=report.files.updated(final=final)).write(run.report)


def fault_in(run: RunFolder, report: RunReport) -> str:
    """Describe the first file of the cross-validated run that is missing or was changed; "" if there is none.

    Of the models only the sizes are compared, because they are read by `predict` alone.
    """
    recorded = report.files
    return fault_among(run.path, {run.oof.name: recorded.oof, run.test.name: recorded.test}) or fault_among(
        run.model, recorded.model, is_size_enough=True
    )


def check_models(run: RunFolder, report: RunReport, *, is_refitted: bool) -> None:
    """Raise ArtifactError if a file of the fold models, or of the refitted one, is missing or was changed."""
    folder, recorded = (run.final_model, report.files.final) if is_refitted else (run.model, report.files.model)
    if fault := fault_among(folder, recorded):
        hint = "Delete the run's folder and train it again: `python -m pipeline submit` with the same options."
        raise ArtifactError(fault, where=str(folder), hint=hint)


def read_predictions(run: RunFolder, report: RunReport, key: Literal["oof", "test"]) -> pd.DataFrame:
    """Read a run's predictions. Raises ArtifactError if they are not those that its report records."""
    path, record = (run.oof, report.files.oof) if key == "oof" else (run.test, report.files.test)
    return files.read_parquet(record.checked(path, hint=HINT.format(report=run.report)))
