"""Laws of the folds: every row is validated once, what belongs together stays together, and time only goes forward."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.base.errors import DataError, SpecError
from pipeline.competition.fold_kinds import TrainRows, assign_folds
from pipeline.competition.folds import NEVER_VALIDATED, sample_rows, splits_of, window_of
from pipeline.config.sections import Folds

HERE = Path("nowhere")


def assign(
    folds: Folds,
    n_rows: int,
    *,
    target: Any = None,
    classes: Sequence[object] = (),
    folder: Path = HERE,
    ids: pd.Series | None = None,
    **columns: Any,
) -> np.ndarray:
    target = np.arange(n_rows, dtype=np.float64) if target is None else np.asarray(target, dtype=np.float64)
    ids = pd.Series(np.arange(1, n_rows + 1), name="Id") if ids is None else ids
    return assign_folds(folds, TrainRows(ids, target, classes, pd.DataFrame(columns), folder))


def codes_of(*counts: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n_folds=st.integers(2, 7), kind=st.sampled_from(["contiguous", "shuffled", "stratified"]))
def test_every_row_is_validated_exactly_once(data: st.DataObject, n_folds: int, kind: Any) -> None:
    n_rows = data.draw(st.integers(n_folds, 60))
    fold_of_row = assign(Folds(kind=kind, number=n_folds), n_rows)
    assert fold_of_row.dtype == np.int64
    splits = splits_of(fold_of_row, is_chained=False)
    assert len(splits) == n_folds
    assert sorted(np.concatenate([split.valid_rows for split in splits])) == list(range(n_rows))
    for split in splits:
        assert sorted([*split.train_rows, *split.valid_rows]) == list(range(n_rows))
        assert len(split.train_rows)
        assert len(split.valid_rows)
    sizes = [len(split.valid_rows) for split in splits]
    assert max(sizes) - min(sizes) <= (1 if kind != "stratified" else n_folds)


@settings(max_examples=40, deadline=None)
@given(
    groups=st.lists(st.integers(0, 9), min_size=12, max_size=50), kind=st.sampled_from(["group", "stratified_group"])
)
def test_a_group_is_never_torn(groups: list[int], kind: Any) -> None:
    n_folds = 3
    if len(set(groups)) < n_folds:
        groups = [*groups, 10, 11, 12]
    fold_of_row = assign(Folds(kind=kind, number=n_folds, group="g"), len(groups), g=groups)
    assert set(fold_of_row) == set(range(n_folds))
    assert (pd.Series(fold_of_row).groupby(groups).nunique() == 1).all()


@pytest.mark.parametrize("kind", ["stratified", "stratified_group"])
@pytest.mark.parametrize("n_rare", [1, 2])
def test_the_rows_of_a_rare_class_go_to_different_folds(kind: Any, n_rare: int) -> None:
    codes = codes_of(18, n_rare)
    folds = Folds(kind=kind, number=3, group="g" if kind.endswith("group") else None)
    fold_of_row = assign(folds, len(codes), target=codes, classes=["no", "yes"], g=range(len(codes)))
    assert set(fold_of_row) == {0, 1, 2}
    assert len(set(fold_of_row[codes == 1])) == n_rare


def test_contiguous_folds_are_blocks_and_validate_the_remainder() -> None:
    fold_of_row = assign(Folds(kind="contiguous", number=3), 11)
    np.testing.assert_array_equal(fold_of_row, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2])


def test_stratified_folds_hold_the_classes_in_proportion() -> None:
    codes = codes_of(50, 25, 10)
    fold_of_row = assign(Folds(kind="stratified", number=5), 85, target=codes, classes=["a", "b", "c"])
    counts = pd.crosstab(fold_of_row, codes).to_numpy()
    np.testing.assert_array_equal(counts, [[10, 5, 2]] * 5)


def test_stratified_folds_of_numbers_hold_the_quantiles_in_proportion() -> None:
    target = np.random.default_rng(0).lognormal(size=200)
    fold_of_row = assign(Folds(kind="stratified", number=5, bins=10), 200, target=target)
    deciles = pd.qcut(target, 10, labels=False)
    np.testing.assert_array_equal(pd.crosstab(fold_of_row, deciles).to_numpy(), 4)


def test_stratified_folds_take_ties_and_several_targets() -> None:
    fold_of_row = assign(Folds(kind="stratified", number=5), 40, target=np.zeros(40))
    np.testing.assert_array_equal(np.bincount(fold_of_row), 8)
    two = np.random.default_rng(0).normal(size=(40, 2))
    np.testing.assert_array_equal(
        assign(Folds(kind="stratified"), 40, target=two), assign(Folds(kind="stratified"), 40, target=two[:, 0])
    )


def test_stratified_folds_of_several_classes_hold_their_combinations_in_proportion() -> None:
    generator = np.random.default_rng(0)
    target = (generator.random((200, 3)) < [0.5, 0.3, 0.0]).astype(float)
    target[:10, 2] = 1.0  # rare, in several combinations
    fold_of_row = assign(Folds(kind="stratified", number=5), 200, target=target, classes=["no", "yes"])
    counts = pd.crosstab(fold_of_row, [target[:, 0], target[:, 1], target[:, 2]]).to_numpy()
    assert np.ptp(counts, axis=0).max() <= 2
    assert pd.crosstab(fold_of_row, target[:, 2])[1.0].between(1, 3).all()


def test_stratified_groups_hold_the_classes_nearly_in_proportion() -> None:
    groups = np.repeat(np.arange(40), 5)
    codes = np.repeat(codes_of(30, 10), 5)
    fold_of_row = assign(
        Folds(kind="stratified_group", number=5, group="g"), 200, target=codes, classes=["a", "b"], g=groups
    )
    counts = pd.crosstab(fold_of_row, codes).to_numpy()
    np.testing.assert_array_equal(counts, [[30, 10]] * 5)
    assert (pd.Series(fold_of_row).groupby(groups).nunique() == 1).all()


KINDS = ["shuffled", "stratified", "group", "stratified_group"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_makes_the_same_folds_and_another_makes_others(kind: Any) -> None:
    def folds(seed: int) -> np.ndarray:
        return (
            assign(Folds(kind=kind, seed=seed, group="g"), 80, g=np.arange(80) // 2)
            if "group" in kind
            else assign(Folds(kind=kind, seed=seed), 80)
        )

    np.testing.assert_array_equal(folds(3), folds(3))
    assert (folds(3) != folds(4)).any()


# --- time


@settings(max_examples=60, deadline=None)
@given(times=st.lists(st.integers(0, 30), min_size=8, max_size=60), n_folds=st.integers(2, 4))
def test_time_folds_train_strictly_before_they_validate(times: list[int], n_folds: int) -> None:
    try:
        fold_of_row = assign(Folds(kind="time", number=n_folds, time="t"), len(times), t=times)
    except DataError:
        return  # too few distinct times; what is refused is tested below
    moment = np.array(times)
    splits = splits_of(fold_of_row, is_chained=True)
    assert len(splits) == n_folds
    for split in splits:
        assert moment[split.train_rows].max() < moment[split.valid_rows].min()
        np.testing.assert_array_equal(split.train_rows, np.flatnonzero(moment < moment[split.valid_rows].min()))
    validated = np.concatenate([split.valid_rows for split in splits])
    assert len(np.unique(validated)) == len(validated)
    assert set(validated) == set(np.flatnonzero(fold_of_row != NEVER_VALIDATED))


def test_time_folds_are_even_and_ties_stay_together() -> None:
    even = assign(Folds(kind="time", number=3, time="t"), 8, t=[7, 6, 5, 4, 3, 2, 1, 0])
    np.testing.assert_array_equal(even, [2, 2, 1, 1, 0, 0, -1, -1])
    tied = assign(Folds(kind="time", number=2, time="t"), 9, t=[0, 1, 2, 0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(tied, [-1, 0, 1] * 3)
    uneven = assign(Folds(kind="time", number=2, time="t"), 10, t=[0, 0, 0, 1, 1, 1, 1, 2, 2, 3])
    np.testing.assert_array_equal(uneven, [-1, -1, -1, 0, 0, 0, 0, 1, 1, 1])


def test_times_are_moments_not_words() -> None:
    words = pd.Series(["2020-02-01 09:00:00", "2019-12-31 23:00:00", "2020-02-01 10:00:00"], dtype="str")
    np.testing.assert_array_equal(assign(Folds(kind="time", number=2, time="t"), 3, t=words), [0, -1, 1])
    np.testing.assert_array_equal(
        assign(Folds(kind="time", number=2, time="t"), 3, t=pd.to_datetime(words)), [0, -1, 1]
    )
    np.testing.assert_array_equal(assign(Folds(kind="time", number=2, time="t"), 3, t=[9, 100, 10]), [-1, 1, 0])


def test_time_folds_of_one_length_end_with_the_last_row() -> None:
    days = pd.Series(pd.date_range("2024-01-01", periods=10))
    folds = Folds(kind="time", number=2, time="t", length=3)
    np.testing.assert_array_equal(assign(folds, 10, t=days), [-1] * 4 + [0] * 3 + [1] * 3)


def test_a_gap_and_a_window_limit_what_a_fold_trains_on() -> None:
    days = np.array([0.0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    folds = Folds(kind="time", number=2, time="t", length=2, gap=1, max_train=3)
    fold_of_row = assign(folds, 10, t=days)
    splits = splits_of(fold_of_row, is_chained=True, window=window_of(folds, days))
    assert [split.train_rows.tolist() for split in splits] == [[2, 3, 4], [4, 5, 6]]
    assert [split.valid_rows.tolist() for split in splits] == [[6, 7], [8, 9]]
    assert window_of(Folds(kind="time", time="t"), days) is None


def test_keys_of_time_folds_are_refused_elsewhere() -> None:
    with pytest.raises(ValueError, match="'gap' is for kind = \"time\""):
        Folds(kind="shuffled", gap=2)


# --- folds made by others


def test_a_column_of_folds_is_taken_in_its_order() -> None:
    np.testing.assert_array_equal(assign(Folds(kind="column", column="f"), 4, f=[3, 1, 3, 2]), [2, 0, 2, 1])
    words = pd.Series(["b", "a", "b", "a"], dtype="str")
    np.testing.assert_array_equal(assign(Folds(kind="column", column="f"), 4, f=words), [1, 0, 1, 0])


def test_folds_written_as_text_keep_the_order_of_numbers() -> None:
    written = pd.Series([str(fold) for fold in range(12)], dtype="str")
    np.testing.assert_array_equal(assign(Folds(kind="column", column="f"), 12, f=written), np.arange(12))


def test_a_file_gives_folds_by_id_not_by_row(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("fold,Id\n1,30\n0,10\n1,20\n7,99\n")
    folds = Folds(kind="file", file="f.csv")
    np.testing.assert_array_equal(assign(folds, 3, folder=tmp_path, ids=pd.Series([10, 20, 30])), [0, 1, 1])
    text_ids = pd.Series(["10", "30", "20"], dtype="str")
    np.testing.assert_array_equal(assign(folds, 3, folder=tmp_path, ids=text_ids), [0, 1, 1])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "the fold file does not exist"),
        ("", "cannot be read"),
        ("Id,folds\n1,0\n", "needs two columns"),
        ("Id,fold,more\n1,0,0\n", "needs two columns"),
        ("Id,fold\n1,0\n2,1\n1,1\n", "the id '1' appears twice"),
        ("Id,fold\n1,0\n2,1\n", "the train id '3' has no fold"),
        ("Id,fold\n1,0\n2,1\n3,\n", "the train id '3' has no fold"),
        ("Id,fold\n1,0\n2,0\n3,0\n", "fewer than two folds"),
    ],
)
def test_a_wrong_fold_file_is_told(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "f.csv").write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        assign(Folds(kind="file", file="f.csv"), 3, folder=tmp_path)
    assert str(tmp_path / "f.csv") in caught.value.message


# --- what the rows do not allow

REFUSED: dict[str, tuple[Folds, int, dict[str, Any], list[str]]] = {
    "fewer rows than folds": (Folds(number=9), 8, {}, ["8 train rows are too few for 9 folds", "[folds] number"]),
    "small classes only": (
        Folds(kind="stratified", number=3),
        4,
        {"target": [0] * 2 + [1] * 2, "classes": ["no", "yes"]},
        ["no class has more than 2 rows", "3 folds", "at most 2 folds"],
    ),
    "few groups": (
        Folds(kind="group", number=3, group="g"),
        6,
        {"g": [1, 1, 1, 2, 2, 2]},
        ["2 groups are too few for 3 folds", "column 'g'"],
    ),
    "a torn group": (
        Folds(kind="contiguous", number=2, group="g"),
        4,
        {"g": ["a", "b", "b", "c"]},
        ["the group 'b' is in 2 folds", "column 'g'"],
    ),
    "a missing group": (
        Folds(kind="group", number=2, group="g"),
        4,
        {"g": ["a", None, "b", "c"]},
        ["the group is missing", "column 'g', row 2"],
    ),
    "a missing time": (
        Folds(kind="time", number=2, time="t"),
        4,
        {"t": [1.0, 2.0, np.nan, 3.0]},
        ["the time is missing", "column 't', row 3"],
    ),
    "a time that is none": (
        Folds(kind="time", number=2, time="t"),
        4,
        {"t": pd.Series(["2020-01-01", "2020-01-02", "soon", "2020-01-03"], dtype="str")},
        ["'soon' is not a time", "column 't', row 3"],
    ),
    "few times": (
        Folds(kind="time", number=3, time="t"),
        6,
        {"t": [1, 1, 2, 2, 3, 3]},
        ["3 distinct times are too few for 3 folds", "column 't'"],
    ),
    "folds longer than the data": (
        Folds(kind="time", number=3, time="t", length=2),
        6,
        {"t": range(6)},
        ["3 folds of 2 leave no row before the folds", "fewer or shorter folds"],
    ),
    "a crowded time": (
        Folds(kind="time", number=2, time="t"),
        9,
        {"t": [1, 1, 1, 1, 1, 1, 1, 2, 3]},
        ["too many rows have the same time", "column 't'"],
    ),
    "a missing fold": (
        Folds(kind="column", column="f"),
        3,
        {"f": [0.0, np.nan, 1.0]},
        ["the fold is missing", "row 2"],
    ),
    "one fold": (Folds(kind="column", column="f"), 3, {"f": [4, 4, 4]}, ["fewer than two folds", "column 'f'"]),
}


@pytest.mark.parametrize(("folds", "n_rows", "more", "fragments"), REFUSED.values(), ids=REFUSED)
def test_rows_that_do_not_allow_the_folds_are_told(
    folds: Folds, n_rows: int, more: dict[str, Any], fragments: list[str]
) -> None:
    with pytest.raises(DataError) as caught:
        assign(folds, n_rows, **more)
    for fragment in fragments:
        assert fragment in caught.value.message


@pytest.mark.parametrize("seed", range(3))
def test_a_holdout_validates_its_share_stratified_by_class_and_the_rest_trains(seed: int) -> None:
    codes = codes_of(60, 30, 10)
    fold_of_row = assign(Folds(kind="holdout", share=0.2, seed=seed), 100, target=codes, classes=["a", "b", "c"])
    assert set(fold_of_row) == {NEVER_VALIDATED, 0}
    assert np.bincount(codes[fold_of_row == 0]).tolist() == [12, 6, 2]
    (split,) = splits_of(fold_of_row, is_chained=False)
    assert sorted([*split.train_rows, *split.valid_rows]) == list(range(100))
    assert len(split.train_rows) == 80


def test_a_holdout_of_numbers_is_a_plain_draw() -> None:
    first, second = (assign(Folds(kind="holdout", share=0.25, seed=seed), 40) for seed in (0, 1))
    assert (first == 0).sum() == (second == 0).sum() == 10
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(("share", "counts"), [(0.001, (5, 5)), (0.1, (9, 1)), (0.05, (10, 10, 10))])
def test_a_holdout_without_a_row_of_every_class_is_refused(share: float, counts: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="share"):
        assign(Folds(kind="holdout", share=share), sum(counts), target=codes_of(*counts), classes=["a", "b", "c"])


# ---- samples of the rows


@settings(max_examples=40, deadline=None)
@given(n_rows=st.integers(100, 299), seed=st.integers(0, 5))
def test_a_sample_has_its_share_of_every_fold_and_class(n_rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    folds, codes = rng.integers(-1, 3, 300), rng.choice(3, 300, p=[0.7, 0.2, 0.1]).astype(float)
    rows = sample_rows(folds, codes, n_rows, seed)
    assert len(np.unique(rows)) == n_rows
    assert (np.diff(rows) > 0).all()
    for fold in range(-1, 3):
        for code in range(3):
            is_here = (folds == fold) & (codes == code)
            assert abs(is_here[rows].sum() - is_here.sum() * n_rows / 300) < 2
    assert np.array_equal(sample_rows(folds, codes, 1000, seed), np.arange(300))


def test_a_sample_that_is_too_small_is_refused() -> None:
    with pytest.raises(SpecError, match="too few for 3 folds"):
        sample_rows(np.arange(300) % 3, np.zeros(300), 59, 0)
