"""Laws of preset best: within the time, never without a submission, nothing trained twice, an ensemble like any run."""

from __future__ import annotations

import io
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.base import files
from pipeline.base.errors import ClusterError, PipelineError, TrainingError
from pipeline.base.interruption import Stopped
from pipeline.best import ensemble_run, plan
from pipeline.best import race as stage
from pipeline.best.costs import Candidate, Pace, Size, candidate_of
from pipeline.best.ensemble_run import FinishedRun, ensemble_folder, finished_run, write_ensemble
from pipeline.best.plan import (
    candidates_for,
    characters_of_sentences,
    in_order,
    more_seeds,
    quick_first,
    stopgaps_for,
)
from pipeline.best.pool import Pool
from pipeline.best.portfolio import portfolio
from pipeline.best.race import Best, race
from pipeline.best.standing import Standing
from pipeline.competition.workspace import RunFolder, Workspace
from pipeline.config.records import Provenance
from pipeline.config.run import GIVEN, RunConfig
from pipeline.config.run_report import Adjustment, EnsembleReport, LogOdds, RunReport, WithoutPrune
from pipeline.metrics import METRICS
from pipeline.models.base import FitContext
from pipeline.models.registry import MODELS
from pipeline.models.run_configuration import load_run_config
from pipeline.scoring.cross_validation import predictions_of, scores_of
from pipeline.scoring.ensembling import SMALLEST_WEIGHT, Choice, Selection
from pipeline.stages.final import make_final
from pipeline.stages.train import train_run
from tests.conftest import TINY, Toy
from tests.models.pretrained import write_weights

CPU = torch.device("cpu")
SIZE = Size("regression", 64, 5, 4)


def candidate(model: str, seconds: float, *overrides: str) -> Candidate:
    return Candidate(model, model, load_run_config("fast", model=model, overrides=overrides), seconds)


SMALL = [
    candidate("ridge", 10.0),
    candidate("mlp", 20.0, "epochs=2", "hidden_sizes=[4]", "seeds=1", "evaluate_every=1"),
    candidate("neighbours", 30.0),
]


@dataclass
class Bench:
    """Preset best on a toy with a clock that only training moves."""

    toy: Toy
    now: float = 0.0
    trained: list[str] = field(default_factory=list)
    submissions: list[bytes] = field(default_factory=list)
    seconds: dict[str, float] = field(
        default_factory=lambda: {"baseline": 0.5, **{one.config.model: one.reference_s for one in SMALL}}
    )
    early: dict[str, float] = field(default_factory=dict)  # seconds until two fifths are done
    on_train: Callable[[RunConfig, threading.Event], None] = lambda *_: None
    tuned: list[tuple[str, float]] = field(default_factory=list)  # model and seconds of every call
    found: dict[str, RunConfig] = field(default_factory=dict)  # model -> what tuning finds
    allowed: list[float] = field(default_factory=list)  # seconds of every training

    def train(
        self, config: RunConfig, stop: threading.Event, on_share: Callable[[float], None], seconds: float
    ) -> RunFolder:
        self.allowed.append(seconds)
        self.on_train(config, stop)
        self.now += self.early.get(config.model, 0.0)
        on_share(0.4)
        if stop.is_set():
            raise Stopped
        self.now += self.seconds[config.model]
        self.trained.append(config.model)
        return train_run(self.toy.store(), config, FitContext(CPU, stop=stop))

    def tune(self, config: RunConfig, seconds: float, _: threading.Event) -> RunConfig | None:
        self.tuned.append((config.model, seconds))
        self.now += seconds
        return self.found.get(config.model)

    def finish(self, config: RunConfig, run: RunFolder, is_interim: bool) -> Path:
        path = make_final(self.toy.store(), config, run, FitContext(CPU), is_interim=is_interim)
        self.submissions.append(path.read_bytes())
        return path

    def __call__(self, minutes: float | None, smallest_weight: float = SMALLEST_WEIGHT) -> Best:
        self.trained, self.submissions = [], []
        return race(
            self.toy.store(),
            self,
            minutes=minutes,
            smallest_weight=smallest_weight,
            clock=lambda: self.now,
        )


