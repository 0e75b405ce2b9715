"""What the final prediction goes by, measured on held rows and kept beside the page.

Knows runs' models and the frames they read; must not know how it is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.base.progress import say
from pipeline.competition.store import FeatureStore
from pipeline.config.artifact import Artifact, Record
from pipeline.config.run import RunConfig
from pipeline.config.run_report import RunReport
from pipeline.config.types import NUMERIC
from pipeline.encoders.table import EncodingCache
from pipeline.models.registry import entry_of
from pipeline.report.collect import Material, OutOfFold
from pipeline.report.compute.drivers import (
    MOST_PREDICTED,
    ROWS_OF_EFFECTS,
    Effect,
    HeldRows,
    Importance,
    effect,
    permutation_importance,
    sizes,
)
from pipeline.report.compute.ensembles import member_errors
from pipeline.report.words import amount, class_name, of_data
from pipeline.scoring.blending import on_scale
from pipeline.scoring.fitted_run import FittedPart, FittedRun
from pipeline.scoring.stored_run import load_run

N_EFFECTS = 6
N_ROWS, N_CONTRIBUTIONS = 8, 12
MOST_OUTPUTS = 3
PATCH = 4  # pixels of a side that are shuffled together
MOST_GROUPS = 400


class RowContributions(Record):
    """What the columns of a row add to its prediction by a booster, on the scale that it learns; `rest` is of none."""

    id: str
    actual: str
    predicted: str
    columns: list[str]  # those that add most, then `others`
    values: list[str]
    added: list[float]
    rest: float


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
    booster: str  # whose contributions `rows` are; "" if no part of the run can tell
    rows: list[RowContributions]  # the worst ones


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
    if slow := sorted({part.model for _, part in run.config.weighted_parts if entry_of(part.model).is_pretrained}):
        say(f"report: what {run.run} goes by is not measured: {MOST_PREDICTED:,} predictions of {slow[0]} take long")
        return None
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
        **_contributions(material, run, fitted),
    )


def _contributions(material: Material, run: RunReport, fitted: FittedRun) -> dict[str, Any]:
    """Of the rows with the greatest errors, by the heaviest part that can tell."""
    store, oof = material.store, material.oof(run)
    nothing = {"booster": "", "rows": []}
    if oof.target.ndim > 1 or len(store.classes) > 2 or store.spec.encoder.pixels:
        return nothing
    errors = np.abs(member_errors(oof.prediction, oof.target, material.metric))
    parts = sorted(_parts(fitted, 1.0), key=lambda one: -one[0])
    for _, part in parts:
        tell = getattr(part.fitted, "contributions", None)
        if tell is None:
            continue
        rows = []
        for i in np.argsort(-errors, kind="stable")[:N_ROWS]:
            frame = store.train.iloc[[oof.rows[i]]].reset_index(drop=True)
            features, _ = store.run_feature_function(part.config, frame)
            added = tell(features, int(oof.fold[i]))
            if added is None:
                break
            rows.append(_row(material, oof, int(i), frame, added.iloc[0]))
        if rows:
            return {"booster": part.config.model, "rows": rows}
    return nothing


def _parts(fitted: FittedRun, share: float) -> list[tuple[float, FittedPart]]:
    """All single configurations with their weights."""
    total = sum(abs(weight) for weight in fitted.weights) or 1.0
    found: list[tuple[float, FittedPart]] = []
    for weight, part in zip(fitted.weights, fitted.parts, strict=True):
        of_part = share * abs(weight) / total
        found += _parts(part, of_part) if isinstance(part, FittedRun) else [(of_part, part)]
    return found


def _row(material: Material, oof: OutOfFold, i: int, frame: pd.DataFrame, added: pd.Series) -> RowContributions:
    """Summed to raw columns as far as they are known by name."""
    names = sorted(map(str, frame.columns), key=len, reverse=True)
    totals: dict[str, float] = {}
    for encoded, value in zip(added.index[:-1], added.iloc[:-1], strict=True):
        raw = next((one for one in names if encoded == one or encoded.startswith((f"{one}=", f"{one}_"))), str(encoded))
        totals[raw] = totals.get(raw, 0.0) + float(value)
    ranked = sorted(totals, key=lambda name: -abs(totals[name]))
    shown, others = ranked[:N_CONTRIBUTIONS], ranked[N_CONTRIBUTIONS:]
    classes = material.store.classes
    if classes:
        actual = class_name(classes[int(oof.target[i])])
        predicted = f"probability of {class_name(classes[1])} {oof.prediction[i, 1]:.3f}"
    else:
        actual, predicted = amount(float(oof.target[i]), 6), amount(float(oof.prediction[i]), 6)
    return RowContributions(
        id=of_data(material.store.train_rows["id"].iloc[oof.rows[i]], 40),
        actual=actual,
        predicted=predicted,
        columns=[*shown, *(["all others"] if others else [])],
        values=[*(_value(frame, name) for name in shown), *([""] if others else [])],
        added=[*(totals[name] for name in shown), *([sum(totals[name] for name in others)] if others else [])],
        rest=float(added.iloc[-1]),
    )


def _value(frame: pd.DataFrame, name: str) -> str:
    """The row's value of a raw column; "" of a column that a feature function makes."""
    if name not in frame.columns:
        return ""
    value = frame[name].iloc[0]
    return of_data("missing" if pd.isna(value) else f"{value:.6g}" if isinstance(value, float) else value, 40)


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
    counts = np.bincount(store.own(store.target).astype(np.int64), minlength=len(classes))
    shown = [1] if len(classes) == 2 else np.argsort(-counts, kind="stable")[:MOST_OUTPUTS].tolist()
    return [f"probability of {class_name(classes[i])}" for i in shown], lambda prediction: prediction[:, shown]
