"""Stage `predict`: a stored run and a new CSV -> predictions in the form of a submission."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.base.progress import say
from pipeline.competition.store import FeatureStore
from pipeline.competition.tables import load_new_rows
from pipeline.competition.workspace import RunFolder, part_folder
from pipeline.config.run import RunConfig
from pipeline.config.run_report import RunReport
from pipeline.encoders import Encodings
from pipeline.kaggle.submission import make_submission
from pipeline.models.arrays.boosting import import_lean
from pipeline.models.registry import entry_of
from pipeline.scoring.adjustment import adjusted_as_reported
from pipeline.scoring.ensembling import blend


def predict_file(store: FeatureStore, run_name: str, rows: Path, output: Path, *, is_own_process: bool = False) -> None:
    """Predict the rows of a file that has the competition's columns. Raises ArtifactError, DataError.

    In a process of its own only what a prediction needs is imported.
    """
    run = store.workspace.finished_run(run_name)
    if is_own_process:
        config = RunReport.read(run.report).config
        import_lean(part.model for _, part in config.weighted_parts)
    new = load_new_rows(rows, store.spec.id, store.manifest.recipes)
    for note in new.notes:
        say(f"predict: {note}")
    prediction = _Predictor(store, new.features).of_run(run)
    names = [name for name in store.sample_submission.columns if name != store.spec.id]
    empty = pd.DataFrame({store.spec.id: new.ids.to_numpy()} | dict.fromkeys(names))
    files.write_csv(output, make_submission(store.spec, store.classes, empty, new.ids, prediction))


class _Predictor:
    """Typed rows, and what several models read of them: own features and encoded tables are made once."""

    def __init__(self, store: FeatureStore, rows: pd.DataFrame) -> None:
        self.store, self.rows = store, rows
        self.encode = Encodings()
        self._with_own_features: dict[bool, pd.DataFrame] = {}

    def of_run(self, run: RunFolder, *, is_member: bool = False) -> FloatArray:
        """The run's prediction: by its own parts, or by the fold models of the runs it is made of."""
        report = RunReport.read(run.report)
        parts = report.config.weighted_parts
        weights, metric = [weight for weight, _ in parts], self.store.spec.scorer
        last = part_folder(run.final_model, len(parts) - 1, len(parts))
        is_refitted = not is_member and (last / "model.json").exists()  # written last
        if report.ensemble is not None and not is_refitted:
            members = [self.store.workspace.finished_run(member.run) for member in report.ensemble.members]
            return blend([self.of_run(member, is_member=True) for member in members], weights, metric)
        folder = run.final_model if is_refitted else run.model
        splits = [0] if is_refitted else range(self.store.manifest.n_folds)
        predictions = []
        for number, (_, part) in enumerate(parts):
            fitted = entry_of(part.model).load(part_folder(folder, number, len(parts)))
            predictions.append(fitted.predict(self._features(part), splits, encode=self.encode))
        return adjusted_as_reported(report, blend(predictions, weights, metric))

    def _features(self, part: RunConfig) -> pd.DataFrame:
        is_own = part.features.feature_function
        if is_own not in self._with_own_features:
            self._with_own_features[is_own], _ = self.store.apply_own_features(part, self.rows)
        return self._with_own_features[is_own]
