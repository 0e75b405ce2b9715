"""What each artifact is made of: the one place that decides whether an artifact is up to date.

Knows specs, configurations, manifests and the files that a spec names; must not know how an artifact is made. Each
function returns the inputs of one artifact, by a name for messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.base import files, weights
from pipeline.base.version import VERSION
from pipeline.competition.manifest import FeatureManifest
from pipeline.competition.own_metric import code_of
from pipeline.competition.tables import public_holidays
from pipeline.competition.tables.reading import find_raw
from pipeline.competition.workspace import Workspace
from pipeline.config.file_record import FileRecord
from pipeline.config.run import RunConfig
from pipeline.config.run_report import RunReport
from pipeline.config.search_space import SpaceEntry
from pipeline.config.sections import Scoring
from pipeline.config.spec import CompetitionSpec

# Keys of a spec that the feature tables do not depend on; all others are inputs of them.
# of nothing: what Kaggle says of the competition, and what joins an ensemble as a run of its own
NO_INPUT = {"name", "kaggle_slug", "dataset", "kaggle_metric", "public_share", "members"}
ONLY_CONTENT = {"files", "feature_function"}  # the content of these files counts, not their names
RUN_ONLY = {"encoder", "target_transform"}  # of runs
STUDY_ONLY = {"tune"}  # of studies, through the search space
FOUND_BY_TRIAL = {"reads", "greater_is_better", "min_prediction"}  # keys of [scoring]; stated ones are of runs
NOT_OF_FEATURES = NO_INPUT | ONLY_CONTENT | RUN_ONLY | STUDY_ONLY
OF_RUNS = (*sorted(RUN_ONLY), "task", "metric")
OF_SUBMISSIONS = ("id", "ids", "target", "submission", "metric")

CONFIGURATION, FEATURE_FUNCTION = "the configuration", "the feature function"

Inputs = dict[str, Any]
Hashes = dict[str, str]  # input -> hash


def raw_paths(workspace: Workspace, spec: CompetitionSpec) -> dict[str, Path]:
    """The raw files that are read, by what they are. Raises DataError if one is missing."""
    return {key: find_raw(workspace.raw, name) for key, name in spec.raw_names.items()}


def of_features(workspace: Workspace, spec: CompetitionSpec, *, is_sample: bool) -> Inputs:
    """`features/`: raw files, fold file, and the spec except for what only later stages read."""
    raw = {f"the {key} file": FileRecord.of(path).sha256 for key, path in raw_paths(workspace, spec).items()}
    has_holidays = spec.time is not None and spec.time.has_holidays
    return {
        **raw,
        **({"the version of the package holidays": public_holidays.version()} if has_holidays else {}),
        "the fold file": _file(workspace, spec.folds.file),
        **of_spec(spec),
        "the mark of sample data": is_sample,
        "the version of the pipeline": VERSION,
    }


def of_spec(spec: CompetitionSpec) -> Inputs:
    """The part of the spec that `features/` depends on."""
    of_history = set[str]() if spec.time is None else {"target_transform"}  # the scale of the past of the target
    exclude: dict[str, Any] = dict.fromkeys(NOT_OF_FEATURES - of_history, True) | {"scoring": FOUND_BY_TRIAL}
    return {f"{key} in the spec": value for key, value in spec.model_dump(mode="json", exclude=exclude).items()}


def of_data(
    workspace: Workspace, spec: CompetitionSpec, manifest: FeatureManifest, *, has_feature_function: bool = True
) -> Inputs:
    """What all runs of a competition share; also all that preset `best` and a result of tuning depend on."""
    of_the_spec = spec.model_dump(mode="json", include={*OF_RUNS, "scoring"})
    folds = spec.folds
    window = {"the window of the folds": [folds.gap, folds.max_train]} if folds.gap or folds.max_train else {}
    scoring = {} if spec.scoring == Scoring() else {"scoring in the spec": of_the_spec.pop("scoring")}
    named = of_the_spec["encoder"].pop("text_embeddings")  # its content counts, not its path
    embeddings = {} if named is None else {"the text model": _of_weights(weights.located(named, workspace.folder))}
    return {
        "the features": manifest.tables,
        FEATURE_FUNCTION: _code(workspace, spec.feature_function) if has_feature_function else None,
        "the metric file": _code(workspace, spec.metric_file),
        **{f"{key} in the spec": of_the_spec[key] for key in OF_RUNS},
        **scoring,
        **window,
        **embeddings,
        "the ordered categories in the spec": spec.columns.ordered,
        "the order of the folds": spec.folds.rules.is_chained,
        "the version of the pipeline": VERSION,
    }


def of_run(
    workspace: Workspace, spec: CompetitionSpec, manifest: FeatureManifest, config: RunConfig, n_rows: int | None
) -> Inputs:
    """A run: the data, its configuration, and the sample of the rows if it uses one."""
    sample = {} if n_rows is None else {"the sample of the rows": [n_rows, spec.folds.seed]}
    data = of_data(workspace, spec, manifest, has_feature_function=uses_feature_function(config))
    pretrained = [
        _of_weights(weights.checkpoint_of(part.model, part.params["weights"], is_regression=spec.task == "regression"))
        for _, part in config.weighted_parts
        if "weights" in part.params
    ]
    own = {"the weights": pretrained} if pretrained else {}
    return {**data, CONFIGURATION: config.identity, **own, **sample}


def run_name(workspace: Workspace, spec: CompetitionSpec, config: RunConfig) -> str:
    """The run's name: made of its configuration, and of the text of the feature function if it uses one.

    So the runs before and after an edit of the function stand side by side and can be compared.
    """
    return config.run_name_with(_code(workspace, spec.feature_function) if uses_feature_function(config) else None)


def of_study(competition: str, model: str, run: Inputs, space: Mapping[str, SpaceEntry], metric: str | None) -> Inputs:
    """A study: the inputs of the run that is varied, the search space, and the metric that replaces the spec's."""
    return {
        "for": f"{competition}, {model}",
        **run,
        "the search space": {name: entry.model_dump(mode="json", exclude={"tasks"}) for name, entry in space.items()},
        **({} if metric is None else {"the metric of the trials": metric}),
    }


