"""Laws of ensembling: weights sum to one, estimates see no fold twice, averages are the metric's own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.config.run_report import LogOdds
from pipeline.metrics import METRICS
from pipeline.scoring import candidates, ensembling, greedy, ways, weights
from pipeline.scoring.blending import blend, combine
from pipeline.scoring.candidates import Candidates, scores_of_stack
from pipeline.scoring.ensembling import (
    SMALLEST_WEIGHT,
    best_by_fold,
    choose_ensemble,
    lead,
    nested_prediction_of_singles,
    select_greedily,
    select_linearly,
)

N_ROWS, N_FOLDS = 120, 4
FOLDS = np.arange(N_ROWS) % N_FOLDS
Oofs = dict[str, NDArray[np.float64]]


def prices(seed: int = 0, n_candidates: int = 12, noise: float = 0.3) -> tuple[Oofs, NDArray[np.float64]]:
    """Candidates with errors of their own around a target."""
    rng = np.random.default_rng(seed)
    target = np.exp(rng.normal(10, 0.5, N_ROWS))
    return {f"m{i}": target * np.exp(rng.normal(0, noise, N_ROWS)) for i in range(n_candidates)}, target


def with_wild_rows(oofs: Oofs, target: NDArray[np.float64]) -> tuple[Oofs, NDArray[np.float64]]:
    """One of the candidates predicts nonsense for a row in fifty."""
    wild = np.where(np.arange(N_ROWS) % 50 == 7, 100.0, 1.0)
    return {**oofs, "m0": oofs["m0"] * wild}, target


def classes(n_classes: int, seed: int = 0) -> tuple[Oofs, NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, n_classes, N_ROWS).astype(float)
    oofs = {}
    for i in range(8):
        raw = np.exp(rng.normal(0, 1, (N_ROWS, n_classes)) + np.eye(n_classes)[target.astype(int)])
        oofs[f"m{i}"] = raw / raw.sum(axis=1, keepdims=True)
    return oofs, target


def test_independent_errors_average_out() -> None:
    oofs, target = prices()
    selection = select_greedily(oofs, target, FOLDS, METRICS["log_rmse"])
    single = min(METRICS["log_rmse"](target, oof) for oof in oofs.values())
    assert selection.score < selection.nested_score < 0.6 * single
    assert sum(selection.weights.values()) == pytest.approx(1.0)
    assert list(selection.weights.values()) == sorted(selection.weights.values(), reverse=True)


def test_the_score_is_that_of_the_blend_with_its_weights() -> None:
    for metric, (oofs, target) in {"log_rmse": prices(), "rmsle": prices(1), "accuracy": classes(3)}.items():
        selection = select_greedily(oofs, target, FOLDS, METRICS[metric])
        whole = blend([oofs[name] for name in selection.weights], list(selection.weights.values()), METRICS[metric])
        assert METRICS[metric](target, whole) == pytest.approx(selection.score, rel=1e-12)


def test_a_perfect_candidate_is_taken_alone() -> None:
    oofs, target = prices()
    selection = select_greedily(oofs | {"perfect": target}, target, FOLDS, METRICS["rmse"])
    assert selection.weights == {"perfect": 1.0}
    assert selection.nested_score == 0.0


def test_the_nested_estimate_of_a_fold_does_not_see_its_targets() -> None:
    """With fold 0's targets changed, what the others choose for fold 0 stays the same."""
    oofs, target = prices(noise=0.8)
    changed = np.where(FOLDS == 0, target * 50, target)
    metric = METRICS["log_rmse"]
    by_fold = best_by_fold(oofs, target, FOLDS, metric)
    assert best_by_fold(oofs, changed, FOLDS, metric)[0] == by_fold[0]
    # a candidate that knows fold 0 alone: taken on its own fold's score, never for that fold
    knows_one = np.where(FOLDS == 0, target, 1.0)
    with_it = select_greedily(oofs | {"knows": knows_one}, target, FOLDS, metric)
    without = select_greedily(oofs, target, FOLDS, metric)
    assert with_it.nested_score >= without.nested_score
    assert best_by_fold(oofs | {"knows": knows_one}, target, FOLDS, metric)[0] != "knows"


