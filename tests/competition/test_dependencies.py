"""What each artifact depends on, and on nothing else: changes that must count, and changes that must not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.base import files
from pipeline.base.errors import ArtifactError
from pipeline.competition import dependencies
from pipeline.config.records import Provenance, TuningResult
from pipeline.config.run_report import RunReport
from pipeline.config.spec import CompetitionSpec, load_spec
from pipeline.models.run_configuration import load_run_config
from tests.conftest import Toy

RIDGE = ["--preset", "fast", "--model", "ridge", "--workers", "1", "--device", "cpu"]
TRAINED, FINISHED = "train: cv", "nothing to do"


def submit(toy: Toy, *options: str) -> str:
    """A quick `submit`, which must succeed, and all that it said on one line."""
    result = toy.run("submit", *RIDGE, "--no-upload", *options)
    assert result.exit_code == 0, result.output
    return " ".join(result.stderr.split())


def write_folds(toy: Toy, n_folds: int, header: str = "id,fold") -> None:
    lines = [header, *(f"{i + 1},{i % n_folds}" for i in range(64))]
    (toy.workspace.folder / "folds.csv").write_text("\n".join(lines))


def use_fold_file(toy: Toy) -> None:
    write_folds(toy, 4)
    toy.edit_spec('kind = "shuffled"\nnumber = 4', 'kind = "file"\nfile = "folds.csv"')


def use_feature_function(toy: Toy) -> Path:
    path = toy.workspace.folder / "feature_function.py"
    path.write_text("def add_features(frame):\n    return frame.assign(twice=frame['area'] * 2)\n")
    toy.edit_spec('id = "id"', 'id = "id"\nfeature_function = "feature_function.py"')
    return path


def tune_ridge(toy: Toy) -> None:
    toy.edit_spec("number = 4", 'number = 4\n[tune.ridge."features.log1p_skewed"]\nchoices = [0.5, 9.0]')
    tuned = toy.run("tune", "--model", "ridge", "--trials", "1", "--workers", "1")
    assert tuned.exit_code == 0, tuned.output


def test_every_key_of_a_spec_has_its_place() -> None:
    """A new key is an input of the features unless it is listed; a listed key exists."""
    assert CompetitionSpec.model_fields.keys() >= dependencies.NOT_OF_FEATURES
    assert CompetitionSpec.model_fields.keys() >= {*dependencies.OF_RUNS, *dependencies.OF_SUBMISSIONS}
    later = dependencies.NOT_OF_FEATURES - dependencies.NO_INPUT - dependencies.STUDY_ONLY
    assert later == {"files", "feature_function", *dependencies.RUN_ONLY}


UNIMPORTANT: dict[str, Callable[[Toy], None]] = {
    "the slug": lambda toy: toy.edit_spec('kaggle_slug = "toy"', 'kaggle_slug = "toy-2024"'),
    "the name": lambda toy: toy.edit_spec('name = "toy"', 'name = "Toy"'),
    "a comment": lambda toy: toy.edit_spec('id = "id"', '# the id\nid   =   "id"'),
    "a default that is spelt out": lambda toy: toy.edit_spec("number = 4", "number = 4\nbins = 10"),
    "a search space": lambda toy: toy.edit_spec("number = 4", "number = 4\n[tune.ridge.alpha]\nlow = 0.1\nhigh = 0.2"),
    "the name of a raw file": lambda toy: _rename_train(toy),
    "line ends of the fold file": lambda toy: write_folds(toy, 4, "id,fold\r"),
}


def _rename_train(toy: Toy) -> None:
    (toy.workspace.raw / "train2.csv").write_bytes((toy.workspace.raw / "train.csv").read_bytes())
    toy.edit_spec("number = 4", 'number = 4\n[files]\ntrain = "train2.csv"')


@pytest.mark.parametrize("change", UNIMPORTANT.values(), ids=UNIMPORTANT)
def test_what_no_run_reads_trains_nothing(toy: Toy, change: Callable[[Toy], None]) -> None:
    write_folds(toy, 4)
    submit(toy)
    submission = toy.submission().read_bytes()
    change(toy)
    said = submit(toy)
    assert FINISHED in said
    assert TRAINED not in said
    assert toy.submission().read_bytes() == submission


def test_other_folds_in_the_fold_file_are_other_folds(toy: Toy) -> None:
    use_fold_file(toy)
    submit(toy)
    first = RunReport.read(toy.only_run().report)
    write_folds(toy, 3)
    said = submit(toy)
    assert "the fold file changed; the features are built again" in said
    assert "the features changed" in said
    second = RunReport.read(toy.only_run().report)
    np.testing.assert_array_equal(toy.store().fold_of_row, np.arange(64) % 3)
    assert (len(first.fold_scores), len(second.fold_scores)) == (4, 3)
    assert second.cv_score != first.cv_score


def test_another_order_of_the_fold_file_is_built_but_not_trained(toy: Toy) -> None:
    use_fold_file(toy)
    submit(toy)
    path = toy.workspace.folder / "folds.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(rows)]))
    said = submit(toy)
    assert "the fold file changed" in said
    assert FINISHED in said


def test_a_fold_file_that_is_a_folder_is_refused(toy: Toy) -> None:
    toy.edit_spec('kind = "shuffled"\nnumber = 4', 'kind = "file"\nfile = "raw"')
    refused = toy.run("features")
    assert refused.exit_code == 2
    assert "the fold file does not exist" in refused.stderr


def test_a_raw_file_that_came_later_is_watched(toy: Toy) -> None:
    submit(toy)
    _rename_train(toy)
    assert FINISHED in submit(toy)
    path = toy.workspace.raw / "train2.csv"
    path.write_text(path.read_text().replace("north", "south"))
    said = submit(toy)
    assert "the train file changed" in said
    assert TRAINED in said
    raw_files = Provenance.read(toy.submission().with_suffix(".json")).raw_files
    assert raw_files["train2.csv"] == files.sha256_of(path)


def test_the_form_of_the_submission_concerns_the_submission_alone(toy: Toy) -> None:
    submit(toy)
    toy.edit("sample_submission.csv", lambda text: "\n".join([text.split()[0], *reversed(text.split()[1:])]))
    said = submit(toy)
    assert FINISHED in said
    assert "is up to date" not in said
    assert pd.read_csv(toy.submission())["id"].tolist() == list(range(84, 64, -1))


def test_the_text_of_the_feature_function_counts_where_it_is_used(toy: Toy) -> None:
    path = use_feature_function(toy)
    submit(toy)
    submit(toy, "--set", "features.feature_function=false")
    path.write_text(path.read_text().replace("* 2", "* 3"))
    said = submit(toy)
    assert TRAINED in said
    assert len(list(toy.workspace.runs.glob("*/report.json"))) == 3  # the run of the old text stands
    assert FINISHED in submit(toy, "--set", "features.feature_function=false")


def test_a_metric_file_counts(toy: Toy) -> None:
    """Whatever a metric of one's own is called, its text is an input of every run."""
    assert toy.run("features").exit_code == 0
    store, path = toy.store(), toy.workspace.folder / "metric.py"
    spec = store.spec.model_copy(update={"metric": "metric.py:score"})
    seen = []
    for text in ("1", "2"):
        path.write_text(text)
        seen.append(dependencies.of_data(store.workspace, spec, store.manifest)["the metric file"])
    assert None not in seen
    assert seen[0] != seen[1]


