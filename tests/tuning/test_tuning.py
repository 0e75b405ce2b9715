"""Laws of tuning: nothing finished is lost or repeated, a trial is the run it names, the rest is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from filelock import FileLock

from pipeline.base import files
from pipeline.base.errors import SpecError
from pipeline.config.records import TuningResult
from pipeline.config.run_report import RunReport
from pipeline.config.search_space import SpaceEntry
from pipeline.metrics import METRICS
from pipeline.models.base import FitContext
from pipeline.models.registry import load_search_space
from pipeline.models.run_configuration import load_run_config
from pipeline.scoring.blending import blend
from pipeline.scoring.ensembling import Selection
from pipeline.tuning.confirmation import Confirmed, confirmed_choice
from pipeline.tuning.ownership import KILLED, Ownership
from pipeline.tuning.pruning import WilcoxonFoldPruner, note_fold_scores
from pipeline.tuning.session import open_tuning
from pipeline.tuning.study import default_values, finished_trials, open_study, suggest, values_of, with_values
from pipeline.tuning.tuner import Tuner, n_epochs
from tests.conftest import Toy

SPACE = """
[tune.mlp.hidden_sizes]
choices = [[8], [5], [4, 4]]

[tune.mlp.batch_size]
choices = [16, 32]

[tune.mlp.lr]
low = 1e-3
high = 1e-1
log = true
"""
FOREST_SPACE = """
[tune.random_forest.min_samples_leaf]
low = 1
high = 6
whole = true
"""
TUNE = ["--set", "epochs=4", "--set", "seeds=1", "--batch", "4", "--workers", "2", "--device", "cpu"]


@pytest.fixture
def tuned(toy: Toy) -> Toy:
    """A toy whose spec narrows the search space to tiny networks."""
    toy.workspace.spec.write_text(toy.workspace.spec.read_text() + SPACE)
    return toy


def space_of(toy: Toy) -> dict[str, SpaceEntry]:
    return load_search_space("mlp", toy.store().spec.task, toy.store().spec.tune["mlp"])


def study_of(toy: Toy) -> optuna.Study:
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(toy.workspace.tuning("mlp") / "study.log"))
    )
    (summary,) = optuna.get_all_study_summaries(storage)
    return optuna.load_study(study_name=summary.study_name, storage=storage)


def oof_path(toy: Toy, number: int) -> Path:
    return toy.workspace.tuning("mlp") / "oof" / study_of(toy).study_name / f"{number}.npy"


@pytest.mark.slow
def test_tune_then_submit_uses_what_was_found(tuned: Toy) -> None:
    result = tuned.run("tune", *TUNE, "--trials", "8", "--pruner", "none")
    assert result.exit_code == 0, result.output
    assert "on folds it has not seen" in result.stderr
    folder = tuned.workspace.tuning("mlp")
    best, trials = TuningResult.read(folder / "best.json"), files.read_parquet(folder / "trials.parquet")
    assert len(trials) == 8
    known = [*trials["cv_score"].nsmallest(5), best.confirmation.default.tuned_folds]
    assert best.cv_score in known
    assert '<section id="tuning"' in tuned.workspace.page.read_text()
    submitted = tuned.run("submit", "--workers", "1")
    assert submitted.exit_code == 0, submitted.output
    assert "preset: tuned" in submitted.stderr
    config = RunReport.read(tuned.only_run().report).config
    assert config.preset == "tuned"
    assert config.params["lr"] == best.config.params["lr"]


@pytest.mark.slow
def test_a_trials_score_is_that_of_the_run_with_its_parameters(tuned: Toy) -> None:
    """Trained in a pack with others or alone by `train`: the same number, and that of the out-of-fold file it keeps."""
    assert tuned.run("tune", *TUNE, "--trials", "5", "--pruner", "none").exit_code == 0
    study, target = study_of(tuned), tuned.store().target
    for trial in finished_trials(study)[1:3]:
        oof = files.read_npy(oof_path(tuned, trial.number))
        assert METRICS["log_rmse"](target, oof) == trial.value
        values = values_of(trial, space_of(tuned))
        options = [part for name, value in values.items() for part in ("--set", f"{name}={value}".replace("'", ""))]
        result = tuned.run("train", "--preset", "fast", "--set", "epochs=4", "--set", "seeds=1", *options)
        assert result.exit_code == 0, result.output
        run = tuned.workspace.run(Path(result.stdout.split("run: ")[1].strip()).name)
        assert RunReport.read(run.report).cv_score == pytest.approx(trial.value, rel=1e-4)


@pytest.mark.slow
def test_the_untuned_default_is_the_first_trial(tuned: Toy) -> None:
    config = load_run_config("fast")
    space = space_of(tuned) | {"lr": SpaceEntry(low=1e-3, high=1e-1)}
    values = default_values(config, space)
    assert values["lr"] == config.params["lr"]
    assert "hidden_sizes" not in values  # [256] is not among the toy's choices
    assert tuned.run("tune", *TUNE, "--trials", "2").exit_code == 0
    assert finished_trials(study_of(tuned))[0].params["lr"] == config.params["lr"]


@pytest.mark.slow
def test_a_second_call_goes_on_to_the_total(tuned: Toy) -> None:
    assert tuned.run("tune", *TUNE, "--trials", "4").exit_code == 0
    first = {t.number: t.params for t in finished_trials(study_of(tuned))}
    result = tuned.run("tune", *TUNE, "--trials", "7")
    assert "4 of 7 trials are finished" in result.stderr
    trials = finished_trials(study_of(tuned))
    assert len(trials) == 7
    assert {t.number: t.params for t in trials if t.number in first} == first
    assert "7 of 7 trials are finished" in tuned.run("tune", *TUNE, "--trials", "7").stderr


@pytest.mark.slow
def test_a_diverging_trial_fails_with_its_reason_and_stops_nothing(tuned: Toy) -> None:
    tuned.edit_spec("low = 1e-3\nhigh = 1e-1", "low = 1e-3\nhigh = 1e3")
    result = tuned.run(
        "tune", *TUNE, "--trials", "8", "--set", "optimizer=sgd", "--set", "epochs=30", "--pruner", "none"
    )
    assert result.exit_code == 0, result.output
    trials = pd.read_parquet(tuned.workspace.tuning("mlp") / "trials.parquet")
    failed = trials[trials["state"] == "fail"]
    assert 0 < len(failed) < 8
    assert failed["reason"].str.contains("not finite after epoch").all()
    assert failed["cv_score"].isna().all()


@pytest.mark.slow
def test_pruned_trials_leave_early_and_others_finish(tuned: Toy) -> None:
    result = tuned.run("tune", *TUNE, "--trials", "16", "--pruner", "halving", "--set", "epochs=16")
    assert result.exit_code == 0, result.output
    trials = finished_trials(study_of(tuned))
    states = [trial.state.name for trial in trials]
    assert states.count("PRUNED") > 0
    assert states.count("COMPLETE") > 0
    assert all(max(t.intermediate_values) < 16 for t in trials if t.state.name == "PRUNED")


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished_and_gives_the_rest_back(tuned: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.nets import training

    train_epoch, n_trained = training._Pack.train_epoch, 0

    def interrupted(pack: training._Pack) -> None:
        nonlocal n_trained
        n_trained += 1
        if n_trained > 30:
            raise KeyboardInterrupt
        train_epoch(pack)

    monkeypatch.setattr(training._Pack, "train_epoch", interrupted)
    result = tuned.run("tune", *TUNE, "--trials", "40", "--pruner", "none")
    assert result.exit_code == 130, result.output
    assert (tuned.workspace.tuning("mlp") / "best.json").exists()
    study = study_of(tuned)
    done = len(finished_trials(study))
    assert 0 < done < 40
    states = [trial.state.name for trial in study.trials]
    assert states.count("RUNNING") == 0
    given_back = [t for t in study.trials if t.user_attrs.get(KILLED)]
    assert states.count("WAITING") == len(given_back) == 4
    monkeypatch.undo()
    assert tuned.run("tune", *TUNE, "--trials", str(done + 4)).exit_code == 0
    again = {str(sorted(t.params.items())) for t in finished_trials(study_of(tuned))[done:]}
    assert again == {str(sorted(t.params.items())) for t in given_back}


def test_ctrl_c_while_the_ensemble_is_compared_keeps_the_confirmation(
    tuned: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.stages import tune as stage
    from pipeline.tuning import confirmation

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "ensemble_of_trials", interrupted)
    assert tuned.run("tune", *TUNE, "--trials", "4", "--pruner", "none").exit_code == 130
    path = tuned.workspace.tuning("mlp") / "best.json"
    confirmed = TuningResult.read(path).confirmation
    assert confirmed is not None
    known = pytest.fail
    monkeypatch.setattr(confirmation, "cross_validate_together", lambda *_, **__: known("a score is known already"))
    monkeypatch.setattr(stage, "ensemble_of_trials", lambda *_: None)
    assert tuned.run("tune", *TUNE, "--trials", "4", "--pruner", "none").exit_code == 0
    assert TuningResult.read(path).confirmation == confirmed


@pytest.mark.slow
def test_killed_again_and_again_it_loses_no_finished_trial_and_reaches_the_total(tuned: Toy) -> None:
    assert tuned.run("features").exit_code == 0
    where = ["--competition", "toy", "--root", str(tuned.workspace.root)]
    command = [sys.executable, "-m", "pipeline", "tune", *where, *TUNE, "--trials", "24", "--set", "epochs=40"]
    log = tuned.workspace.tuning("mlp") / "study.log"
    seen: dict[int, object] = {}
    for kill in range(3):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        size = log.stat().st_size if log.exists() else 0
        while process.poll() is None and (not log.exists() or log.stat().st_size < size + 3000 * (kill + 1)):
            time.sleep(0.02)  # until it has written so much more
        process.send_signal(signal.SIGKILL)
        process.wait()
        trials = {t.number: (t.value, t.params) for t in finished_trials(study_of(tuned))}
        assert {number: trials[number] for number in seen} == seen
        seen = dict(trials)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    study = study_of(tuned)
    trials = {t.number: (t.value, t.params) for t in finished_trials(study)}
    assert len(trials) == 24
    assert {number: trials[number] for number in seen} == seen
    assert not [t for t in study.trials if t.state.name in ("RUNNING", "WAITING")]


@pytest.mark.slow
def test_a_writer_that_was_killed_keeps_nobody_waiting(tmp_path: Path) -> None:
    """The journal's lock dies with its holder; optuna's own is broken after half a minute."""
    log = tmp_path / "study.log"

    def opened() -> optuna.Study:
        options: dict[str, Any] = {"sampler": "random", "pruner": "none", "epochs": 1, "seed": 0}
        return open_study(log, "study", metric=METRICS["rmse"], **options)[0]

    opened()
    guard = log.with_suffix(".guard")
    assert guard.exists()  # the journal is written under this lock, and under no other
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom pipeline.tuning.journal import JournalLock\n"
        "JournalLock(Path(sys.argv[1])).acquire()\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    died = subprocess.run([sys.executable, "-c", code, str(guard)], capture_output=True)
    assert died.returncode == -signal.SIGKILL
    with FileLock(guard, timeout=0):  # raises when it is held
        pass
    opened().ask()
    assert not list(tmp_path.glob("*.lock"))


@pytest.mark.slow
def test_two_processes_share_a_study_without_repeating_each_other(tuned: Toy) -> None:
    assert tuned.run("features").exit_code == 0
    where = ["--competition", "toy", "--root", str(tuned.workspace.root)]
    command = [sys.executable, "-m", "pipeline", "tune", *where, *TUNE, "--trials", "16", "--sampler", "random"]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) for _ in range(2)]
    for process in processes:
        _, stderr = process.communicate()
        assert process.returncode == 0, stderr.decode()
    trials = finished_trials(study_of(tuned))
    assert 16 <= len(trials) <= 20  # both may have seen room for the last batch
    assert len({str(sorted(t.params.items())) for t in trials}) == len(trials)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("low = 1e-3", "lo = 1e-3", ["[tune.mlp.lr]", "'lo'", "'low'"]),
        ("low = 1e-3", "low = 1.0", ["[tune.mlp.lr]", "below"]),
        ("[tune.mlp.lr]", "[tune.mlp.learning_rate]", ["learning_rate"]),
        ("choices = [16, 32]", "choices = []", ["batch_size", "empty"]),
    ],
)
def test_mistakes_in_the_space_are_told(tuned: Toy, old: str, new: str, expected: list[str]) -> None:
    tuned.edit_spec(old, new)
    result = tuned.run("tune", *TUNE, "--trials", "2")
    assert result.exit_code == 2, result.output
    assert all(part in result.stderr for part in expected), result.stderr


@pytest.mark.parametrize(
    ("option", "value", "near"), [("--sampler", "tpa", "'tpe'"), ("--pruner", "halvin", "'halving'")]
)
def test_unknown_samplers_and_pruners_name_the_nearest(tuned: Toy, option: str, value: str, near: str) -> None:
    result = tuned.run("tune", *TUNE, option, value)
    assert result.exit_code == 2
    assert near in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "qmc", "random"])
def test_conditional_parameters_are_asked_only_where_they_hold(tmp_path: Path, sampler: str) -> None:
    space = {
        "optimizer": SpaceEntry(choices=["sgd", "adamw"]),
        "momentum": SpaceEntry(low=0.0, high=0.9, when={"optimizer": "sgd"}),
        "epochs": SpaceEntry(low=2, high=5, whole=True),
    }
    study, _ = open_study(
        tmp_path / "s.log", "s", metric=METRICS["rmse"], sampler=sampler, pruner="none", epochs=4, seed=0
    )
    for _ in range(24):
        trial = study.ask()
        values = suggest(trial, space)
        assert ("momentum" in values) == (values["optimizer"] == "sgd")
        config = with_values(load_run_config("fast"), values)
        assert config.params["epochs"] in (2, 3, 4, 5)
        study.tell(trial, float(np.cos(trial.number)))


@pytest.mark.slow
def test_models_that_are_no_networks_are_tuned_trial_by_trial(toy: Toy) -> None:
    """A trial is the run with its parameters, and `submit` takes the best."""
    toy.workspace.spec.write_text(toy.workspace.spec.read_text() + FOREST_SPACE)
    options = ["--model", "random_forest", "--set", "n_trees=10", "--workers", "2", "--device", "cpu"]
    result = toy.run("tune", *options, "--trials", "3")
    assert result.exit_code == 0, result.output
    folder = toy.workspace.tuning("random_forest")
    trials, best = files.read_parquet(folder / "trials.parquet"), TuningResult.read(folder / "best.json")
    assert list(trials["state"]) == ["complete"] * 3
    assert set(best.config.params) == {"n_trees", "max_features", "min_samples_leaf"}
    leaf, features = trials.loc[0, "min_samples_leaf"], trials.loc[0, "max_features"]
    own = ["--set", f"min_samples_leaf={leaf}", "--set", f"max_features={float(features)!r}", "--set", "seeds=1"]
    assert toy.run("train", "--preset", "fast", *options, *own).exit_code == 0
    assert RunReport.read(toy.only_run().report).cv_score == pytest.approx(trials.loc[0, "cv_score"], rel=1e-12)
    assert toy.run("tune", *options, "--trials", "4").exit_code == 0
    assert len(files.read_parquet(folder / "trials.parquet")) == 4
    submitted = toy.run("submit", "--model", "random_forest", "--workers", "1")
    assert submitted.exit_code == 0, submitted.output
    assert "preset: tuned" in submitted.stderr


@pytest.mark.parametrize(("fresh", "winner"), [((0.15, 0.16), 0), ((0.15, 0.14), 1), ((float("nan"), 0.16), 1)])
def test_the_default_stays_unless_a_trial_beats_it_on_folds_the_study_has_not_seen(
    tuned: Toy, fresh: tuple[float, float], winner: int
) -> None:
    """However far ahead the trial was on the folds that chose it; a default that breaks down never wins."""
    assert tuned.run("features").exit_code == 0
    base = load_run_config("fast")
    configs = [base, load_run_config("fast", overrides=["lr=0.02"])]
    confirmed = [Confirmed(configs[0], 0.15, [fresh[0]]), Confirmed(configs[1], 0.10, [fresh[1]])]
    config, _, told = confirmed_choice(open_tuning(tuned.store(), base), confirmed)
    assert config == configs[winner]
    assert told.chosen.fresh_folds == [fresh[winner]]


@pytest.mark.slow
def test_features_can_be_tuned(tuned: Toy) -> None:
    rare = '\n[tune.mlp."features.rare_min_count"]\nchoices = [0, 3]\n'
    transform = '\n[tune.mlp.target_transform]\nchoices = ["log", "log1p"]\n'
    tuned.workspace.spec.write_text(tuned.workspace.spec.read_text() + rare + transform)
    result = tuned.run("tune", *TUNE, "--trials", "6", "--pruner", "none")
    assert result.exit_code == 0, result.output
    trials = pd.read_parquet(tuned.workspace.tuning("mlp") / "trials.parquet")
    assert trials["features.rare_min_count"].nunique() == 2
    assert trials["target_transform"].nunique() == 2


def test_a_space_that_names_no_key_of_a_run_is_refused() -> None:
    config = load_run_config("fast")
    with pytest.raises(SpecError, match="rare"):
        with_values(config, {"features.rare": 3})


@pytest.mark.slow
def test_the_owner_of_a_trial_is_this_process(tuned: Toy) -> None:
    assert tuned.run("tune", *TUNE, "--trials", "2").exit_code == 0
    assert {t.user_attrs["owner"].split(":")[1] for t in finished_trials(study_of(tuned))} == {str(os.getpid())}


@pytest.fixture
def ensemble(tuned: Toy, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """A toy whose study ended in an ensemble, whatever the estimates say."""

    def three(oofs: dict[str, Any], target: Any, _: Any, metric: Any) -> Selection:
        best = sorted(oofs, key=lambda name: metric(target, oofs[name]))[:3]
        whole = blend([oofs[name] for name in best], [5, 3, 2], metric)
        return Selection(dict(zip(best, [0.5, 0.3, 0.2], strict=True)), metric(target, whole), -1.0, target)

    monkeypatch.setattr("pipeline.tuning.ensemble.select_greedily", three)
    result = tuned.run("tune", *TUNE, "--trials", "10", "--pruner", "none")
    assert result.exit_code == 0, result.output
    assert "best.json holds the ensemble" in result.stderr
    return tuned


@pytest.mark.slow
def test_the_ensemble_is_weighed_against_a_single_trial_by_nested_estimates(tuned: Toy) -> None:
    result = tuned.run("tune", *TUNE, "--trials", "10", "--pruner", "none", "--set", "seeds=3")
    assert result.exit_code == 0, result.output
    best = TuningResult.read(tuned.workspace.tuning("mlp") / "best.json")
    told = best.ensemble
    is_better = told.lead > told.lead_error
    assert told.is_chosen == (is_better and len(told.weights) > 1)
    assert bool(best.config.parts) == told.is_chosen
    assert told.selection_score <= told.nested_score
    assert told.single_seeds == min(3, len(told.weights))
    assert sum(told.weights.values()) == pytest.approx(1.0)


@pytest.mark.slow
def test_on_one_holdout_no_ensemble_is_chosen_for_there_is_no_other_fold_to_tell_it_by(tuned: Toy) -> None:
    tuned.edit_spec('kind = "shuffled"\nnumber = 4', 'kind = "holdout"\nshare = 0.3')
    result = tuned.run("tune", *TUNE, "--trials", "4", "--pruner", "none")
    assert result.exit_code == 0, result.output
    best = TuningResult.read(tuned.workspace.tuning("mlp") / "best.json")
    assert not best.ensemble
    assert not best.config.parts
    assert "inf" not in result.stderr.split()


@pytest.mark.slow
def test_a_broken_prediction_of_a_trial_is_computed_again(tuned: Toy) -> None:
    command = [*TUNE, "--trials", "5", "--pruner", "none"]
    assert tuned.run("tune", *command).exit_code == 0
    best = tuned.workspace.tuning("mlp") / "best.json"
    told = TuningResult.read(best).ensemble
    path = oof_path(tuned, 1)
    whole = path.read_bytes()
    for damaged in (b"", whole[:-4], whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(damaged)
        again = tuned.run("tune", *command)
        assert again.exit_code == 0, again.output
        assert "trial 1 is trained again for the ensemble" in " ".join(again.stderr.split())
        found = TuningResult.read(best).ensemble
        assert found.nested_score == pytest.approx(told.nested_score, rel=1e-5)
        assert found.weights == pytest.approx(told.weights)


@pytest.mark.slow
def test_an_ensemble_run_is_the_weighted_average_of_its_parts(ensemble: Toy) -> None:
    """With one seed the parts' out-of-fold predictions are those the trials kept."""
    assert ensemble.run("train", "--workers", "2").exit_code == 0
    best = TuningResult.read(ensemble.workspace.tuning("mlp") / "best.json")
    weights = best.ensemble.weights
    assert [part.weight for part in best.config.parts] == list(weights.values())
    oofs = [files.read_npy(oof_path(ensemble, int(number))) for number in weights]
    by_hand = np.exp(sum(w * np.log(oof) for w, oof in zip(weights.values(), oofs, strict=True)))
    report, oof = RunReport.read(ensemble.only_run().report), files.read_parquet(ensemble.only_run().oof)
    np.testing.assert_allclose(oof["prediction_0"], by_hand, rtol=1e-4)
    assert report.cv_score == METRICS["log_rmse"](oof["target_0"].to_numpy(), oof["prediction_0"].to_numpy())
    assert report.cv_score == pytest.approx(best.cv_score, rel=1e-3)
    history = files.read_parquet(ensemble.only_run().history)
    assert sorted(history["part"].unique()) == list(range(len(weights)))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["average", "refit"])