def test_among_noise_the_nested_estimate_tells_what_selection_hides() -> None:
    """Labels that nobody can know: the selection score says otherwise, the nested one does not."""
    rng = np.random.default_rng(5)
    target = rng.integers(0, 2, N_ROWS).astype(float)
    second = rng.random((60, N_ROWS))
    oofs = {str(i): np.stack([1 - p, p], axis=1) for i, p in enumerate(second)}
    selection = select_greedily(oofs, target, FOLDS, METRICS["accuracy"])
    assert selection.score > 0.6
    assert selection.nested_score < selection.score - 0.05


def test_the_single_estimate_is_nested_as_well() -> None:
    oofs, target = prices(noise=0.8, n_candidates=40)
    metric = METRICS["log_rmse"]
    by_fold = best_by_fold(oofs, target, FOLDS, metric)
    nested = metric(target, nested_prediction_of_singles(by_fold, oofs, FOLDS))
    by_hand = np.concatenate([np.flatnonzero(fold == FOLDS) for fold in range(N_FOLDS)])
    prediction = np.concatenate([oofs[by_fold[fold]][fold == FOLDS] for fold in range(N_FOLDS)])
    assert nested == pytest.approx(metric(target[by_hand], prediction))
    assert nested >= min(metric(target, oof) for oof in oofs.values())


def test_rows_of_no_fold_play_no_part() -> None:
    oofs, target = prices()
    folds = np.where(np.arange(N_ROWS) < 30, -1, FOLDS)
    with_nan = {name: np.where(folds == -1, np.nan, oof) for name, oof in oofs.items()}
    short = {name: oof[30:] for name, oof in oofs.items()}
    metric = METRICS["rmse"]
    assert select_greedily(with_nan, target, folds, metric) == select_greedily(short, target[30:], folds[30:], metric)


@pytest.mark.parametrize("name", sorted(name for name, metric in METRICS.items() if metric.of_each))
def test_scores_at_once_are_those_of_the_metric(name: str) -> None:
    metric = METRICS[name]
    oofs, target = prices() if metric.reads == "value" else classes(2)
    if name == "roc_auc":  # with ties
        oofs = {key: np.round(oof, 1) for key, oof in oofs.items()}
    stack = Candidates.of(oofs, target, np.zeros(N_ROWS, dtype=np.int64), metric).stack
    at_once = scores_of_stack(stack, target, metric)
    np.testing.assert_allclose(at_once, [metric(target, oofs[one]) for one in sorted(oofs)], rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["r2", "f1_macro", "roc_auc", "quadratic_kappa"])
def test_metrics_without_a_formula_are_asked_one_by_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greedy, "N_STEPS", 4)
    metric = METRICS[name]
    oofs, target = prices() if metric.reads == "value" else classes(3)
    selection = select_greedily(oofs, target, FOLDS, metric)
    assert metric.is_better(selection.score, max(metric(target, oof) for oof in oofs.values()) - 1e-9)


def test_several_targets() -> None:
    oofs, target = prices()
    wide = {name: np.stack([oof, 2 * oof], axis=1) for name, oof in oofs.items()}
    selection = select_greedily(wide, np.stack([target, 2 * target], axis=1), FOLDS, METRICS["rmse"])
    assert len(selection.weights) > 1
    assert np.isfinite(selection.nested_score)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(1.0, 1e6), min_size=2, max_size=5),
    st.lists(st.floats(0.01, 10.0), min_size=5, max_size=5),
    st.sampled_from(["log_rmse", "rmsle", "mae"]),
)
def test_a_blend_lies_between_its_parts(values: list[float], weights: list[float], metric: str) -> None:
    blended = blend([np.array([value]) for value in values], weights[: len(values)], METRICS[metric])
    assert min(values) * (1 - 1e-9) <= blended[0] <= max(values) * (1 + 1e-9)


