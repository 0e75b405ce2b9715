"""What the final prediction goes by, measured on held rows and kept beside the page.

Knows runs' models and the frames they read; must not know how it is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.base.progress import say
from pipeline.competition.store import FeatureStore
from pipeline.config.artifact import Artifact
from pipeline.config.run import RunConfig
from pipeline.config.run_report import RunReport
from pipeline.config.types import NUMERIC
from pipeline.encoders.table import EncodingCache
from pipeline.report.collect import Material
from pipeline.report.compute.drivers import (
    ROWS_OF_EFFECTS,
    Effect,
    HeldRows,
    Importance,
    effect,
    permutation_importance,
    sizes,
)
from pipeline.report.words import class_name
from pipeline.scoring.blending import on_scale
from pipeline.scoring.fitted_run import FittedRun
from pipeline.scoring.stored_run import load_run

N_EFFECTS = 6
MOST_OUTPUTS = 3
PATCH = 4  # pixels of a side that are shuffled together
MOST_GROUPS = 400


class Drivers(Artifact):
    """`report/drivers-<run>.json`: importance of the columns and their effects, for a run."""

    WHAT: ClassVar[str] = "a record of what a prediction goes by"
    REMEDY: ClassVar[str] = "Delete it; `make report` measures it again."

    format: Literal[1] = 1
    fingerprint: str
    n_rows: int
    n_repeats: int
    n_groups: int  # that could be shuffled
    importances: list[Importance]
    effects: list[Effect]
    outputs: list[str]  # what the effects are on


def known_drivers(material: Material) -> Drivers | None:
    """What was measured for the run as it is now; None if it was not."""
    if material.run is None:
        return None
    kept = Drivers.read_or_none(_path(material, material.run), otherwise="it is measured again by `report`")
    return kept if kept is not None and kept.fingerprint == _fingerprint(material.run) else None


def measured_drivers(material: Material) -> Drivers | None:
    """Measure, unless it was done before; None for a run whose rows or models are no longer there."""
    known = known_drivers(material)
    run = material.run
    if known is not None or run is None or not material.is_current:
        return known
    found = _measured(material, run)
    found.write(_path(material, run))
    return found


def _path(material: Material, run: RunReport) -> Path:
    return material.store.workspace.page.with_name(f"drivers-{run.run}.json")


def _fingerprint(run: RunReport) -> str:
    return files.sha256_of_json([run.fingerprint, run.files.oof.sha256])


def _measured(material: Material, run: RunReport) -> Drivers:
    store = material.store
    say(f"report: measuring what {run.run} goes by, on rows it has not seen")
    fitted = load_run(store, material.folder(run), is_of_folds=True)
    groups = groups_of(store)
    n_rows, n_repeats = sizes(len(material.oof(run).rows), len(groups))

    def predict(frame: pd.DataFrame, fold: int) -> FloatArray:
        return _predicted(store, fitted, frame, fold)

    held = held_rows(material, run, n_rows)
    importances = permutation_importance(predict, held, groups, n_repeats=n_repeats)
    outputs, take = _outputs(material)

    def outputs_of(frame: pd.DataFrame, fold: int) -> FloatArray:
        return take(_predicted(store, fitted, frame, fold))

    roles, effects = store.manifest.roles, list[Effect]()
    few = held_rows(material, run, min(n_rows, ROWS_OF_EFFECTS))
    for one in importances:
        names = [name for name in groups[one.name] if name in roles and roles[name] != "text"]
        if len(effects) >= N_EFFECTS or len(groups[one.name]) > PATCH or not names or not one.loss > 0:
            continue
        found = effect(outputs_of, few, names[0], is_number=roles[names[0]] in NUMERIC)
        effects += [] if found is None else [found]
    return Drivers(
        fingerprint=_fingerprint(run),
        n_rows=sum(len(rows.frame) for rows in held),
        n_repeats=n_repeats,
        n_groups=len(store.manifest.roles),
        importances=importances,
        effects=effects,
        outputs=outputs,
    )


def groups_of(store: FeatureStore) -> dict[str, list[str]]:
    """What is shuffled together: the features of a raw column, or the pixels of a patch."""
    names = [str(name) for name in store.train.columns]
    side = round(len(names) ** 0.5)
    if store.spec.encoder.pixels and side * side == len(names):
        patches: dict[str, list[str]] = {}
        for i, name in enumerate(names):
            row, column = i // side // PATCH, i % side // PATCH
            patches.setdefault(f"pixels {row},{column}", []).append(name)
        return patches
    source = {feature: recipe.source for recipe in store.manifest.recipes for feature in recipe.features}
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(source.get(name, name), []).append(name)
    if len(groups) > MOST_GROUPS:
        kept = np.linspace(0, len(groups) - 1, MOST_GROUPS).astype(int)
        groups = {name: groups[name] for i, name in enumerate(groups) if i in set(kept.tolist())}
    return groups


def held_rows(material: Material, run: RunReport, n_rows: int) -> list[HeldRows]:
    """A sample of the validated rows, by the fold that validates them."""
    oof, rng = material.oof(run), np.random.default_rng(0)
    kept = np.arange(len(oof.rows))
    if len(kept) > n_rows:
        kept = np.sort(rng.choice(kept, n_rows, replace=False))
    found = []
    for fold in np.unique(oof.fold[kept]):
        rows = kept[oof.fold[kept] == fold]
        frame = material.store.train.iloc[oof.rows[rows]].reset_index(drop=True)
        found.append(HeldRows(int(fold), frame, oof.target[rows], material.metric.at(oof.rows[rows])))
    return found


def _predicted(store: FeatureStore, fitted: FittedRun, frame: pd.DataFrame, fold: int) -> FloatArray:
    """The prediction of the fold's models, as the run makes it."""
    made: dict[bool, pd.DataFrame] = {}

    def features_of(config: RunConfig) -> pd.DataFrame:
        key = config.features.feature_function
        if key not in made:
            made[key], _ = store.run_feature_function(config, frame)
        return made[key]

    return fitted.predict(features_of, EncodingCache(), [fold])


def _outputs(material: Material) -> tuple[list[str], Callable[[FloatArray], FloatArray]]:
    """Names of what effects are on, and how they are taken from a prediction: (rows, outputs)."""
    store, metric = material.store, material.metric
    targets = store.spec.target[:MOST_OUTPUTS]
    if store.spec.task == "regression":
        prefix = {"none": "", "log": "log ", "log1p": "log1p "}[metric.scale]

        def values(prediction: FloatArray) -> FloatArray:
            return on_scale(prediction, metric).reshape(len(prediction), -1)[:, :MOST_OUTPUTS]

        return [f"{prefix}{name}" for name in targets], values
    if store.target.ndim == 2:
        return [f"probability of {name}" for name in targets], lambda prediction: prediction[:, :MOST_OUTPUTS]
    classes = store.classes
    counts = np.bincount(store.target.astype(np.int64), minlength=len(classes))
    shown = [1] if len(classes) == 2 else np.argsort(-counts, kind="stable")[:MOST_OUTPUTS].tolist()
    return [f"probability of {class_name(classes[i])}" for i in shown], lambda prediction: prediction[:, shown]
