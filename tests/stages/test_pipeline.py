"""The laws, on a whole competition through the real command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipeline.base import files
from pipeline.base.interruption import Stopped
from pipeline.competition.dependencies import run_name
from pipeline.config.records import Provenance
from pipeline.config.run_report import RunReport
from pipeline.config.spec import load_spec
from pipeline.metrics import METRICS
from pipeline.models.run_configuration import load_run_config
from pipeline.scoring.cross_validation import scores_of
from tests.conftest import TINY, Toy


@pytest.mark.slow
def test_one_command_makes_everything_and_its_last_line_names_the_submission(toy: Toy) -> None:
    result = toy.submit()
    score = RunReport.read(toy.only_run().report).cv_score
    assert result.stdout.splitlines()[-1] == f"submission: {toy.submission()}  cv log_rmse {score:.5f}"
    assert "no Kaggle credentials" in result.stderr
    submission = pd.read_csv(toy.submission())
    assert list(submission.columns) == ["id", "price"]
    assert submission["id"].tolist() == list(range(65, 85))
    assert (submission["price"] > 0).all()


def test_cv_score_is_the_metric_of_the_stored_oof_file_exactly(toy: Toy) -> None:
    toy.submit()
    run = toy.only_run()
    report, oof = RunReport.read(run.report), files.read_parquet(run.oof)
    price = oof["target_0"].to_numpy()
    by_hand = np.sqrt(np.mean((np.log(np.maximum(oof["prediction_0"].to_numpy(), 1.0)) - np.log(price)) ** 2))
    assert report.cv_score == by_hand
    assert scores_of(oof, METRICS["log_rmse"]) == (report.cv_score, report.fold_scores)
    assert oof["prediction_0"].notna().all()


def test_a_submission_names_its_run_config_inputs_and_versions(toy: Toy) -> None:
    toy.submit()
    provenance = Provenance.read(toy.submission().with_suffix(".json"))
    assert provenance.run == toy.only_run().name
    assert provenance.sha256 == files.sha256_of(toy.submission())
    assert provenance.raw_files["train.csv"] == files.sha256_of(toy.workspace.raw / "train.csv")
    assert provenance.config.params["epochs"] == 3
    assert {"torch", "python"} <= provenance.versions.keys()
    assert provenance.git_commit == files.git_commit(toy.workspace.root)


def test_the_feature_function_runs_once_for_each_table(toy: Toy, tmp_path: Path) -> None:
    """Training, report and refit of an ensemble share the tables it made; `predict` has rows of its own."""
    calls = tmp_path / "calls.txt"
    (toy.workspace.folder / "feature_function.py").write_text(
        "def add_features(frame):\n"
        f"    with open({str(calls)!r}, 'a') as file:\n"
        "        print(len(frame), file=file)\n"
        "    return frame.assign(area_squared=frame['area'] ** 2)\n"
    )
    toy.edit_spec('id = "id"', 'id = "id"\nfeature_function = "feature_function.py"')
    preset = tmp_path / "both.toml"
    preset.write_text(
        'model = "mlp"\nfinal = "refit"\n'
        '[[parts]]\nmodel = "ridge"\n[parts.features]\nfeature_function = true\n'
        '[[parts]]\nmodel = "lasso"\n[parts.features]\nfeature_function = true\nmissing_indicators = true\n'
    )
    result = toy.run("submit", "--preset", str(preset), "--workers", "1")
    assert result.exit_code == 0, result.output
    whole = [n for n in calls.read_text().split() if n not in ("1", "32")]  # parts and single rows are a check
    assert whole == ["64", "20"]
    result = toy.run("predict", toy.only_run().name, str(toy.workspace.raw / "test.csv"))
    assert result.exit_code == 0, result.output
    assert [n for n in calls.read_text().split() if n not in ("1", "32")] == ["64", "20", "20"]


def test_runs_before_and_after_an_edit_of_the_feature_function_stand_side_by_side(toy: Toy) -> None:
    path = toy.workspace.folder / "feature_function.py"
    used, unused = load_run_config("seed-linear", model="ridge"), load_run_config("seed-linear", model="baseline")
    unused = unused.model_copy(update={"features": unused.features.model_copy(update={"feature_function": False})})
    used = used.model_copy(update={"features": used.features.model_copy(update={"feature_function": True})})

    def names() -> tuple[str, str]:
        spec = load_spec(toy.workspace.spec)
        return run_name(toy.workspace, spec, used), run_name(toy.workspace, spec, unused)

    assert names() == (used.run_name, unused.run_name)  # no feature function
    toy.edit_spec('id = "id"', 'id = "id"\nfeature_function = "feature_function.py"')
    path.write_text("def add_features(frame):\n    return frame.assign(twice=frame['area'] * 2)\n")
    first = names()
    path.write_text("def add_features(frame):\n    return frame.assign(square=frame['area'] ** 2)\n")
    second = names()
    assert first[1] == second[1] == unused.run_name
    assert len({first[0], second[0], used.run_name}) == 3
    options = ("--preset", "seed-linear", "--model", "ridge", "--set", "features.feature_function=true")
    assert toy.run("train", *options).exit_code == 0
    path.write_text("def add_features(frame):\n    return frame.assign(twice=frame['area'] * 2)\n")
    result = toy.run("train", *options)
    assert result.exit_code == 0, result.output
    assert len(list(toy.workspace.runs.glob("*/report.json"))) == 2
    assert "nothing to do" in toy.run("train", *options).stderr


@pytest.mark.slow
def test_the_same_command_gives_the_same_bits(toy: Toy) -> None:
    toy.submit()
    first, oof = toy.submission().read_bytes(), files.read_parquet(toy.only_run().oof)
    toy.only_run().report.unlink()
    toy.submission().unlink()
    toy.submit()
    assert toy.submission().read_bytes() == first
    pd.testing.assert_frame_equal(files.read_parquet(toy.only_run().oof), oof, check_exact=True)


def test_a_rerun_repeats_nothing(toy: Toy) -> None:
    toy.submit()
    files = [path for path in toy.workspace.root.rglob("*") if path.is_file()]
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
    result = toy.submit()
    assert "nothing to do" in result.stderr
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before} == before


@pytest.mark.slow
def test_targets_of_a_fold_do_not_reach_its_own_predictions(toy: Toy) -> None:
    toy.submit()
    oof = files.read_parquet(toy.only_run().oof)
    held = oof.loc[oof["fold"] == 0, "id"]
    train = pd.read_csv(toy.workspace.raw / "train.csv")
    train.loc[train["id"].isin(held), "price"] *= 7.0
    toy.edit("train.csv", lambda _: train.to_csv(index=False))
    toy.submit()
    after = files.read_parquet(toy.only_run().oof)
    assert (after["fold"] == oof["fold"]).all()
    is_held = (oof["fold"] == 0).to_numpy()
    np.testing.assert_array_equal(after["prediction_0"][is_held], oof["prediction_0"][is_held])
    assert (after["prediction_0"][~is_held] != oof["prediction_0"][~is_held]).all()


@pytest.mark.slow
@pytest.mark.parametrize(("scope", "is_equal"), [("train", True), ("train+test", False)])
def test_test_rows_reach_training_only_when_the_scope_says_so(toy: Toy, scope: str, is_equal: bool) -> None:
    toy.submit("--set", f"scope={scope}")
    before = files.read_parquet(toy.only_run().oof)["prediction_0"]
    test = pd.read_csv(toy.workspace.raw / "test.csv")
    toy.edit("test.csv", lambda _: test.assign(area=test["area"] * 3 + 500).to_csv(index=False))
    toy.submit("--set", f"scope={scope}")
    after = files.read_parquet(toy.only_run().oof)["prediction_0"]
    assert before.equals(after) == is_equal
    assert [part.scope for part in RunReport.read(toy.only_run().report).parts] == [scope]


@pytest.mark.slow
def test_rows_are_matched_by_id_not_by_order(toy: Toy) -> None:
    toy.submit()
    expected = pd.read_csv(toy.submission()).set_index("id")["price"]
    sample = pd.read_csv(toy.workspace.raw / "sample_submission.csv")
    toy.edit("sample_submission.csv", lambda _: sample.sample(frac=1.0, random_state=1).to_csv(index=False))
    toy.submit()
    submission = pd.read_csv(toy.submission())
    assert submission["id"].tolist() != expected.index.tolist()
    np.testing.assert_array_equal(submission["price"], expected.loc[submission["id"]])


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_same_bits(toy: Toy) -> None:
    """Killed for good (no clean-up) in the middle of training; the rerun goes on from the checkpoint."""
    toy.submit("--set", "dropout=0.3")
    expected = toy.submission().read_bytes()
    run = toy.only_run()
    run.report.unlink()
    toy.submission().unlink()
    script = f"""
