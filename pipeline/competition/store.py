"""Read a competition's feature artifacts, and turn them into the `Problem` of a run configuration.

Knows the files of `features/`. Must not know models, or how the files were made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.base.errors import SpecError, did_you_mean
from pipeline.base.progress import say
from pipeline.competition import dependencies
from pipeline.competition.feature_function import apply_feature_function, dependence_on_other_rows
from pipeline.competition.fold_kinds import TrainRows, assign_folds
from pipeline.competition.folds import (
    MOMENT,
    FoldArray,
    Split,
    sample_rows,
    splits_of,
    window_of,
    with_unvalidated,
)
from pipeline.competition.manifest import FILE_NAMES, FeatureManifest
from pipeline.competition.metric_trial import known_finding
from pipeline.competition.own_metric import METRIC_WEIGHT, bound_metric
from pipeline.competition.problem import Problem
from pipeline.competition.run_files import files_of
from pipeline.competition.samples.recognition import holds_sample
from pipeline.competition.tables.loading import load_tables
from pipeline.competition.text_embeddings import TextEmbeddings, columns_to_embed, model_folder
from pipeline.competition.workspace import RunFolder, Workspace
from pipeline.config.file_record import FileRecord
from pipeline.config.run import RunConfig
from pipeline.config.run_report import RunReport
from pipeline.config.spec import CompetitionSpec
from pipeline.config.types import Label, Role
from pipeline.metrics import Metric

RowsOf = TypeVar("RowsOf", pd.DataFrame, FloatArray, NDArray[np.int64])

SAMPLE_MARK = "simulated or built-in sample data, not Kaggle's"


@dataclass(frozen=True)
class FeatureStore:
    """The feature artifacts of one competition."""

    workspace: Workspace
    spec: CompetitionSpec
    n_rows: int | None = None  # use a sample of this many train rows, stratified by fold and class; None: all
    device: str = "auto"  # where texts are embedded
    _problems: dict[str, Problem] = field(default_factory=dict, init=False, repr=False, compare=False)
    _made: dict[bool, tuple[pd.DataFrame, pd.DataFrame, dict[str, Role]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def manifest(self) -> FeatureManifest:
        """Columns, row counts, classes, hashes."""
        return FeatureManifest.read(self.workspace.manifest)

    @cached_property
    def train(self) -> pd.DataFrame:
        """Typed features of the train rows."""
        return self.sampled(self._table("train"))

    @cached_property
    def test(self) -> pd.DataFrame:
        """Typed features of the test rows."""
        return self._table("test")

    @cached_property
    def train_rows(self) -> pd.DataFrame:
        """Id, targets (numbers or class codes) of the train rows; their weights and more columns that are scored."""
        return self.sampled(self._all_train_rows)

    @cached_property
    def test_rows(self) -> pd.DataFrame:
        """Id of the test rows."""
        return self._table("test_rows")

    @cached_property
    def sample_submission(self) -> pd.DataFrame:
        """Kaggle's sample submission: ids as written, columns in its order."""
        return self._table("sample_submission")

    @cached_property
    def fold_of_row(self) -> FoldArray:
        """(train rows,) the fold of each row."""
        folds = self._all_folds
        return folds if self._sample is None else folds[self._sample]

    def sampled(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Select the train rows in use from a table of all train rows."""
        return frame if self._sample is None else frame.iloc[self._sample].reset_index(drop=True)

    def own(self, rows: RowsOf) -> RowsOf:
        """The rows of the train file, of a table or array of all train rows in use: those of [[extra_rows]] follow."""
        return rows[: self.n_own_rows]

    @property
    def n_own_rows(self) -> int:
        """The number of rows in use of the train file."""
        n_all = self.manifest.n_train_rows
        return n_all if self.n_rows is None else min(n_all, self.n_rows)

    @cached_property
    def _sample(self) -> NDArray[np.int64] | None:
        """The rows in use: some of the train file, and as great a share of the extra ones."""
        if self.n_rows is None:
            return None
        n_all, n_extra, seed = self.manifest.n_train_rows, self.manifest.n_extra_rows, self.spec.folds.seed
        own = sample_rows(self._all_folds[:n_all], self._target_of(self._all_train_rows)[:n_all], self.n_rows, seed)
        extra = np.random.default_rng(seed).permutation(n_extra)[: n_extra * len(own) // n_all]
        return np.concatenate([own, n_all + np.sort(extra)])

    @cached_property
    def _all_train_rows(self) -> pd.DataFrame:
        return self._table("train_rows")

    @cached_property
    def _all_folds(self) -> NDArray[np.int64]:
        return files.read_npy(self._intact("folds"))

    def _table(self, key: str) -> pd.DataFrame:
        return files.read_parquet(self._intact(key))

    def _intact(self, key: str) -> Path:
        """The path of a features file that is as it was written. Raises ArtifactError."""
        record: FileRecord = getattr(self.manifest.files, key)
        return record.checked(self.workspace.features / FILE_NAMES[key], hint="`make features` builds it again.")

    def _target_of(self, train_rows: pd.DataFrame) -> FloatArray:
        values = train_rows[[f"target_{j}" for j in range(len(self.spec.target))]].to_numpy(dtype=np.float64)
        return values[:, 0] if values.shape[1] == 1 else values

    @property
    def splits(self) -> list[Split]:
        """Train and valid rows of every fold."""
        moments = self.train_rows.get(MOMENT)
        window = window_of(self.spec.folds, None if moments is None else moments.to_numpy(dtype=np.float64))
        return splits_of(self.fold_of_row, is_chained=self.spec.folds.rules.is_chained, window=window)

    def other_folds(self, number: int) -> list[FoldArray]:
        """`fold_of_row` for `number` other seeds, of the same kind (shuffled if the spec's folds are contiguous).

        [] if the kind does not depend on a seed, such as folds in time order.
        """
        folds = self.spec.folds
        kind = folds.rules.redrawn_as
        if kind is None:
            return []
        columns = pd.DataFrame()
        if folds.group:
            columns = load_tables(self.workspace.raw, self.spec).fold_columns
            columns = columns if self._sample is None else columns.iloc[self.own(self._sample)].reset_index(drop=True)
        own = self.own(self.train_rows)
        rows = TrainRows(own["id"], self.own(self.target), self.classes, columns, self.workspace.folder)
        changes = [{"kind": kind, "seed": folds.seed + 1 + repeat} for repeat in range(number)]
        n_extra = len(self.train_rows) - len(own)
        return [with_unvalidated(assign_folds(folds.model_copy(update=one), rows), n_extra) for one in changes]

    @property
    def classes(self) -> list[Label]:
        """Class labels in code order; [] for regression."""
        return self.manifest.classes

    @cached_property
    def is_sample(self) -> bool:
        """Whether the data is a built-in sample, which is never uploaded."""
        return self.manifest.is_sample or holds_sample(self.workspace.raw)

    @property
    def target(self) -> FloatArray:
        """(rows,) or (rows, targets) numbers or class codes."""
        return self._target_of(self.train_rows)

    @cached_property
    def metric(self) -> Metric:
        """The competition's metric of the train rows in use."""
        return bound_metric(self.spec, self.workspace.folder, self.train_rows, self.classes)

    def __post_init__(self) -> None:
        object.__setattr__(self, "spec", known_finding(self.workspace, self.spec))

    def run_feature_function(self, config: RunConfig, frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Role]]:
        """The frame and its roles, after the feature function if the competition has one and the run uses it.

        Then with the embeddings of sentences, if the spec names a model.
        """
        roles = self.manifest.roles
        if config.features.feature_function and self.spec.feature_function is not None:
            frame, roles = apply_feature_function(self.workspace.folder / self.spec.feature_function, frame, roles)
        return self._with_embeddings(frame, roles)

    def _with_embeddings(self, frame: pd.DataFrame, roles: dict[str, Role]) -> tuple[pd.DataFrame, dict[str, Role]]:
        if self._text_embeddings is None:
            return frame, roles
        embeddings, columns = self._text_embeddings
        return embeddings.with_embeddings(frame, roles, [name for name in columns if roles.get(name) == "text"])

    @cached_property
    def _text_embeddings(self) -> tuple[TextEmbeddings, list[str]] | None:
        """The embedded texts of train and test rows, and their columns; None if the spec names no model."""
        folder = model_folder(self.workspace, self.spec)
        if folder is None:
            return None
        columns = columns_to_embed(self._table("train"), self.manifest.roles)
        embeddings = TextEmbeddings(folder, self.workspace.text_embeddings, self.device)
        embeddings.prepare(frame[name] for frame in (self._table("train"), self.test) for name in columns)
        return embeddings, columns

    @cached_property
    def _feature_function_tables(self) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Role]]:
        """Train table, test table and roles after the feature function, which may be slow."""
        path = self.workspace.folder / str(self.spec.feature_function)
        train, roles = apply_feature_function(path, self.train, self.manifest.roles)
        test, _ = apply_feature_function(path, self.test, self.manifest.roles)
        if dependence := dependence_on_other_rows(path, self.train, self.manifest.roles, train):
            say(f"features: {path.name}: {dependence}; test and new rows may get other values than train rows")
        return train, test, roles

    def _frames(self, config: RunConfig) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Role]]:
        """Train table, test table and roles as the run reads them; runs that read the same share them."""
        uses_function = config.features.feature_function and self.spec.feature_function is not None
        if uses_function not in self._made:
            train, test, roles = self.train, self.test, self.manifest.roles
            if uses_function:
                train, test, roles = self._feature_function_tables
            embedded, roles_of_both = self._with_embeddings(train, roles)
            self._made[uses_function] = embedded, self._with_embeddings(test, roles)[0], roles_of_both
        return self._made[uses_function]

    def problem(self, config: RunConfig) -> Problem:
        """The problem of a run; configurations that agree in what it depends on share one."""
        read = config.model_dump(mode="json", include={"features", "scope", "target_transform", "class_weights"})
        key = json.dumps(read, sort_keys=True)
        if key not in self._problems:
            self._problems[key] = self._problem(config)
        return self._problems[key]

    def _problem(self, config: RunConfig) -> Problem:
        train, test, roles = self._frames(config)
        transform = config.target_transform or self.spec.target_transform
        return Problem(
            train=train,
            test=test,
            target=self.target,
            roles=roles,
            ordered={name: levels for name, levels in self.spec.columns.ordered.items() if name in roles},
            task=self.spec.task,
            n_classes=len(self.classes),
            metric=self.metric,
            sample_weight=self._row_weights(config),
            features=config.features.of_pixels() if self.spec.encoder.pixels else config.features,
            scope=config.scope or self.spec.encoder.scope,
            target_transform=transform if self.spec.task == "regression" else "none",
            left_out=tuple(self.manifest.left_out),
            balances_classes=config.class_weights == "balanced",
        )

    def _row_weights(self, config: RunConfig) -> FloatArray | None:
        """(rows,) the spec's column times the configured weight of the row's class; None if equal.

        Without a column for the loss, the weights of the metric are the loss's, too.
        """
        column = self.train_rows.get("sample_weight", self.train_rows.get(METRIC_WEIGHT))
        weight = None if column is None else column.to_numpy(dtype=np.float64)
        if config.class_weights == "none":
            return weight
        where = f"preset {config.preset}, class_weights"
        if self.spec.task == "regression":
            raise SpecError("a regression has no classes", where=where, hint='Remove it, or set it to "none".')
        if len(self.spec.target) > 1:
            hint = 'Remove it, or set it to "none".'
            raise SpecError("class weights are for one target; there are several", where=where, hint=hint)
        if config.class_weights == "balanced":  # computed in each fit, from its train rows
            return weight
        by_class = given_class_weights(config.class_weights, self.classes, where=where)
        by_row: FloatArray = by_class[self.target.astype(np.int64)]
        return by_row if weight is None else weight * by_row

    def fingerprint(self, config: RunConfig) -> str:
        """A hash of everything that a run depends on."""
        return dependencies.fingerprint(self.inputs(config))

    def inputs(self, config: RunConfig) -> dependencies.Inputs:
        """Everything that a run depends on."""
        return dependencies.of_run(self.workspace, self.spec, self.manifest, config, self.n_rows)

    def run_of(self, config: RunConfig) -> RunFolder:
        """The run of a configuration, finished or not."""
        return self.workspace.run(dependencies.run_name(self.workspace, self.spec, config))

    def data_fingerprint(self, config: RunConfig | None = None) -> str:
        """A hash of what all runs depend on; without the feature function if `config` does not use it."""
        is_used = config is None or dependencies.uses_feature_function(config)
        data = dependencies.of_data(self.workspace, self.spec, self.manifest, has_feature_function=is_used)
        return dependencies.fingerprint(data)

    def outdated(self, report: RunReport) -> str:
        """Name what has changed since a run was trained; "" if nothing has."""
        return dependencies.changed(report.made_of, self.inputs(report.config))

    def report_of(self, run: RunFolder, config: RunConfig, **of_the_run: Any) -> RunReport:
        """The report of a run; `of_the_run` are the keys of `RunReport` that are not set here."""
        return RunReport(
            run=run.name,
            competition=self.workspace.competition,
            data=self.manifest.data,
            is_sample=self.is_sample,
            config=config,
            metric=self.spec.metric,
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            fingerprint=self.fingerprint(config),
            made_of=dependencies.hashed(self.inputs(config)),
            files=files_of(run),
            folds_sha256=self.manifest.files.folds.sha256,
            git_commit=files.git_commit(self.workspace.root),
            versions=files.versions(),
            **of_the_run,
        )


def given_class_weights(wanted: Mapping[str, float], classes: Sequence[Label], *, where: str) -> FloatArray:
    """(classes,) the weight of each class, 1 by default. Raises SpecError for an unknown class or a weight <= 0."""
    names = [str(label) for label in classes]
    for name, weight in wanted.items():
        if name not in names:
            raise SpecError(f"no train row has the class {name!r}", where=where, hint=did_you_mean(name, names))
        if not (np.isfinite(weight) and weight > 0):
            raise SpecError(f"the weight of class {name!r} is {weight:g}", where=where, hint="Weights must be > 0.")
    return np.array([wanted.get(name, 1.0) for name in names])