def test_one_part_comes_back_as_it_is() -> None:
    part = np.array([0.5, np.nan, 3.0])
    assert blend([part], [0.3], METRICS["log_rmse"]) is part


def test_log_rmse_averages_logs_and_survives_wild_predictions() -> None:
    metric = METRICS["log_rmse"]
    np.testing.assert_allclose(blend([np.array([100.0]), np.array([400.0])], [1, 1], metric), [200.0])
    np.testing.assert_allclose(blend([np.array([-5.0]), np.array([100.0])], [1, 1], metric), [10.0])  # clamped to 1


def test_a_lead_is_the_mean_of_the_folds_differences_with_its_error() -> None:
    _, target = prices()
    metric = METRICS["log_rmse"]
    good, bad = target * 1.01, target * np.where(FOLDS == 0, 1.02, 1.05)
    mean, error = lead(good, bad, target, FOLDS, metric)
    gains = np.log([1.02, *[1.05] * (N_FOLDS - 1)]) - np.log(1.01)
    assert mean == pytest.approx(gains.mean())
    assert error == pytest.approx(gains.std(ddof=1) / N_FOLDS**0.5)
    assert lead(bad, good, target, FOLDS, metric)[0] == pytest.approx(-mean)


@pytest.mark.parametrize("metric", ["log_rmse", "accuracy"])
def test_linear_weights_are_those_of_least_squares_and_score_as_their_blend(
    metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "PRIOR_ROWS", 0.0)
    oofs, target = prices() if metric == "log_rmse" else classes(3)
    found = select_linearly(oofs, target, FOLDS, METRICS[metric], smallest=0.0)
    shares = list(found.weights.values())
    assert sum(shares) == pytest.approx(1.0)
    assert METRICS[metric](target, blend([oofs[name] for name in found.weights], shares, METRICS[metric])) == (
        pytest.approx(found.score, rel=1e-9)
    )
    if metric == "log_rmse":
        rng = np.random.default_rng(0)
        others = rng.dirichlet(np.ones(len(oofs)), 200)
        scores = [METRICS[metric](target, blend(list(oofs.values()), list(w), METRICS[metric])) for w in others]
        assert found.score <= min(scores)


def test_linear_weights_of_a_fold_do_not_see_its_targets() -> None:
    oofs, target = prices()
    before = select_linearly(oofs, target, FOLDS, METRICS["log_rmse"]).nested_prediction
    changed = np.where(FOLDS == 0, target * 9.0, target)
    after = select_linearly(oofs, changed, FOLDS, METRICS["log_rmse"]).nested_prediction
    np.testing.assert_array_equal(before[FOLDS == 0], after[FOLDS == 0])
    assert (before[FOLDS == 1] != after[FOLDS == 1]).any()


def test_light_candidates_are_pruned_and_the_others_weighed_again() -> None:
    oofs, target = prices()
    found = select_linearly(oofs, target, FOLDS, METRICS["log_rmse"], smallest=0.08)
    assert min(found.weights.values()) >= 0.08
    assert sum(found.weights.values()) == pytest.approx(1.0)
    one = select_linearly({"a": target * 1.1}, target, FOLDS, METRICS["log_rmse"])
    assert one.weights == {"a": 1.0}


def test_a_choice_tells_the_nested_score_of_what_it_takes() -> None:
    oofs, target = prices()
    choice = choose_ensemble(oofs, target, FOLDS, METRICS["log_rmse"])
    assert choice.selection.nested_score == choice.nested_scores[choice.method]
    assert choice.nested_scores["single"] > choice.selection.nested_score