@pytest.fixture
def bench(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> Bench:
    assert toy.run("features").exit_code == 0
    monkeypatch.setattr(plan, "candidates_for", lambda *_, **__: SMALL)
    return Bench(toy)


@pytest.mark.slow
def test_the_budget_is_kept_and_a_rerun_goes_on(bench: Bench) -> None:
    first = bench(0.75)
    assert bench.trained == ["ridge", "mlp"]  # neighbours would end at 60 s
    assert bench.now <= 45.0
    assert bench(0.75).submission == first.submission
    assert bench.trained == []
    bench(1.4)
    assert bench.trained == ["neighbours"]
    bench(2.0)
    assert set(bench.trained) <= {"mlp"}  # further seeds; the others have no randomness
    assert bench.now <= 120.0


@pytest.mark.slow
def test_time_that_is_left_goes_into_tuning_once_and_what_it_finds_is_trained(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    forest = candidate("random_forest", 20.0, "n_trees=10")
    worse = candidate("neighbours", 30.0, "numbers=[40]")  # the forest is left to tune
    monkeypatch.setattr(plan, "candidates_for", lambda *_, **__: [forest, worse])
    bench.seconds["random_forest"] = 10.0
    bench.found = {"random_forest": candidate("random_forest", 1.0, "n_trees=9").config}
    best = bench(40.0)
    ((model, seconds),) = bench.tuned
    assert model == "random_forest"  # neighbours cannot be tuned
    assert 0.45 * (2400.0 - 40.0) < seconds < 0.5 * (2400.0 - 40.0)  # half of what the two candidates left
    report = RunReport.read(best.run.report)
    assert "random_forest tuned" in [one.label for one in report.ensemble.looked_at]
    assert bench.now <= 2400.0
    bench(80.0)
    assert len(bench.tuned) == 1
    assert "neighbours" not in bench.trained


@pytest.mark.slow
def test_when_all_seeds_are_trained_the_next_kind_is_tuned(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    forests = [candidate("random_forest", 10.0, "n_trees=10"), candidate("extra_trees", 10.0, "n_trees=10")]
    monkeypatch.setattr(plan, "candidates_for", lambda *_, **__: forests)
    monkeypatch.setattr(plan, "more_seeds", lambda *_: [])
    bench.seconds |= {"random_forest": 10.0, "extra_trees": 10.0}
    weights = {"random_forest": 0.7, "extra_trees": 0.3}
    monkeypatch.setattr(stage._Race, "_weight_by_kind", lambda _: weights)
    bench(30.0)
    assert [model for model, _ in bench.tuned] == ["random_forest", "extra_trees"]
    (_, first), (_, second) = bench.tuned
    assert second == pytest.approx(0.8 * (1800.0 - 20.0 - first), rel=0.05)
    assert bench.now <= 1800.0


@pytest.mark.slow
def test_too_little_time_for_enough_trials_is_not_spent_on_tuning(bench: Bench) -> None:
    bench(5.0)  # 24 trials of 20 s do not fit
    assert bench.tuned == []


@pytest.mark.slow
def test_a_wrong_estimate_costs_three_tenths_of_the_time_at_most(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    known, large = candidate("ridge", 10.0), candidate("random_forest", 100.0, "n_trees=10")
    monkeypatch.setattr(plan, "candidates_for", lambda *_, **__: [known, large])
    bench.seconds["random_forest"] = 100.0
    bench(10.0)
    assert bench.allowed[1] == pytest.approx(stage.TRAINED_BY * stage.MOST_OF_BUDGET * 600.0)


@pytest.mark.slow
def test_what_takes_longer_than_thought_slows_the_whole_plan(bench: Bench) -> None:
    bench.seconds = {model: 3.0 * seconds for model, seconds in bench.seconds.items()}
    bench(1.0)
    assert bench.trained == ["ridge"]


@pytest.mark.slow
def test_a_submission_is_there_after_the_first_candidate_and_follows_the_ensemble(bench: Bench) -> None:
    def nothing_after_the_first(config: RunConfig, _: threading.Event) -> None:
        if config.model != "ridge":
            assert bench.submissions
            raise TrainingError("broken")

    bench.on_train = nothing_after_the_first
    best = bench(2.0)
    assert len(pd.read_csv(best.submission)) == 20
    report = RunReport.read(best.run.report)
    assert [one.label for one in report.ensemble.members] == ["ridge"]
    assert {one.candidate for one in report.ensemble.given_up} == {"mlp", "neighbours"}


def test_without_any_model_the_error_names_the_first_reason(bench: Bench) -> None:
    def broken(*_: object) -> None:
        raise TrainingError("not a number")

    bench.on_train = broken
    with pytest.raises(PipelineError, match="not a number"):
        bench(1.0)


@pytest.mark.slow
def test_a_lost_cluster_ends_with_the_best_so_far(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    def lost(config: RunConfig, _: threading.Event) -> None:
        if config.model == "mlp":
            raise ClusterError("the scheduler was lost")

    bench.on_train = lost
    best = bench(2.0)
    assert best.is_interrupted
    assert len(pd.read_csv(best.submission)) == 20
    assert "the scheduler was lost" in capsys.readouterr().err
    assert RunReport.read(best.run.report).ensemble.given_up == []


@pytest.mark.slow
def test_ctrl_c_ends_with_the_best_so_far(bench: Bench) -> None:
    def interrupted(config: RunConfig, _: threading.Event) -> None:
        if config.model == "mlp":
            signal.raise_signal(signal.SIGINT)

    bench.on_train = interrupted
    best = bench(5.0)
    assert best.is_interrupted
    assert bench.trained == ["ridge"]
    assert best.submission.read_bytes() == bench.submissions[0]
    bench.on_train = lambda *_: None
    bench(5.0)
    assert bench.trained[:2] == ["mlp", "neighbours"]


@pytest.mark.slow
def test_ctrl_c_while_it_tunes_trains_nothing_more(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    forest = candidate("random_forest", 20.0, "n_trees=10")
    monkeypatch.setattr(plan, "candidates_for", lambda *_, **__: [forest])
    bench.seconds["random_forest"] = 10.0

    def tune(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)
        raise Stopped

    monkeypatch.setattr(bench, "tune", tune)
    best = bench(40.0)
    assert best.is_interrupted
    assert bench.trained == ["random_forest"]
    assert best.submission.exists()


def test_ctrl_c_before_any_model_is_an_interruption(bench: Bench) -> None:
    bench.on_train = lambda *_: signal.raise_signal(signal.SIGINT)
    with pytest.raises(Stopped):
        bench(5.0)


@pytest.mark.slow
def test_a_fit_that_will_not_end_in_time_is_stopped(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(config: RunConfig, stop: threading.Event) -> None:
        if config.model == "mlp":
            assert stop.wait(30.0), "nobody stopped it"

    bench.on_train = slow
    monkeypatch.setattr(plan, "candidates_for", lambda *_, **__: [candidate("ridge", 0.1), *SMALL[1:]])
    bench.seconds["ridge"] = 0.0001
    bench(0.05)  # 3 s: a pace of a thousandth, then a limit of what is left
    assert "ridge" in bench.trained
    assert "mlp" not in bench.trained


def test_what_will_not_be_done_in_time_is_given_up_early(bench: Bench) -> None:
    bench.early["mlp"] = 30.0  # of some 48 s that are left: it would take 75 s
    best = bench(1.0)
    assert bench.trained == ["ridge"]
    assert [one.candidate for one in RunReport.read(best.run.report).ensemble.given_up] == ["mlp"]
    assert bench.now == 40.0


@pytest.mark.slow
def test_where_no_candidate_is_done_in_time_the_floor_is_submitted_first(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "quick_first", lambda candidates, *_: list(candidates))
    best = bench(0.3)  # 18 s: ridge would be there after 10 s
    assert bench.trained == ["baseline", "ridge"]
    assert pd.read_csv(io.BytesIO(bench.submissions[0]))["price"].nunique() == 1
    assert pd.read_csv(best.submission)["price"].nunique() > 1


@pytest.mark.slow
def test_a_first_candidate_that_takes_too_long_goes_on_after_the_floor(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def slow_at_first(config: RunConfig, stop: threading.Event) -> None:
        begun.append(config.model)
        if begun == ["ridge"]:
            assert stop.wait(30.0), "nobody stopped it"

    monkeypatch.setattr(stage, "FIRST_BY_S", 0.2)
    monkeypatch.setattr(plan, "candidates_for", lambda *_, **__: [candidate("ridge", 0.1)])
    stopgaps = [candidate("neighbours", 0.2)], candidate("baseline", 0.5)
    monkeypatch.setattr(plan, "stopgaps_for", lambda *_, **__: stopgaps)
    bench.seconds["neighbours"] = 0.2
    bench.on_train = slow_at_first
    best = bench(0.5)
    assert begun[:2] == ["ridge", "baseline"]
    assert sorted(begun[2:]) == ["neighbours", "ridge"]
    assert {one.label for one in RunReport.read(best.run.report).ensemble.members} <= {
        "ridge",
        "neighbours",
        "baseline",
    }


@pytest.mark.slow
def test_the_report_says_how_far_the_data_is_to_be_trusted(bench: Bench) -> None:
    best = bench(2.0)
    trust = RunReport.read(best.run.report).trust
    assert 0.0 <= trust.adversarial_auc <= 1.0
    assert trust.test_rows_in_train == 0


@pytest.mark.slow
def test_the_ensemble_is_a_run_like_any_other(bench: Bench) -> None:
    best = bench(2.0)
    report, oof = RunReport.read(best.run.report), files.read_parquet(best.run.oof)
    assert scores_of(oof, METRICS["log_rmse"]) == (report.cv_score, report.fold_scores)
    assert sum(one.weight for one in report.ensemble.members) == pytest.approx(1.0)
    assert report.ensemble.nested_score >= report.cv_score
    assert Provenance.read(best.submission.with_suffix(".json")).nested_score == report.ensemble.nested_score
    assert "best-ensemble" in bench.toy.run("runs").stdout


@pytest.mark.slow
def test_pruning_tells_what_it_costs(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    whole = RunReport.read(bench(2.0).run.report).ensemble
    pruned = RunReport.read(bench(2.0, smallest_weight=0.9).run.report).ensemble
    assert len(pruned.members) == 1
    assert pruned.without_prune == WithoutPrune(members=len(whole.members), nested_score=whole.nested_score)
    assert f": {len(whole.members)} runs, nested" in capsys.readouterr().err


@pytest.mark.slow
def test_predict_gives_the_stored_test_prediction(bench: Bench, tmp_path: Path) -> None:
    best = bench(2.0)
    output = tmp_path / "out.csv"
    result = bench.toy.run("predict", best.run.name, str(bench.toy.workspace.raw / "test.csv"), "-o", str(output))
    assert result.exit_code == 0, result.output
    stored = predictions_of(files.read_parquet(best.run.test), is_classification=False)
    np.testing.assert_array_equal(pd.read_csv(output)["price"], stored)


@pytest.mark.slow
def test_the_command_line_takes_minutes_and_refuses_a_model(bench: Bench) -> None:
    result = bench.toy.run("submit", "--preset", "best", "--minutes", "0.2", *TINY[-4:])
    assert result.exit_code == 0, result.output
    assert "nested" in result.stdout.splitlines()[-1]
    assert "plan for 0.2 minutes" in result.stderr
    assert bench.toy.run("submit", "--preset", "best", "--model", "ridge").exit_code == 2
    assert bench.toy.run("train", "--preset", "best").exit_code == 2


def test_sentences_are_told_from_names_and_codes() -> None:
    frame = pd.DataFrame({"said": ["it rains again today, too", None], "name": ["Ms. Anna Berg", "Otto"]}, dtype="str")
    assert characters_of_sentences(frame, {"said": "text", "name": "text"}) == len("it rains again today, too")
    assert characters_of_sentences(frame, {"said": "category", "name": "text"}) == 0


def test_plans_begin_with_what_fits_and_end_with_seeds_of_what_earns() -> None:
    candidates = candidates_for(SIZE)
    assert {"catboost", "lightgbm", "xgboost", "mlp", "lasso"} <= {one.config.model for one in candidates}
    without = {one.config.model for one in candidates_for(SIZE, without=["catboost", "xgboost"])}
    assert "lightgbm" in without
    assert not without & {"catboost", "xgboost"}
    huge = candidates_for(Size("regression", 100_000, 400, 5))
    assert not {one.config.model for one in huge} & {"svm", "kernel_ridge"}
    reading = candidates_for(Size("binary", 7_000, 400, 5, 2, n_characters=700_000))
    assert [one.config.model for one in reading[:2]] == ["text_linear"] * 2
    assert candidates[0].config.model != "text_linear"
    wide = candidates_for(Size("regression", 1_500, 400, 5))
    assert [one.config.model for one in wide[:2]] == ["lightgbm", "lasso"]
    quick, floor = stopgaps_for(Size("regression", 1_500, 400, 5))
    assert floor.reference_s < quick[0].reference_s < min(one.reference_s for one in wide)
    assert quick_first(wide, quick, 4.0) == [quick[0], *wide, *quick[1:]]
    assert quick_first(wide, quick, 600.0) == wide
    seeds = more_seeds(candidates, {"mlp": 0.5, "lasso": 0.5}, Pace())
    assert {one.config.model for one in seeds} == {"mlp"}
    assert len({one.config.run_name for one in [*candidates, *seeds]}) == len(candidates) + len(seeds)


def test_pretrained_models_race_where_their_weights_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tabicl", reason="the extra `foundation` is not installed")
    monkeypatch.setenv("PIPELINE_WEIGHTS", str(tmp_path))
    assert plan.pretrained_models("regression") == []
    (tmp_path / "tabicl-regressor-v2-20260212.ckpt").touch()
    assert plan.pretrained_models("regression") == ["tabicl"]
    assert plan.pretrained_models("binary") == []
    (tmp_path / "tabicl-regressor-v1-20250208.ckpt").touch()  # which one is meant?
    assert plan.pretrained_models("regression") == []
    for size in (SIZE, Size("regression", 20_000, 30, 5)):
        assert not {one.config.model for one in candidates_for(size)} & {"tabicl", "tabpfn"}
        some = [one for one in candidates_for(size, pretrained=["tabicl"]) if one.config.model in ("tabicl", "tabpfn")]
        assert {one.config.model for one in some} == {"tabicl"}
        assert all(one.config.params["weights"] == "" for one in some)
        assert [one.is_probe for one in some] == ([False] if size == SIZE else [True, False])


@pytest.mark.slow
def test_a_pretrained_model_is_a_member_like_any_other(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tabicl", reason="the extra `foundation` is not installed")
    monkeypatch.setenv("PIPELINE_WEIGHTS", str(tmp_path / "weights"))
    write_weights("tabicl", tmp_path / "weights", is_regression=True)
    quick = candidate_of("tabicl quick", SIZE)
    monkeypatch.setattr(plan, "candidates_for", lambda *_, **__: [quick, SMALL[0]])
    bench.seconds |= {"tabicl": 1.0}
    bench(0.75, smallest_weight=0.0)
    assert bench.trained[0] == "tabicl"
    trained = {RunReport.read(path).config.model for path in bench.toy.workspace.runs.glob("*/report.json")}
    assert {"tabicl", "ridge"} <= trained
    bench(0.75, smallest_weight=0.0)
    assert bench.trained == []


def test_probes_come_first_and_what_follows_is_what_earned_weight() -> None:
    many = candidates_for(Size("regression", 20_000, 30, 5))
    probes = [one for one in many if one.is_probe]
    assert {one.config.model for one in probes} == {"lightgbm", "extra_trees", "mlp"}
    pace = Pace()
    for one in many:
        pace.measured(one, 10.0)
    for model, family in (("mlp", {"mlp"}), ("extra_trees", {"extra_trees", "random_forest"})):
        ordered = in_order(many, {model: 1.0}, {"generated quick": 0.1}, pace.estimate)
        assert ordered[: len(probes)] == probes
        assert ordered[len(probes)].config.model == model
        n_kin = sum(one.config.model in family and not one.is_probe for one in many)
        assert {one.config.model for one in ordered[len(probes) : len(probes) + n_kin]} == family
    assert {one.label for one in many} - {one.label for one in in_order(many, {}, {}, pace.estimate)} == {
        "extra_trees generated",
        "lightgbm generated",
    }
    after_one = in_order(many, {}, {"generated quick": 0.01, "extra_trees generated": 0.4}, pace.estimate)
    assert "lightgbm generated" in {one.label for one in after_one}  # its weight is the probe's
    small = candidates_for(SIZE)
    assert in_order(small, {"svm": 1.0}, {}, pace.estimate) == small


def test_each_further_seed_promises_less_and_so_does_a_model_that_failed() -> None:
    pace, probe = Pace(), replace(candidate("ridge", 1.0), is_probe=True)
    known, failed, new = (candidate(model, 4.0) for model in ("mlp", "extra_trees", "lightgbm"))
    pool = [probe, known, failed, new]
    for one in pool:
        pace.measured(one, one.reference_s)
    seeds = more_seeds(pool, {"mlp": 0.6, "ridge": 0.4}, pace)
    earned = {"mlp": 0.6, "ridge": 0.4, "extra_trees": 0.0}
    ordered = [one.label for one in in_order([*pool, *seeds], earned, {"mlp": 0.6, "ridge": 0.4}, pace.estimate)]
    assert ordered[0] == "ridge"
    own = [label for label in ordered if label.startswith("mlp, seed")]
    assert own == [f"mlp, seed {number}" for number in range(1, 7)]
    assert ordered.index("mlp, seed 1") < ordered.index("lightgbm") < ordered.index("mlp, seed 6")
    assert ordered.index("lightgbm") < ordered.index("extra_trees")


def test_every_variant_of_a_model_that_is_known_makes_the_next_promise_less() -> None:
    boostings = [replace(candidate("lightgbm", 4.0), label=name, kind=name) for name in ("first", "second", "third")]
    probe, other = replace(candidate("mlp", 1.0), is_probe=True), candidate("xgboost", 6.0)
    pool = [probe, *boostings, other]

    def next_one(*known: str) -> str:
        shares = dict.fromkeys(known, 0.8 / len(known))
        ordered = in_order(pool, {"lightgbm": 0.8}, shares, lambda one: one.reference_s)
        return next(one.label for one in ordered if one.label not in known and not one.is_probe)

    assert next_one("first") == "second"
    assert next_one("first", "second") == "xgboost"


def test_what_follows_a_probe_promises_by_the_weight_of_the_probe_too() -> None:
    probe, plain = replace(candidate("extra_trees", 1.0), is_probe=True), candidate("xgboost", 4.0)
    follower = replace(candidate("lightgbm", 400.0), follows=probe.label)
    pool = [probe, plain, follower]
    for weight, expected in ((0.11, [plain, follower]), (0.8, [follower, plain])):
        ordered = in_order(pool, {"extra_trees": 0.1}, {probe.kind: weight}, lambda one: one.reference_s)
        assert ordered[1:] == expected


def test_a_model_earns_by_its_weight_and_by_what_is_lost_without_it(toy: Toy) -> None:
    assert toy.run("features").exit_code == 0
    standing = Standing(toy.store(), "best", lambda *_: Path(), SMALLEST_WEIGHT)
    of_models = [("mlp", "one"), ("mlp", "two"), ("ridge", "three"), ("svm", "four"), (GIVEN, "five")]
    configs = {name: SimpleNamespace(model=model) for model, name in of_models}
    standing.members = [
        cast(FinishedRun, SimpleNamespace(name=name, report=SimpleNamespace(config=config)))
        for name, config in configs.items()
    ]
    standing.ensemble = cast(
        EnsembleReport,
        SimpleNamespace(
            weights={"one": 1.0},  # it is submitted alone
            shares={"one": 0.3, "two": 0.3, "three": 0.2, "five": 0.2},
            lost_without={"mlp": 0.1, "ridge": 0.6, "svm": 0.1, GIVEN: 0.2},
        ),
    )
    assert standing.earned() == pytest.approx({"mlp": 0.35, "ridge": 0.4, "svm": 0.0})


def test_what_a_candidate_promises_for_a_second_is_that_of_the_version_that_fits() -> None:
    pool = Pool.of(Size("regression", 20_000, 30, 5), 300.0)
    small = replace(candidate("random_forest", 4.0, "n_trees=3"), label="forest", kind="forest")
    large = replace(candidate("random_forest", 400.0, "n_trees=300"), label="forest", kind="forest", smaller=(small,))
    probe = replace(candidate("mlp", 1.0), is_probe=True)
    pool.candidates = [probe, candidate("xgboost", 16.0), large]
    earned = {"lightgbm": 0.5, "extra_trees": 0.5}  # of the families of both
    assert [one.label for one in pool.in_order(earned, {}, 300.0)] == ["mlp", "forest", "xgboost"]
    assert pool.first_fitting(pool.candidates[2:], 300.0) is small
    assert pool.first_fitting(pool.candidates[2:], 3.0) is None


def test_sentences_are_read_first_whatever_their_components_cost_other_models() -> None:
    size = Size("binary", 7_600, 3, 5, 2, n_characters=800_000)
    many = quick_first(candidates_for(size), stopgaps_for(size)[0], 60.0)
    pace = Pace()
    quick = next(one for one in many if one.label == "lightgbm quick")
    wordless = candidate_of("lightgbm quick", replace(size, n_characters=0))
    pace.measured(quick, wordless.reference_s + 8.0)  # seconds that learning the components took
    ordered = in_order(many, {"lightgbm": 1.0}, {}, pace.estimate)
    assert [one.label for one in ordered[:2]] == ["text_linear words", "text_linear"]
    assert pace.estimate(ordered[1]) < 30.0
    assert stopgaps_for(size)[1].reference_s < 2.0  # the floor reads no texts
    longer = Size("multiclass", 19_600, 1, 5, 3, n_characters=2_900_000)
    long = candidates_for(longer)
    assert quick_first(long, stopgaps_for(longer)[0], 30.0) == long  # boosting is no quicker than reading words


def test_estimates_follow_what_was_measured_of_the_same_model() -> None:
    quick, forest, other = candidate("lightgbm", 2.0), candidate("extra_trees", 10.0), candidate("mlp", 1.0)
    pace = Pace()
    pace.measured(quick, 4.0)
    pace.measured(forest, 1.0)
    assert pace.estimate(candidate("lightgbm", 5.0, "lr=0.3")) == 10.0
    assert pace.estimate(candidate("extra_trees", 5.0, "n_trees=9")) == 0.5
    assert pace.estimate(other) == pytest.approx(np.median([2.0, 0.1]))


@pytest.mark.slow
def test_a_version_that_takes_too_long_makes_place_for_a_smaller_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    smaller = candidate("random_forest", 1.0, "n_trees=3")
    forest = replace(candidate("random_forest", 8.0, "n_trees=30"), smaller=(smaller,))
    monkeypatch.setattr(plan, "candidates_for", lambda *_, **__: [SMALL[0], forest])
    monkeypatch.setattr(bench, "tune", lambda *_: None)

    def take_long(config: RunConfig, _: threading.Event) -> None:
        bench.early["random_forest"] = 50.0 if config.params.get("n_trees") == 30 else 0.0

    bench.on_train, bench.seconds["random_forest"] = take_long, 5.0
    bench(2.0)
    assert bench.trained == ["ridge", "random_forest"]
    runs = [RunReport.read(path) for path in bench.toy.workspace.runs.glob("*/report.json")]
    assert {one.config.params["n_trees"] for one in runs if one.config.model == "random_forest"} == {3}
    assert all(0.0 < seconds <= 120.0 for seconds in bench.allowed)


def test_a_sample_of_the_rows_is_a_smaller_version_where_there_are_more_rows() -> None:
    few, many, huge = (candidate_of("lightgbm quick", Size("binary", n, 30, 5, 2)) for n in (10**5, 10**6, 10**7))
    assert not few.smaller
    for one in (many, huge):
        (sampled,) = one.smaller
        assert sampled.config.max_fit_rows == 100_000
        assert sampled.reference_s < 0.5 * one.reference_s
    assert few.reference_s < many.smaller[0].reference_s < huge.smaller[0].reference_s  # every row is predicted


@pytest.mark.slow
def test_what_would_take_too_much_of_the_time_is_trained_in_a_smaller_version(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    smaller = candidate("random_forest", 5.0, "n_trees=3")
    forest = replace(candidate("random_forest", 50.0, "n_trees=30"), smaller=(smaller,))
    monkeypatch.setattr(plan, "candidates_for", lambda *_, **__: [SMALL[0], forest])
    bench.seconds |= {"random_forest": 5.0}
    monkeypatch.setattr(bench, "tune", lambda *_: None)
    bench(1.7)
    runs = [RunReport.read(path) for path in bench.toy.workspace.runs.glob("*/report.json")]
    assert {one.config.params["n_trees"] for one in runs if one.config.model == "random_forest"} == {3}
    bench(1.7)
    assert bench.trained == []


@pytest.mark.slow
def test_the_short_race_of_few_rows_neither_tunes_nor_adds_seeds(bench: Bench) -> None:
    bench.seconds = dict.fromkeys(bench.seconds, 0.1)
    best = bench(None)
    assert sorted(bench.trained) == ["mlp", "neighbours", "ridge"]
    assert not bench.tuned
    assert len(pd.read_csv(best.submission)) == 20


@pytest.mark.parametrize("name", portfolio().variants)
def test_every_configuration_of_the_portfolio_is_valid(name: str) -> None:
    variant = portfolio().variants[name]
    assert variant.seeds == 1 or MODELS[variant.model].is_seeded
    for task in ("regression", "multiclass"):
        one = candidate_of(name, Size(task, 5_000, 300, 5, 3))
        shares = [version.reference_s for version in one.versions]
        assert shares == sorted(shares, reverse=True)
        assert len({version.config.run_name for version in one.versions}) == len(one.versions)


def test_the_regimes_name_variants_and_one_fits_every_table() -> None:
    everything = portfolio()
    named = {name for regime in everything.regimes for name in regime.order}
    assert {*named, *everything.texts_first, *plan.QUICK, plan.FLOOR} == everything.variants.keys()
    for task in ("regression", "binary", "multiclass"):
        for n_rows, n_columns in ((10, 1), (3_000, 10_000), (10_000_000, 1)):
            assert everything.order_for(task, n_rows, n_columns, has_sentences=False, is_absolute=False)


@pytest.fixture
def titanic(tmp_path: Path) -> Toy:
    """Return a competition of two classes."""
    workspace = Workspace(tmp_path / "work", "survivors")
    workspace.raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"id": range(120), "age": rng.normal(size=120), "fare": rng.normal(size=120)})
    table["survived"] = (table["age"] + rng.normal(size=120) > 0).astype(int)
    table[:80].to_csv(workspace.raw / "train.csv", index=False)
    table[80:].drop(columns="survived").to_csv(workspace.raw / "test.csv", index=False)
    table[80:][["id"]].assign(survived=0).to_csv(workspace.raw / "sample_submission.csv", index=False)
    workspace.spec.write_text(
        'name = "survivors"\nkaggle_slug = "survivors"\nid = "id"\ntarget = "survived"\ntask = "binary"\n'
        'metric = "accuracy"\n\n[folds]\nkind = "stratified"\nnumber = 3\n'
    )
    return Toy(workspace)


@pytest.mark.slow
def test_log_odds_and_a_decision_reach_the_predictions_of_new_rows(
    titanic: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in ("ridge", "neighbours"):
        result = titanic.run("train", "--model", model)
        assert result.exit_code == 0, result.output
    store = titanic.store()
    runs = [store.workspace.run(path.parent.name) for path in sorted(store.workspace.runs.glob("*/report.json"))]
    members = [finished_run(store, run, label=run.name, kind=run.name) for run in runs]
    shares = {member.name: weight for member, weight in zip(members, (0.7, 0.3), strict=True)}
    selection = Selection(
        shares,
        0.8,
        0.8,
        members[0].oof,
        LogOdds(weights=[1.4, -0.6], intercepts=[0.3, -0.3], kinds=[0, 1]),
        Adjustment(threshold=0.4),
    )
    choice = Choice("log odds, decided", selection, shares, {"log odds, decided": 0.8}, 0.8, {})
    monkeypatch.setattr(ensemble_run, "choose_ensemble", lambda *_, **__: choice)
    of_the_race: dict[str, Any] = {"given_up": [], "tuned": {}, "minutes": 1.0, "spent_s": 1.0}
    run = ensemble_folder(store)
    report = write_ensemble(store, run, members, smallest_weight=SMALLEST_WEIGHT, **of_the_race)
    stored = predictions_of(files.read_parquet(run.test), is_classification=True)
    odds = [np.log(member.test[:, 1] / member.test[:, 0]) for member in members]
    expected = 1 / (1 + np.exp(-(1.4 * odds[0] - 0.6 * odds[1] - 0.6)))
    np.testing.assert_array_equal(stored.argmax(axis=1), expected > 0.4)
    store.workspace.submissions.mkdir(parents=True, exist_ok=True)
    submission = pd.read_csv(make_final(store, report.config, run, FitContext(CPU)))
    output = tmp_path / "out.csv"
    result = titanic.run("predict", run.name, str(titanic.workspace.raw / "test.csv"), "-o", str(output))
    assert result.exit_code == 0, result.output
    pd.testing.assert_frame_equal(pd.read_csv(output), submission)


def test_the_plan_counts_the_cores_of_a_cluster() -> None:
    here = Size("regression", 1460, 79, 5)
    seconds = {n: {one.kind: one.reference_s for one in plan.candidates_for(replace(here, n_cores=n))} for n in (2, 8)}
    assert seconds[8]["lightgbm"] < seconds[2]["lightgbm"]
    assert seconds[8]["mlp"] == seconds[2]["mlp"]  # its packs are cut for this machine
    one_seed = candidate_of("lasso", replace(here, n_cores=80))
    assert one_seed.reference_s == pytest.approx(candidate_of("lasso", here).reference_s * 2 / 5)  # five fits