import os, sys
from pipeline.nets import training
training.CHECKPOINT_EVERY_S = -1.0
train_epoch = training._Pack.train_epoch
def dies_in_epoch_3(pack):
    if pack.epoch == 2:
        os._exit(9)
    train_epoch(pack)
training._Pack.train_epoch = dies_in_epoch_3
sys.argv = ["pipeline", "submit", "-c", "toy", "--root", {str(toy.workspace.root)!r}, "--set", "dropout=0.3", *{TINY!r}]
from pipeline.cli import main
main()
"""
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert killed.returncode == 9, killed.stderr
    assert list(run.checkpoints.glob("*.safetensors"))
    assert not run.report.exists()
    result = toy.submit("--set", "dropout=0.3")
    assert "resuming the unfinished" in result.stderr
    assert toy.submission().read_bytes() == expected
    assert not run.checkpoints.exists()


def test_finished_packs_are_not_trained_again(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.nets import training, workers

    monkeypatch.setattr(workers, "MAX_PACK", 2)  # 8 members: 4 packs of 3 epochs, one after the other
    train_epoch = training._Pack.train_epoch
    n_trained = 0

    def interrupted_in_the_third_pack(pack: training._Pack) -> None:
        nonlocal n_trained
        if n_trained == 7:
            raise KeyboardInterrupt
        n_trained += 1
        train_epoch(pack)

    monkeypatch.setattr(training._Pack, "train_epoch", interrupted_in_the_third_pack)
    assert toy.run("submit", *TINY).exit_code == 130
    n_trained = -100
    toy.submit()
    assert n_trained + 100 == 6, "packs that were finished have trained again"


@pytest.mark.parametrize("error", [KeyboardInterrupt, Stopped])
def test_an_interrupt_ends_with_130_and_says_what_is_kept(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    from pipeline.nets import training

    def interrupt(_: training._Pack) -> None:
        raise error

    monkeypatch.setattr(training._Pack, "train_epoch", interrupt)
    result = toy.run("submit", *TINY)
    assert result.exit_code == 130
    assert "the same command continues" in result.stderr


@pytest.mark.slow
def test_refit_trains_on_all_rows_and_predicts_with_what_it_kept(toy: Toy, tmp_path: Path) -> None:
    toy.submit("--set", "final=refit")
    run = toy.only_run()
    assert (run.final_model / "weights.safetensors").exists()
    output = tmp_path / "again.csv"
    args = [str(toy.workspace.raw / "test.csv"), "--output", str(output)]
    result = toy.run("predict", run.name, *args)
    assert result.exit_code == 0, result.output
    again, submission = pd.read_csv(output), pd.read_csv(toy.submission())
    pd.testing.assert_frame_equal(again, submission)
    assert not (run.path / "final_checkpoints").exists()
    toy.submit("--set", "final=average")  # the same run, another submission: `predict` follows it
    assert toy.run("predict", run.name, *args).exit_code == 0
    averaged = pd.read_csv(output)
    assert not averaged["price"].equals(again["price"])
    np.testing.assert_allclose(averaged["price"], pd.read_csv(toy.submission())["price"], rtol=1e-6)


def test_predict_on_train_like_rows_needs_no_target_and_keeps_ids(toy: Toy, tmp_path: Path) -> None:
    toy.submit()
    rows = tmp_path / "new.csv"
    pd.read_csv(toy.workspace.raw / "test.csv").iloc[[3, 1]].to_csv(rows, index=False)
    result = toy.run("predict", toy.only_run().name, str(rows))
    assert result.exit_code == 0, result.output
    made = pd.read_csv(result.stdout.split("predictions: ")[1].strip())
    submission = pd.read_csv(toy.submission()).set_index("id")
    assert made["id"].tolist() == [68, 66]
    np.testing.assert_allclose(made["price"], submission.loc[[68, 66], "price"], rtol=1e-6)


@pytest.mark.slow
def test_runs_lists_every_run_best_first(toy: Toy) -> None:
    toy.submit()
    toy.submit("--model", "linear")
    result = toy.run("runs")
    assert result.exit_code == 0
    scores = [RunReport.read(p).cv_score for p in toy.workspace.runs.glob("*/report.json")]
    names = [line.split()[1] for line in result.stdout.splitlines() if "fast-" in line]
    assert len(names) == 2
    by_score = sorted(toy.workspace.runs.glob("*/report.json"), key=lambda p: RunReport.read(p).cv_score)
    assert names == [path.parent.name for path in by_score]
    assert f"{min(scores):.5g}" in result.stdout


def test_the_metric_of_a_time_split_never_sees_the_first_block(toy: Toy) -> None:
    toy.edit_spec('kind = "shuffled"\nnumber = 4', 'kind = "time"\ntime = "year"\nnumber = 3')
    result = toy.submit()
    oof = files.read_parquet(toy.only_run().oof)
    assert oof.loc[oof["fold"] == -1, "prediction_0"].isna().all()
    assert oof.loc[oof["fold"] >= 0, "prediction_0"].notna().all()
    assert "final: refit" in result.stderr


def test_the_model_file_holds_no_pickle(toy: Toy) -> None:
    toy.submit()
    suffixes = {path.suffix for path in toy.workspace.root.rglob("*") if path.is_file()}
    assert not suffixes & {".pkl", ".pickle", ".joblib", ".pt", ".pth"}


def test_run_names_follow_the_configuration_alone() -> None:
    config = load_run_config("fast", overrides=["lr=0.01"])
    assert config.run_name == load_run_config("fast", overrides=["params.lr=0.01"]).run_name
    assert config.run_name != load_run_config("fast", overrides=["lr=0.02"]).run_name


def test_multiclass_with_text_labels_comes_back_as_written(toy: Toy) -> None:
    train = pd.read_csv(toy.workspace.raw / "train.csv")
    labels = pd.cut(train["price"], 3, labels=["low", "mid", "high"]).astype(str)
    toy.edit("train.csv", lambda _: train.assign(price=labels).to_csv(index=False))
    toy.edit("sample_submission.csv", lambda text: text.replace("1000.0", "low"))
    toy.edit_spec('"regression"', '"multiclass"')
    toy.edit_spec('"log_rmse"', '"accuracy"')
    toy.edit_spec('target_transform = "log"', "")
    toy.edit_spec('"shuffled"', '"contiguous"')
    toy.submit()
    assert set(pd.read_csv(toy.submission())["price"]) <= {"low", "mid", "high"}
    oof = files.read_parquet(toy.only_run().oof)
    probability = oof[[f"prediction_{k}" for k in range(3)]].to_numpy()
    np.testing.assert_allclose(probability.sum(axis=1), 1.0, rtol=1e-6)


@pytest.mark.slow
def test_sample_data_is_marked_everywhere_and_never_uploaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.competition.workspace import Workspace

    repository = Path(__file__).parents[2]
    toy = Toy(Workspace(tmp_path, "digits"))
    files.write_text(toy.workspace.spec, (repository / "data/digits/competition.toml").read_text())
    monkeypatch.setenv("KAGGLE_API_TOKEN", "not-a-real-token")
    result = toy.submit()
    assert "SAMPLE DATA" in result.stdout
    assert "this is SAMPLE DATA, which is never sent to Kaggle" in result.stderr
    assert all("SAMPLE DATA" in line for line in result.stderr.splitlines() if line.startswith("train: "))
    assert "not-a-real-token" not in result.output
    assert RunReport.read(toy.only_run().report).is_sample is True
    assert Provenance.read(toy.submission().with_suffix(".json")).is_sample is True
    scored = toy.run("score", str(toy.submission()))
    assert scored.exit_code == 0
    assert "score: accuracy 0." in scored.stdout


@pytest.mark.slow
def test_real_files_replace_the_sample_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy: Toy) -> None:
    from pipeline.competition.workspace import Workspace

    house = Toy(Workspace(tmp_path / "house", "house-prices"))
    files.write_text(house.workspace.spec, toy.workspace.spec.read_text().replace("toy", "house-prices"))
    sample = house.run("data")
    assert "SAMPLE DATA" in sample.stderr
    (tmp_path / "given").mkdir()
    toy.workspace.raw.rename(tmp_path / "given" / "house-prices")
    monkeypatch.setenv("PIPELINE_DATA_DIR", str(tmp_path / "given"))
    real = house.submit()
    assert "replace the sample data" in real.stderr
    assert "SAMPLE DATA" not in real.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("token", "option", "words"),
    [
        ("", "--upload", "no Kaggle credentials"),
        ("not-a-real-token", "--no-upload", "UPLOAD=0"),
    ],
)
def test_it_is_said_why_nothing_was_uploaded(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, token: str, option: str, words: str
) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", token)
    result = toy.submit(option)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("submit: ")]
    assert "nothing was uploaded" in line
    assert words in line
    assert "https://www.kaggle.com/competitions/toy/submit" in line
    assert "not-a-real-token" not in result.output


@pytest.mark.slow
def test_help_shows_every_command_without_importing_what_it_does_not_need() -> None:
    heavy = {"torch", "pandas", "numpy", "pydantic", "kaggle", "requests"}
    code = f"import sys; from pipeline.cli import app; assert not {heavy} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    shown = subprocess.run([sys.executable, "-m", "pipeline", "--help"], capture_output=True, text=True)
    assert shown.returncode == 0
    for command in (
        "init",
        "data",
        "features",
        "train",
        "final",
        "submit",
        "runs",
        "predict",
        "score",
        "doctor",
        "leaderboard",
    ):
        assert command in shown.stdout


def test_the_history_has_every_epoch_in_eval_mode(toy: Toy) -> None:
    toy.submit("--set", "evaluate_every=1")
    history = files.read_parquet(toy.only_run().history)
    assert sorted(history["epoch"].unique()) == [1, 2, 3]
    assert len(history) == 3 * 4 * 2
    folder = toy.only_run().path / "tensorboard"
    assert sorted(path.name for path in folder.glob("seed-*")) == ["seed-0", "seed-1"]
    for place in (folder / "seed-0", folder / "seed-1", folder):
        rows = history if place == folder else history[history["seed"] == int(place.name[-1])]
        expected = rows[rows["split"] == 3].groupby("epoch")["valid_score"].mean()
        shown = curve(place, "valid/fold_3")
        assert list(shown) == list(expected.index)
        assert [*shown.values()] == pytest.approx([*expected], rel=1e-6)


def curve(folder: Path, tag: str) -> dict[int, float]:
    """Step -> value in the folder's one event file."""
    (events,) = folder.glob("events.*")
    shown = EventAccumulator(str(events)).Reload()  # type: ignore[no-untyped-call]
    return {point.step: point.value for point in shown.Scalars(tag)}