def test_a_selection_on_some_of_many_rows_is_still_told_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    oofs, target = prices()
    whole = select_greedily(oofs, target, FOLDS, METRICS["log_rmse"])
    monkeypatch.setattr(candidates, "MOST_ROWS", 40)
    drawn = select_greedily(oofs, target, FOLDS, METRICS["log_rmse"])
    assert np.isfinite(drawn.nested_prediction).all()
    prediction = blend([oofs[name] for name in drawn.weights], list(drawn.weights.values()), METRICS["log_rmse"])
    assert drawn.score == pytest.approx(METRICS["log_rmse"](target, prediction))
    assert drawn.nested_score < 1.5 * whole.nested_score


def imbalanced(seed: int = 0) -> tuple[Oofs, NDArray[np.float64]]:
    """Three classes, the first of which nearly always seems the most probable one."""
    oofs, target = classes(3, seed)
    prior = np.array([1.0, 0.2, 0.1])
    return {name: oof * prior / (oof * prior).sum(axis=1, keepdims=True) for name, oof in oofs.items()}, target


CASES = {
    "clipped": ("rmsle", lambda: with_wild_rows(*prices(2, n_candidates=6))),
    "linear": ("rmse", prices),
    "absolute": ("mae", prices),
    "log loss": ("roc_auc", lambda: classes(2)),
    "log odds": ("log_loss", lambda: classes(3)),
    "greedy": ("log_rmse", lambda: prices(1)),
}


@pytest.mark.parametrize("way", CASES)
def test_no_way_sees_the_targets_of_the_fold_it_predicts(way: str) -> None:
    name, make = CASES[way]
    oofs, target = make()
    metric = METRICS[name]
    other = (
        (target + 1) % (3 if metric.reads != "value" and target.max() > 1 else 2) if metric.reads != "value" else 9.0
    )
    before, after = (
        Candidates.of(oofs, y, FOLDS, metric) for y in (target, np.where(FOLDS == 0, other * np.ones(N_ROWS), target))
    )
    fits = (ways.ways(one, SMALLEST_WEIGHT)[way] for one in (before, after))
    first, second = (one.selection(fit).nested_prediction for one, fit in zip((before, after), fits, strict=True))
    np.testing.assert_array_equal(first[FOLDS == 0], second[FOLDS == 0])
    assert (first[FOLDS != 0] != second[FOLDS != 0]).any()


@pytest.mark.parametrize("way", CASES)
def test_the_order_of_the_candidates_does_not_matter(way: str) -> None:
    name, make = CASES[way]
    oofs, target = make()
    turned = dict(reversed(oofs.items()))
    one, two = (choose_ensemble(some, target, FOLDS, METRICS[name]) for some in (oofs, turned))
    assert one.method == two.method
    assert one.selection.weights == pytest.approx(two.selection.weights, abs=1e-6)
    assert one.nested_scores == pytest.approx(two.nested_scores, rel=1e-6)


@pytest.mark.parametrize("way", CASES)
def test_an_ensemble_predicts_as_it_is_told(way: str) -> None:
    name, make = CASES[way]
    oofs, target = make()
    all_of = Candidates.of(oofs, target, FOLDS, METRICS[name])
    found = all_of.selection(ways.ways(all_of, SMALLEST_WEIGHT)[way])
    assert sum(found.weights.values()) == pytest.approx(1.0)
    members, shares = [oofs[one] for one in found.weights], list(found.weights.values())
    assert METRICS[name](target, combine(members, shares, METRICS[name], found.rule)) == pytest.approx(found.score)


