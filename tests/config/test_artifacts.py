"""Every JSON artifact is whole and of its own type, or refused with the file, the key and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.api.tabular import SavedEstimator
from pipeline.base.errors import ArtifactError, NewerFormatError
from pipeline.competition.manifest import FeatureFiles, FeatureManifest
from pipeline.competition.tables.typed import ColumnRecipe
from pipeline.config.artifact import Artifact
from pipeline.config.file_record import FileRecord
from pipeline.config.records import (
    CheckpointMark,
    Confirmation,
    EnsembleComparison,
    FoldsSeen,
    KaggleFacts,
    NotebookVersion,
    Place,
    Provenance,
    RawSource,
    Repeat,
    Repeats,
    TuningResult,
)
from pipeline.config.run import FeatureSteps, RunConfig
from pipeline.config.run_report import (
    Adjustment,
    Calibrator,
    ClassificationReport,
    ClassReport,
    DataCheck,
    EnsembleReport,
    Finding,
    FoldEpoch,
    GivenUp,
    MemberReport,
    PartReport,
    ProbabilityQuality,
    ProbabilityReport,
    ReliabilityBin,
    RunFiles,
    RunReport,
    ThresholdReport,
    Trust,
    WithoutPrune,
)
from pipeline.encoders.table import fit_encoder
from pipeline.encoders.target import TargetScaler
from pipeline.kaggle.client.partial_file import PartialFileMarker
from pipeline.kaggle.notebook.run import OutputManifest, State
from pipeline.models.arrays.model import StoredArrayModel
from pipeline.models.networks.columns import Columns
from pipeline.models.networks.fitted import StoredNetworks
from pipeline.nets.convolutional import ConvNet
from pipeline.nets.embeddings import NumberEmbedding
from pipeline.nets.networks import MLP
from pipeline.scoring.fitted_run import SavedPart, SavedRun

FILE = FileRecord(bytes=3, sha256="ab")
CONFIG = RunConfig(preset="fast", model="mlp", params={"lr": 0.01, "hidden_sizes": [8]})
PROVENANCE = Provenance(
    run="fast-mlp-1",
    submission="fast-mlp-1.csv",
    sha256="ab",
    n_rows=3,
    data="Kaggle: toy",
    is_sample=False,
    metric="rmse",
    cv_score=0.5,
    nested_score=None,
    final="average",
    final_reason="asked for",
    fingerprint="f",
    config=CONFIG,
    raw_files={"train.csv": "ab"},
    git_commit=None,
    versions={"python": "3.12"},
    made_at="2026-01-01T00:00:00+00:00",
    elapsed_s=1.0,
    kernel=NotebookVersion(owner="ada", slug="final", version=1, file_name="s.csv", bundle="b", is_code=False),
)
TRUST = Trust(
    n_rows=3,
    n_columns=1,
    adversarial_auc=0.5,
    repeated_train_rows=0,
    contradicting_train_rows=0,
    test_rows_in_train=0,
    findings=[Finding("ok", "no single column tells more")],
)
QUALITY = ProbabilityQuality(log_loss=0.5, brier=0.2, expected_calibration_error=0.1)
RUN_REPORT = RunReport(
    run="fast-mlp-1",
    competition="toy",
    data="Kaggle: toy",
    is_sample=False,
    config=CONFIG,
    metric="rmse",
    cv_score=0.5,
    fold_scores=[0.4, 0.6, float("nan")],
    finished_at="2026-01-01T00:00:00+00:00",
    elapsed_s=1.0,
    device="cpu",
    fingerprint="f",
    made_of={"the features": "ab"},
    files=RunFiles(oof=FILE, test=FILE, history=None, model={"model.json": FILE}, final={}),
    folds_sha256="ab",
    git_commit="1234+",
    versions={"python": "3.12"},
    parts=[PartReport(scope="train", target_transform="none", n_epochs=None, feature_importance={"area": 1.0})],
    last_epoch_by_fold=[FoldEpoch(fold=0, train_score=0.4, valid_score=0.5)],
    classification=ClassificationReport(
        by_class=[ClassReport(label="yes", precision=1.0, recall=1.0, f1=1.0, support=3)],
        probabilities=ProbabilityReport(
            calibration="isotonic",
            temperature=None,
            before=QUALITY,
            after=QUALITY,
            reliability=[ReliabilityBin(low=0.5, high=1.0, rows=3, confidence=0.8, accuracy=0.7)],
            threshold=ThresholdReport(value=0.4, by_part=[0.3, 0.5], score_at_half=0.6, score_cross_fitted=0.7),
        ),
        adjustment=Adjustment(calibrator=Calibrator(kind="isotonic", steps=[([0.1, 0.9], [0.2, 0.8])]), threshold=0.4),
    ),
    trust=TRUST,
    ensemble=EnsembleReport(
        nested_score=0.5,
        method="linear",
        nested_scores={"linear": 0.5},
        members=[MemberReport(run="fast-mlp-1", label="mlp", weight=1.0, cv_score=0.5, elapsed_s=1.0)],
        without_weight=[],
        prune=0.02,
        without_prune=WithoutPrune(members=1, nested_score=0.5),
        given_up=[GivenUp(candidate="svm", why="it takes too long")],
        tuned={"mlp": CONFIG},
        minutes=1.0,
        spent_s=2.5,
    ),
)
SEEN = FoldsSeen(tuned_folds=0.5, fresh_folds=[0.6, float("nan")])
FRAME = pd.DataFrame({"area": [1.0, 2.0, 4.0], "town": ["a", "b", "a"]})
FITTED: dict[str, Any] = {
    "encoders": [fit_encoder("onehot", FeatureSteps(), {"area": "number", "town": "category"}, {}, FRAME)],
    "scalers": [TargetScaler(centre=[0.5], scale=[2.0])],
    "task": "regression",
    "target_transform": "log",
    "n_seeds": 2,
    "is_flat": True,
    "n_epochs": None,
}
COLUMNS = Columns(["area"], [["town=a", "town=b"]])
ARTIFACTS: list[Artifact] = [
    RUN_REPORT,
    DataCheck(fingerprint="f", trust=TRUST),
    Repeats(fingerprint="f", own=0.5, mean=0.5, sd=0.1, repeats=[Repeat(fold_seed=1, cv_score=0.5, fold_scores=[1])]),
    CheckpointMark(fingerprint="f"),
    TuningResult(
        study="mlp-1",
        n_trials=3,
        metric="rmse",
        cv_score=0.5,
        n_train_rows=3,
        is_of_all_rows=True,
        confirmation=Confirmation(
            default=SEEN, chosen=SEEN, candidates=[SEEN], lead_on_tuned_folds=0.1, lead_on_fresh_folds=float("nan")
        ),
        ensemble=EnsembleComparison(
            is_chosen=False,
            weights={"1": 1.0},
            selection_score=0.5,
            nested_score=0.5,
            single_nested_score=0.5,
            single_seeds=2,
            lead=0.1,
            lead_error=float("inf"),
        ),
        config=CONFIG,
        features="f",
        is_sample=False,
        written_at="2026-01-01T00:00:00+00:00",
    ),
    KaggleFacts(metric="RMSLE"),
    Place(rank=120, n_teams=300, awards_medals=True, asked_at="2026-01-02T03:04:05+00:00"),
    RawSource(source="Kaggle: toy", is_sample=False, fetched_at="2026-01-01", files={"train.csv": FILE}),
    PROVENANCE,
    FeatureManifest(
        competition="toy",
        is_sample=False,
        data="Kaggle: toy",
        fingerprint="f",
        made_of={"the fold file": "ab"},
        raw_files={"train.csv": FILE},
        files=FeatureFiles(train=FILE, test=FILE, train_rows=FILE, test_rows=FILE, sample_submission=FILE, folds=FILE),
        n_train_rows=3,
        n_test_rows=1,
        roles={"area": "number", "town": "category"},
        dtypes={"area": "float64", "town": "str"},
        recipes=[ColumnRecipe("area", "number", ["area"])],
        left_out={"empty": "all values are missing"},
        classes=["yes", 0, True, 1.5],
        n_folds=2,
        rows_by_fold=[2, 1],
        n_never_validated=0,
        notes=[],
        versions={"python": "3.12"},
    ),
    StoredArrayModel(**FITTED, params={"alpha": 1.0}, n_classes=0),
    StoredNetworks[MLP](**FITTED, network=MLP(2, (8, 4), 1, numbers=NumberEmbedding("plr", 1)), columns=COLUMNS),
    StoredNetworks[ConvNet](**FITTED, network=ConvNet(4, 4, (2, 3), 5, 1), columns=COLUMNS),
    PartialFileMarker(validator='"etag"', bytes=None),
    State(bundle="b", status="pushed", owner="ada", slug="final", version=1),
    SavedRun(
        parts=[SavedPart(config=CONFIG, n_splits=2), None],
        weights=[0.25, 0.75],
        metric="rmse",
        adjustment=Adjustment(calibrator=Calibrator(kind="temperature", temperature=1.5)),
    ),
    SavedEstimator(
        estimator="TabularRegressor",
        version="0.1",
        params={"preset": "fast"},
        names=["area"],
        n_features=1,
        recipes=[ColumnRecipe("area", "number", ["area"])],
        classes=["yes", 0, True, 1.5],
        classes_dtype="<U3",
        metric="rmse",
        cv_score=0.5,
        fold_scores=[0.4, float("nan")],
    ),
    OutputManifest(bundle="b", files={"submission.csv": FILE}, provenance=PROVENANCE, elapsed_s=1.0),
]
every_artifact = pytest.mark.parametrize("artifact", ARTIFACTS, ids=[type(one).__name__ for one in ARTIFACTS])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "artifact.json"


def refusal(artifact: Artifact, path: Path, content: bytes | Any) -> str:
    """What reading `content` as the artifact's type says; the file is named."""
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(ArtifactError) as caught:
        type(artifact).read(path)
    assert caught.value.where == str(path)
    assert caught.value.hint, "it does not say what to do"
    return caught.value.message