def of_check(spec: CompetitionSpec, manifest: FeatureManifest) -> Inputs:
    """`features/check.json`."""
    of_the_spec = spec.model_dump(mode="json", include={"task", "target_transform"})
    return {"the features": manifest.tables, **of_the_spec}


def of_repeats(report: RunReport, manifest: FeatureManifest) -> Inputs:
    """`repeats.json`: the run, and all that other folds are assigned by."""
    return {"the run": report.fingerprint, "the folds": manifest.fingerprint}


def of_submission(
    report: RunReport, spec: CompetitionSpec, manifest: FeatureManifest, final: str, nested_score: float | None
) -> Inputs:
    """A submission: the run, how its final prediction is made, and the form that it fills."""
    return {
        "the run": report.fingerprint,
        "the final model": [final, nested_score],
        "the sample submission": manifest.files.sample_submission.sha256,
        **spec.model_dump(mode="json", include=set(OF_SUBMISSIONS)),
    }


def fingerprint(inputs: Inputs) -> str:
    """One hash of all inputs."""
    return files.sha256_of_json(inputs)


def hashed(inputs: Inputs) -> Hashes:
    """A short hash of each input, to be stored with the artifact."""
    return {name: files.sha256_of_json(value)[:16] for name, value in inputs.items()}


def changed(known: Hashes, inputs: Inputs) -> str:
    """Name the inputs that differ from those an artifact was made of; "" if none does."""
    names = _differing(known, hashed(inputs))
    return f"{', '.join(names)} changed" if names else ""


def differing(one: Hashes, other: Hashes) -> list[str]:
    """Name the inputs, other than the configuration, that differ between two runs."""
    return [name for name in _differing(one, other) if name not in (CONFIGURATION, FEATURE_FUNCTION)]


def _differing(one: Hashes, other: Hashes) -> list[str]:
    return [name for name in other | one if one.get(name) != other.get(name)]


def changed_in_spec(known: Hashes, spec: CompetitionSpec) -> str:
    """Name what has changed in the spec since features with the hashes `known` were built; "" if nothing has."""
    inputs = of_spec(spec)
    return changed({name: value for name, value in known.items() if name in inputs}, inputs)


def uses_feature_function(config: RunConfig) -> bool:
    """Whether the configuration, or a part of it, applies the feature function."""
    return any(part.features.feature_function for _, part in config.weighted_parts)


def _file(workspace: Workspace, name: str | None) -> str | None:
    """The hash of a file that the spec names; None if there is none."""
    path = workspace.folder / (name or "")
    return files.sha256_of(path) if path.is_file() else None


def _of_weights(path: Path | None) -> str:
    """The hash of pretrained weights, which may be missing."""
    return weights.sha256_of(path) or "missing"


def _code(workspace: Workspace, name: str | None) -> str | None:
    """The hash of a Python file that the spec names, and of the files beside it that it imports."""
    return None if name is None else code_of(workspace.folder / name)