def test_a_report_is_json_without_nan(toy: Toy) -> None:
    toy.submit()

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is no JSON")

    json.loads(toy.only_run().report.read_text(), parse_constant=refuse)


@pytest.mark.slow
def test_a_run_of_different_models_is_their_weighted_average(toy: Toy, tmp_path: Path) -> None:
    small = "params = { hidden_sizes = [8], epochs = 3 }\nfeatures = { rare_min_count = 3 }"
    linear = "params = { epochs = 3 }"
    preset = {"a": f'model = "mlp"\n{small}\n', "b": f'model = "linear"\n{linear}\n'}
    preset["both"] = f'model = "mlp"\n[[parts]]\nweight = 3\n{preset["a"]}[[parts]]\n{preset["b"]}'
    oofs, tests, scores = {}, {}, {}
    for name, text in preset.items():
        path = tmp_path / f"{name}.toml"
        path.write_text(text)
        result = toy.run("train", "--preset", str(path), "--workers", "1", "--device", "cpu")
        assert result.exit_code == 0, result.output
        run = toy.workspace.run(Path(result.stdout.split("run: ")[1].strip()).name)
        oofs[name] = files.read_parquet(run.oof)["prediction_0"].to_numpy()
        tests[name] = files.read_parquet(run.test)["prediction_0"].to_numpy()
        scores[name] = RunReport.read(run.report).cv_score
        assert scores[name] == METRICS["log_rmse"](toy.store().target, oofs[name])
    for parts in (oofs, tests):
        by_hand = np.exp(0.75 * np.log(parts["a"]) + 0.25 * np.log(parts["b"]))
        np.testing.assert_allclose(parts["both"], by_hand, rtol=1e-12)