@pytest.mark.parametrize("way", CASES)
def test_candidates_of_a_kind_share_a_weight(way: str) -> None:
    name, make = CASES[way]
    metric, (oofs, target) = METRICS[name], make()
    kinds = dict.fromkeys(list(oofs)[:5], "z: seeds")
    all_of = Candidates.of(oofs, target, FOLDS, metric, kinds)
    found = all_of.selection(ways.ways(all_of, SMALLEST_WEIGHT)[way])
    seeds = {found.weights.get(name, 0.0) for name in kinds}
    assert len(seeds) == 1
    members, shares = [oofs[one] for one in found.weights], list(found.weights.values())
    assert metric(target, combine(members, shares, metric, found.rule)) == pytest.approx(found.score)
    if way in ("linear", "log odds"):  # as if the mean of the kind were one candidate
        mean = blend([oofs[one] for one in kinds], [0.2] * 5, metric)
        pooled = {one: oof for one, oof in oofs.items() if one not in kinds} | {"z: seeds": mean}
        as_one = Candidates.of(pooled, target, FOLDS, metric)
        expected = as_one.selection(ways.ways(as_one, SMALLEST_WEIGHT)[way])
        assert found.nested_score == pytest.approx(expected.nested_score, rel=1e-9)
        assert 5 * seeds.pop() == pytest.approx(expected.weights.get("z: seeds", 0.0), abs=1e-9)
    each = choose_ensemble(oofs, target, FOLDS, metric, kinds={one: one for one in oofs})
    assert each.selection == choose_ensemble(oofs, target, FOLDS, metric).selection


@pytest.mark.parametrize("name", ["rmse", "mae", "log_loss", "roc_auc", "accuracy", "balanced_accuracy"])
@pytest.mark.parametrize("seed", range(4))
def test_an_ensemble_is_never_worse_than_the_best_single_candidate(name: str, seed: int) -> None:
    metric = METRICS[name]
    oofs, target = prices(seed, n_candidates=3, noise=0.9) if metric.reads == "value" else classes(2, seed)
    good = target * 1.001 if metric.reads == "value" else np.stack([1 - target, target], axis=1) * 0.002 + 0.499
    choice = choose_ensemble(oofs | {"timid but right": good}, target, FOLDS, metric)
    assert not metric.is_better(choice.nested_scores["single"], choice.selection.nested_score)
    assert choice.selection.nested_score == choice.nested_scores[choice.method]


def test_weights_are_those_of_the_least_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "PRIOR_ROWS", 0.0)
    rng = np.random.default_rng(0)
    oofs, target = prices()
    errors = np.stack([oof - target for oof in oofs.values()])
    others = rng.dirichlet(np.ones(len(oofs)), 300)
    found = weights.absolute_error_weights(errors)
    assert np.abs(found @ errors).mean() <= np.abs(others @ errors).mean(axis=1).min() * 1.001
    oofs, target = classes(3)
    of_true = np.stack([oof[np.arange(N_ROWS), target.astype(int)] for oof in oofs.values()])
    others = rng.dirichlet(np.ones(len(oofs)), 300)
    found = weights.log_loss_weights(of_true)
    assert found.min() >= 0
    assert -np.log(found @ of_true).mean() <= -np.log(others @ of_true).mean(axis=1).min() + 1e-9


def test_log_odds_mend_candidates_that_are_too_sure() -> None:
    oofs, target = classes(3)
    too_sure = {name: oof**4 / (oof**4).sum(axis=1, keepdims=True) for name, oof in oofs.items()}
    choice = choose_ensemble(too_sure, target, FOLDS, METRICS["log_loss"])
    assert choice.method == "log odds"
    assert isinstance(choice.selection.rule, LogOdds)
    assert sum(choice.selection.rule.weights) < 2.5  # eight sure voices count as little more than one
    assert choice.selection.nested_score < 0.9 * choice.nested_scores["log loss"]


def test_a_neglected_class_gets_more_weight_where_the_metric_asks_for_it() -> None:
    oofs, target = imbalanced()
    metric = METRICS["balanced_accuracy"]
    all_of = Candidates.of(oofs, target, FOLDS, metric)
    plain = ways.linear(all_of, SMALLEST_WEIGHT)
    mended = all_of.selection(ways.decided(all_of, plain))
    assert mended.adjustment is not None
    assert mended.adjustment.class_weights is not None
    assert mended.adjustment.class_weights[0] < min(mended.adjustment.class_weights[1:])
    assert mended.nested_score > all_of.selection(plain).nested_score + 0.05