@pytest.mark.parametrize("is_missing", [False, True])
@pytest.mark.parametrize(
    "name", ["train.parquet", "test.parquet", "train_rows.parquet", "test_rows.parquet", "sample_submission.parquet"]
)
def test_a_broken_features_file_is_built_again(toy: Toy, name: str, is_missing: bool) -> None:
    assert toy.run("features").exit_code == 0
    path = toy.workspace.features / name
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    if is_missing:
        path.unlink()
    said = submit(toy)
    assert "the features are built again" in said
    assert path.read_bytes() == whole


def test_changed_folds_are_found(toy: Toy) -> None:
    """A valid file with other folds than those that were assigned, which no format check can find."""
    submit(toy)
    path = toy.workspace.features / "folds.npy"
    folds = files.read_npy(path)
    files.write_npy(path, folds[::-1].copy())
    with pytest.raises(ArtifactError, match="was changed after it was written"):
        _ = toy.store().fold_of_row
    said = submit(toy)
    assert f"{path} was changed after it was written; the features are built again" in said
    assert FINISHED in said
    np.testing.assert_array_equal(files.read_npy(path), folds)


@pytest.mark.parametrize("name", ["oof.parquet", "test.parquet", "model/model.json"])
@pytest.mark.parametrize("damage", ["cut", "missing", "changed"])
def test_a_broken_file_of_a_run_is_trained_again(toy: Toy, name: str, damage: str) -> None:
    submit(toy)
    path, submission = toy.only_run().path / name, toy.submission()
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(whole[:50] if damage == "cut" else bytes([whole[0] ^ 1, *whole[1:]]))
    if name.startswith("model") and damage == "changed":  # its content is read by `predict` alone
        refused = toy.run("predict", toy.only_run().name, str(toy.workspace.raw / "test.csv"))
        assert refused.exit_code == 2
        assert "model.json was changed after it was written" in " ".join(refused.stderr.split())
        return
    submission.unlink()
    assert "is trained again" in submit(toy)
    assert path.read_bytes() == whole
    assert submission.exists()