def test_a_stored_ensemble_is_submitted_and_predicts(ensemble: Toy, tmp_path: Path, strategy: str) -> None:
    submitted = ensemble.run("submit", "--workers", "2", "--set", f"final={strategy}")
    assert submitted.exit_code == 0, submitted.output
    rows, made = ensemble.workspace.raw / "test.csv", tmp_path / "made.csv"
    assert ensemble.run("predict", ensemble.only_run().name, str(rows), "-o", str(made)).exit_code == 0
    expected = pd.read_csv(ensemble.submission())["price"]
    np.testing.assert_allclose(pd.read_csv(made)["price"], expected, rtol=1e-5)
    again = ensemble.run("submit", "--workers", "2", "--set", f"final={strategy}")
    assert "nothing to do" in again.stderr
    assert "is up to date" in again.stderr


@pytest.mark.slow
def test_an_interrupted_ensemble_goes_on_with_what_is_trained(ensemble: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.models.networks.model import NeuralModel

    assert ensemble.run("train", "--workers", "1").exit_code == 0
    expected = files.read_parquet(ensemble.only_run().oof)
    ensemble.only_run().report.unlink()
    fit, n_calls = NeuralModel.fit, 0

    def interrupted(*args: Any, **options: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 2:
            raise KeyboardInterrupt
        return fit(*args, **options)

    monkeypatch.setattr(NeuralModel, "fit", interrupted)
    assert ensemble.run("train", "--workers", "1").exit_code == 130
    (folder,) = ensemble.workspace.runs.glob("*")
    assert list((folder / "checkpoints" / "part-0").glob("*.safetensors"))
    result = ensemble.run("train", "--workers", "1")
    assert "resuming the unfinished" in result.stderr
    pd.testing.assert_frame_equal(files.read_parquet(ensemble.only_run().oof), expected, check_exact=True)


@pytest.mark.slow
def test_numbers_of_one_configuration_are_refused_for_an_ensemble(ensemble: Toy) -> None:
    result = ensemble.run("train", "--set", "lr=0.1")
    assert result.exit_code == 2
    assert "cannot be set for an ensemble: set it in its parts" in result.stderr
    assert ensemble.run("tune", "--preset", str(ensemble.workspace.tuning("mlp") / "best.json")).exit_code == 2


@pytest.mark.slow
def test_another_space_is_another_study_and_what_changed_is_told(tuned: Toy) -> None:
    assert tuned.run("tune", *TUNE, "--trials", "3").exit_code == 0
    tuned.edit_spec("choices = [16, 32]", "choices = [16, 64]")
    result = tuned.run("tune", *TUNE, "--trials", "3")
    assert result.exit_code == 0, result.output
    assert "starting a new study; changed since" in result.stderr
    assert "search space (batch_size)" in result.stderr
    assert len(files.read_parquet(tuned.workspace.tuning("mlp") / "trials.parquet")) == 3
    tuned.edit_spec("number = 4", "number = 3")
    result = tuned.run("tune", *TUNE, "--trials", "3")
    assert result.exit_code == 0, result.output
    assert "trials: the features" in result.stderr
    tuned.edit_spec("number = 3", "number = 4")
    tuned.edit_spec("choices = [16, 64]", "choices = [16, 32]")
    back = tuned.run("tune", *TUNE, "--trials", "3")
    assert "3 of 3 trials are finished" in back.stderr
    assert "new study" not in back.stderr


@pytest.mark.slow
def test_values_that_a_complete_trial_had_are_not_trained_again(tuned: Toy) -> None:
    tuned.edit_spec("[tune.mlp.lr]\nlow = 1e-3\nhigh = 1e-1\nlog = true", "[tune.mlp.lr]\nchoices = [0.01]")
    fixed = "".join(
        f"\n[tune.mlp.{name}]\nchoices = [{value}]\n"
        for name, value in {
            "dropout": 0.0,
            "weight_decay": 0.1,
            "loss": '"mse"',
            "number_embedding": '"none"',
        }.items()
    )
    tuned.workspace.spec.write_text(tuned.workspace.spec.read_text() + fixed)  # 6 configurations in all
    result = tuned.run("tune", *TUNE, "--trials", "12", "--pruner", "none", "--sampler", "random")
    assert result.exit_code == 0, result.output
    trials = finished_trials(study_of(tuned))
    by_params: dict[str, set[float | None]] = {}
    for trial in trials:
        by_params.setdefault(str(trial.params), set()).add(trial.value)
    assert len(trials) == 12
    assert len(by_params) <= 6
    assert all(len(values) == 1 for values in by_params.values())
    assert any("same values as trial" in trial.user_attrs.get("reason", "") for trial in trials)


def test_the_rungs_of_a_model_that_is_not_the_presets_are_those_of_its_own_epochs(toy: Toy) -> None:
    """A pruner that takes another model's forty epochs for twelve has no rung before the end."""
    toy.submit()
    base = load_run_config("fast", model="cnn")
    study = open_tuning(toy.store(), base).study
    for value in (1.0, 2.0, 3.0, 4.0, 5.0):
        trial = study.ask()
        trial.report(value, n_epochs(base) // 4)
        is_pruned = trial.should_prune()
        study.tell(trial, value)
    assert is_pruned


def test_wilcoxon_prunes_what_loses_on_every_fold_at_the_same_epoch() -> None:
    study = optuna.create_study(pruner=WilcoxonFoldPruner())
    best = study.ask()
    note_fold_scores(best, 10, [0.5, 0.6, 0.4, 0.5, 0.7])
    note_fold_scores(best, 20, [0.1, 0.2, 0.1, 0.2, 0.1])
    assert not best.should_prune()  # nothing to compare with
    study.tell(best, 0.14)

    def is_pruned(epoch: int, fold_scores: list[float]) -> bool:
        trial = study.ask()
        note_fold_scores(trial, epoch, fold_scores)
        trial.report(float(np.mean(fold_scores)), epoch)
        return trial.should_prune()

    assert is_pruned(10, [0.51, 0.63, 0.42, 0.54, 0.75])
    assert not is_pruned(10, [0.4, 0.5, 0.3, 0.4, 0.6])  # better then, though worse than the best in the end
    assert not is_pruned(10, [0.51, 0.63, 0.42, 0.4, 0.6])  # wins two folds
    assert not is_pruned(15, [9.0, 9.0, 9.0, 9.0, 9.0])  # the best was not scored then
    assert not is_pruned(10, [0.5, 0.6, 0.4, 0.5, 0.7])  # all alike
    assert not is_pruned(10, [float("nan"), 1.0, 1.0, 1.0, 1.0])


def test_wilcoxon_follows_the_metrics_direction() -> None:
    study = optuna.create_study(pruner=WilcoxonFoldPruner(), direction="maximize")
    best = study.ask()
    note_fold_scores(best, 1, [0.8, 0.8, 0.8, 0.8, 0.8])
    study.tell(best, 0.8)
    for fold_scores, is_worse in (([0.7, 0.71, 0.72, 0.73, 0.74], True), ([0.9, 0.91, 0.92, 0.93, 0.94], False)):
        trial = study.ask()
        note_fold_scores(trial, 1, fold_scores)
        trial.report(0.0, 1)
        assert trial.should_prune() == is_worse


@pytest.mark.slow
def test_wilcoxon_prunes_inside_the_pack(tuned: Toy) -> None:
    options = ["--trials", "16", "--pruner", "wilcoxon", "--set", "epochs=16"]
    result = tuned.run("tune", *TUNE, *options)
    assert result.exit_code == 0, result.output
    pruned = [trial for trial in finished_trials(study_of(tuned)) if trial.state.name == "PRUNED"]
    assert pruned
    assert all(len(trial.user_attrs["checkpoints"]["4"]) == 4 for trial in pruned)


@pytest.mark.slow
def test_importances_are_told_when_there_are_enough_trials(tuned: Toy) -> None:
    few = tuned.run("tune", *TUNE, "--trials", "2", "--pruner", "none")
    assert few.exit_code == 0
    assert "parameter" not in few.stdout
    result = tuned.run("tune", *TUNE, "--trials", "12", "--pruner", "none")
    assert "parameter" in result.stdout
    importances = files.read_parquet(tuned.workspace.tuning("mlp") / "importances.parquet")
    assert {"lr", "batch_size", "hidden_sizes"} <= set(importances["parameter"])
    assert importances["importance"].is_monotonic_decreasing


@pytest.mark.slow
def test_a_real_ctrl_c_writes_best_json_and_prints_the_table(tuned: Toy) -> None:
    assert tuned.run("features").exit_code == 0
    where = ["--competition", "toy", "--root", str(tuned.workspace.root)]
    command = [sys.executable, "-m", "pipeline", "tune", *where, *TUNE, "--trials", "100000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    kept = tuned.workspace.tuning("mlp") / "oof"
    while process.poll() is None and len(list(kept.glob("*/*.npy"))) < 3:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "best trials" in stdout
    assert f"best: {tuned.workspace.tuning('mlp') / 'best.json'}" in stdout
    assert not [trial for trial in study_of(tuned).trials if trial.state.name == "RUNNING"]
    assert tuned.run("submit", "--workers", "1", "--no-upload").exit_code == 0


def test_it_waits_for_a_silent_owner_and_takes_its_trials_over(tuned: Toy, tmp_path: Path) -> None:
    assert tuned.run("features").exit_code == 0
    store, space = tuned.store(), space_of(tuned)
    base = load_run_config("fast", overrides=["epochs=2"])
    study, storage = open_study(
        tmp_path / "s.log", "s", metric=METRICS["log_rmse"], sampler="random", pruner="none", epochs=2, seed=0
    )
    now, n_waits = 1000.0, 0

    def clock() -> float:
        return now

    def sleep(_: float) -> None:
        nonlocal now, n_waits
        now, n_waits = now + 10.0, n_waits + 1

    there = Ownership(study, storage, clock, "there:1:a")
    there.beat()
    lost = study.ask()
    there.take(lost)
    suggest(lost, space)
    now += 60.0
    here = Ownership(study, storage, clock, "here:1:b")
    oofs: dict[int, Any] = {}
    tuner = Tuner(
        study,
        here,
        space,
        base,
        METRICS["log_rmse"],
        store.problem,
        store.splits,
        FitContext(),
        oofs.__setitem__,
        sleep=sleep,
    )
    tuner.run(1, 4, lambda: True)
    assert n_waits > 3
    (finished,) = finished_trials(study)
    assert finished.params == lost.params
    assert list(oofs) == [finished.number]
    assert tuner.member_epochs == 2 * 4  # epochs x folds


@pytest.mark.slow
@pytest.mark.parametrize("is_proposed", [False, True])
def test_trials_that_another_process_took_over_are_left_to_it(tuned: Toy, is_proposed: bool) -> None:
    assert tuned.run("features").exit_code == 0
    tuning = open_tuning(tuned.store(), load_run_config("fast", overrides=["epochs=2"]))
    tuner = tuning.tuner(FitContext())
    trials = tuner._take(2, 2)
    if is_proposed:
        suggest(trials[0], tuning.space)
    Ownership(tuning.study, tuning.storage, lambda: time.time() + 1e6, "there:1:a").reap()
    tuner._train(trials)
    assert finished_trials(tuning.study) == []
    assert tuner.epochs_of == {}


@pytest.mark.slow
def test_a_study_on_a_sample_of_the_rows_is_one_of_its_own_and_says_so(tuned: Toy) -> None:
    tuned.edit_spec("number = 4", "number = 2")
    tune = [*TUNE, "--trials", "2", "--pruner", "none"]
    result = tuned.run("tune", *tune, "--rows", "45")
    assert result.exit_code == 0, result.output
    assert "a sample of 45 of 64 train rows" in result.stderr
    path = tuned.workspace.tuning("mlp") / "best.json"
    best = TuningResult.read(path)
    assert (best.n_train_rows, best.is_of_all_rows) == (45, False)
    assert "sample" in best.config.description
    oof = files.read_npy(next((path.parent / "oof").glob("*/*.npy")))
    assert len(oof) == 45
    submitted = tuned.run("submit", "--workers", "1")
    assert submitted.exit_code == 0, submitted.output
    assert len(files.read_parquet(tuned.only_run().oof)) == 64
    assert tuned.run("tune", *tune).exit_code == 0
    whole = TuningResult.read(path)
    assert (whole.n_train_rows, whole.is_of_all_rows) == (64, True)
    assert whole.study != best.study
    assert tuned.run("tune", *tune, "--rows", "30").exit_code == 2