def test_the_rows_of_a_single_holdout_are_nested_in_parts() -> None:
    oofs, target = prices()
    choice = choose_ensemble(oofs, target, np.where(np.arange(N_ROWS) < 40, -1, 0), METRICS["rmse"])
    assert np.isfinite(choice.selection.nested_score)
    assert len(choice.selection.weights) > 1


def test_what_choosing_a_way_gains_by_luck_is_told() -> None:
    """Among candidates of pure noise the ways differ by luck alone, and the corrected score is not better."""
    rng = np.random.default_rng(3)
    gains = []
    for _ in range(20):
        target = rng.integers(0, 3, N_ROWS).astype(float)
        raw = rng.dirichlet(np.ones(3), (6, N_ROWS))
        choice = choose_ensemble(dict(zip("abcdef", raw, strict=True)), target, FOLDS, METRICS["accuracy"])
        gains.append(choice.selection.nested_score - choice.corrected_score)
    assert np.mean(gains) > 0


@pytest.mark.parametrize("name", ["rmse", "accuracy"])
def test_what_others_can_do_as_well_is_not_lost(name: str) -> None:
    rng = np.random.default_rng(0)
    if name == "rmse":
        target = rng.normal(size=N_ROWS)
        good, other = (target + rng.normal(0, spread, N_ROWS) for spread in (0.5, 0.7))
        oofs = {"a1": good, "a2": good + 0.02 * rng.normal(size=N_ROWS), "b": good + 0.02 * rng.normal(size=N_ROWS)}
        oofs["c"] = other
    else:
        probabilities, target = classes(3)
        good, other = probabilities["m0"], probabilities["m1"]
        oofs = {"a1": good, "a2": 0.98 * good + 0.02 / 3, "b": 0.96 * good + 0.04 / 3, "c": other}
    groups = {"a1": "a", "a2": "a", "b": "b", "c": "c"}
    choice = choose_ensemble(oofs, target, FOLDS, METRICS[name], groups=groups)
    assert sum(choice.lost_without.values()) == pytest.approx(1.0)
    assert choice.lost_without["c"] > 0.8
    assert choose_ensemble({"a1": good}, target, FOLDS, METRICS[name], groups=groups).lost_without == {"a": 1.0}


def test_a_lucky_seed_is_not_chosen_alone_but_its_kind() -> None:
    rng = np.random.default_rng(0)
    target = rng.normal(size=N_ROWS)
    useless = {f"u{number}": rng.normal(0, 9.0, N_ROWS) for number in range(3)}
    shared = target + rng.normal(0, 0.5, N_ROWS)
    oofs = useless | {f"a{number}": shared + 0.02 * rng.normal(size=N_ROWS) for number in range(4)}
    kinds = {name: name[0] for name in oofs}
    single = ways.single(Candidates.of(oofs, target, FOLDS, METRICS["rmse"], kinds))
    names = sorted(oofs)
    assert dict(zip(names, single(np.ones(N_ROWS, dtype=bool)).weights, strict=True)) == dict.fromkeys(
        names, 0.0
    ) | dict.fromkeys([name for name in names if name[0] == "a"], 0.25)


def test_what_an_ensemble_would_be_made_of_is_told_where_one_is_better_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    target = rng.normal(size=N_ROWS)
    oofs = {"bad": rng.normal(0, 5.0, N_ROWS), "good": target + 0.1 * rng.normal(size=N_ROWS)}
    equal = ways.Combination(np.array([0.5, 0.5]))
    monkeypatch.setattr(ensembling, "ways", lambda *_: {"equal": lambda _: equal})
    choice = choose_ensemble(oofs, target, FOLDS, METRICS["rmse"])
    assert choice.method == "single"
    assert choice.selection.weights == {"good": 1.0}
    assert choice.shares == {"bad": 0.5, "good": 0.5}