def test_a_run_predicts_with_its_own_features_only(toy: Toy) -> None:
    path = use_feature_function(toy)
    submit(toy)
    run, rows = toy.only_run().name, str(toy.workspace.raw / "test.csv")
    assert toy.run("predict", run, rows).exit_code == 0
    text = path.read_text()
    path.write_text(text.replace("* 2", "* 3"))
    refused = toy.run("predict", run, rows)
    assert refused.exit_code == 2
    assert "the feature function changed after the run was trained" in refused.stderr
    path.write_text(text)
    header = toy.workspace.root / "header.csv"
    header.write_text((toy.workspace.raw / "test.csv").read_text().split("\n")[0] + "\n")
    refused = toy.run("predict", run, str(header))
    assert refused.exit_code == 2
    assert "header.csv: has no rows" in refused.stderr
    toy.edit_spec("number = 4", "number = 3")
    refused = toy.run("predict", run, rows)
    assert refused.exit_code == 2
    assert "folds in the spec changed after the features were built" in refused.stderr
    assert toy.run("features").exit_code == 0
    refused = toy.run("predict", run, rows)
    assert refused.exit_code == 2
    assert "the features changed after the run was trained" in refused.stderr


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("frame['area'] * 2", ""),
        ("frame['area'] / frame['area'].mean()", "the values of 'made' in a row depend on the other rows"),
        ("np.random.default_rng().random(len(frame))", "the values of 'made' in a row depend on the other rows"),
        ("pd.qcut(frame['year'], 4)", "a row alone cannot be computed: add_features failed: ValueError"),
        ("frame['town'].fillna('none') + '!'", ""),
    ],
)
def test_a_feature_function_that_needs_other_rows_is_found(toy: Toy, expression: str, words: str) -> None:
    path = use_feature_function(toy)
    path.write_text(
        "import numpy as np\nimport pandas as pd\n"
        f"def add_features(frame):\n    return frame.assign(made={expression})\n"
    )
    said = submit(toy)
    assert words in said
    assert ("test and new rows may get other values" in said) == bool(words)


def test_features_of_another_version_are_built_again(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(toy)
    monkeypatch.setattr(dependencies, "VERSION", "99.0")
    said = submit(toy)
    assert "the version of the pipeline changed; the features are built again" in said
    assert "the version of the pipeline changed; fast-ridge" in said


def test_auto_is_decided_by_the_features_of_now(toy: Toy) -> None:
    """The same command twice, after an edit of the spec, gives the same run."""
    tune_ridge(toy)
    trained = [toy.run("train", "--model", "ridge", "--workers", "1")]
    assert "preset: tuned" in trained[0].stderr
    toy.edit_spec("number = 4", "number = 3")
    trained += [toy.run("train", "--model", "ridge", "--workers", "1") for _ in range(2)]
    assert "the tuning result of ridge is of other features" in " ".join(trained[1].stderr.split())
    assert trained[1].stdout == trained[2].stdout != trained[0].stdout
    best = TuningResult.read(toy.workspace.tuning("ridge") / "best.json")
    assert best.features != toy.store().data_fingerprint(best.config)


def test_a_tuned_model_is_named_where_another_is_asked_for(toy: Toy) -> None:
    tune_ridge(toy)
    said = toy.run("train", "--model", "lasso", "--workers", "1").stderr
    assert "no tuning result for lasso; ridge is tuned: --model ridge" in " ".join(said.split())


def test_a_tuned_configuration_that_is_asked_for_is_used_with_a_word(toy: Toy) -> None:
    tune_ridge(toy)
    asked = ["train", "--preset", "tuned", "--model", "ridge", "--workers", "1"]
    assert "on other features" not in toy.run(*asked).stderr
    toy.edit_spec("number = 4", "number = 3")
    result = toy.run(*asked)
    assert result.exit_code == 0
    assert "preset: tuned (on other features than the present ones" in " ".join(result.stderr.split())


def test_runs_on_other_rows_or_by_another_metric_are_not_compared_silently(toy: Toy) -> None:
    submit(toy)
    first = toy.only_run().name
    toy.edit("train.csv", lambda text: text.replace("north", "east"))
    submit(toy, "--set", "alpha=2")
    (second,) = {path.name for path in toy.workspace.runs.iterdir()} - {first}
    compared = toy.run("compare", first, second)
    assert compared.exit_code == 0
    assert "the runs differ in more than the configuration: the features" in " ".join(compared.stdout.split())
    toy.edit_spec('"log_rmse"', '"rmse"')
    submit(toy, "--set", "alpha=2")
    refused = toy.run("compare", first, second)
    assert refused.exit_code == 2
    assert "the two runs were scored by log_rmse and rmse" in " ".join(refused.stderr.split())


def test_runs_of_other_features_are_marked_in_the_list(toy: Toy) -> None:
    submit(toy)
    toy.edit_spec("number = 4", "number = 3")
    submit(toy, "--set", "alpha=2")
    listed = [line for line in toy.run("runs").stdout.splitlines() if "fast-ridge" in line]
    assert sorted(" other " in line for line in listed) == [False, True]


def test_studies_and_runs_share_their_inputs(toy: Toy) -> None:
    assert toy.run("features").exit_code == 0
    store, config = toy.store(), load_run_config("fast", model="ridge")
    study = dependencies.of_study("toy", "ridge", store.inputs(config), {}, None)
    assert store.inputs(config).items() <= study.items()
    assert load_spec(toy.workspace.spec) == store.spec