def unreadable(artifact: Artifact, path: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        type(artifact).read(path)
    return caught.value.message


@every_artifact
def test_what_was_written_is_read_back(artifact: Artifact, path: Path) -> None:
    artifact.write(path)
    assert type(artifact).read(path).model_dump(mode="json") == artifact.model_dump(mode="json")
    assert json.loads(path.read_bytes())["format"] == type(artifact).model_fields["format"].default


@every_artifact
def test_a_broken_file_is_refused(artifact: Artifact, path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        type(artifact).read(path)
    artifact.write(path)
    whole = path.read_bytes()
    assert "is empty" in refusal(artifact, path, b"")
    assert "Is a directory" in unreadable(artifact, path.parent)
    for broken in (whole[: len(whole) // 2], b"\xff\xfe nonsense", b"[" * 100_000, whole.replace(b"1", b"NaN")):
        assert "not a complete JSON file" in refusal(artifact, path, broken)
    now = type(artifact).model_fields["format"].default
    for foreign in ([1, 2], "text", {}, {"format": now, "other": 2}):
        assert "of this version" in refusal(artifact, path, foreign)


@every_artifact
def test_another_format_is_refused(artifact: Artifact, path: Path) -> None:
    artifact.write(path)
    raw = json.loads(path.read_bytes())
    now = raw["format"]
    for other in (str(now), True, None):
        assert f"its format is {other!r}, not {now}" in refusal(artifact, path, raw | {"format": other})
    older = refusal(artifact, path, raw | {"format": now - 1})
    assert f"was made by an older version of this program (format {now - 1}, now {now})" in older
    newer = refusal(artifact, path, raw | {"format": now + 1, "surplus": 1})
    assert f"was made by a newer version of this program (format {now + 1}; this version reads {now})" in newer
    assert "Update the program" in newer
    with pytest.raises(NewerFormatError):  # it would be overwritten
        type(artifact).read_or_none(path, otherwise="it is made again")
    assert type(artifact).read_or_none(path, otherwise="it is skipped", may_be_newer=True) is None


@every_artifact
def test_a_changed_value_is_noticed(artifact: Artifact, path: Path) -> None:
    artifact.write(path)
    whole = path.read_text()
    for old, new in (("0.5", "0.7"), ("toy", "toi"), ('"f"', '"g"'), ("false", "true ")):
        if old in whole:
            assert "was changed after it was written" in refusal(artifact, path, whole.replace(old, new, 1).encode())
    raw = json.loads(whole)
    del raw["checksum"]
    path.write_text(json.dumps(raw))
    assert type(artifact).read(path) == type(artifact).read(path)


@every_artifact
def test_a_missing_and_an_unknown_key_are_named(artifact: Artifact, path: Path) -> None:
    artifact.write(path)
    whole = json.loads(path.read_bytes())
    for name in whole:
        without = {key: value for key, value in whole.items() if key != name}
        if name == "checksum":  # as an earlier version wrote it
            path.write_text(json.dumps(without))
            assert type(artifact).read(path).model_dump(mode="json") == artifact.model_dump(mode="json")
        else:
            expected = f"missing key '{name}'" if name != "format" else "no key 'format'"
            assert expected in refusal(artifact, path, without)
    assert "unknown key 'surplus'" in refusal(artifact, path, whole | {"surplus": 1})


@every_artifact
def test_a_value_of_another_type_is_named(artifact: Artifact, path: Path) -> None:
    artifact.write(path)
    whole = json.loads(path.read_bytes())
    for name in whole.keys() - {"format"}:
        assert name in refusal(artifact, path, whole | {name: [{"surplus": 1}]})


def test_a_default_deep_inside_does_not_replace_a_missing_key(path: Path) -> None:
    PROVENANCE.write(path)
    raw = json.loads(path.read_bytes())
    del raw["config"]["features"]["rare_min_count"]
    assert "missing key 'config.features.rare_min_count'" in refusal(PROVENANCE, path, raw)


def test_read_or_none_says_what_is_done_instead(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert RawSource.read_or_none(path, otherwise="it is made again") is None
    assert capsys.readouterr().err == ""
    path.parent.mkdir()
    path.write_text("{}")
    assert RawSource.read_or_none(path, otherwise="it is made again") is None
    said = " ".join(capsys.readouterr().err.split())
    assert "has no key 'format'; it is made again" in said
