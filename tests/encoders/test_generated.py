"""Laws of generated columns: learned on the fit rows alone, computed from a row's own cells, stored whole."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline.base.errors import DataError
from pipeline.config.run import FeatureSteps
from pipeline.config.types import Role
from pipeline.encoders import table
from pipeline.encoders.candidates import candidates_of, levels_of
from pipeline.encoders.encoded import Encoded, View
from pipeline.encoders.generated import Arithmetic, Generated, GroupStatistic, Key, Levels, RowStatistic, Source
from pipeline.encoders.generating import choose_generated
from pipeline.encoders.table import TableEncoder, correct_fit_rows, fit_encoder

ROLES: dict[str, Role] = {
    "width": "number",
    "height": "number",
    "depth": "number",
    "noise": "number",
    "floors": "number",
    "town": "category",
    "kind": "category",
    "grade": "ordered",
}
ORDERED = {"grade": ["low", "high"]}
STEPS = FeatureSteps(generated=40, scaling="none", ordered_mapping=True)
VIEWS: tuple[View, ...] = ("onehot", "ordinal")
N_ROWS = 600


def frame_of(n_rows: int = N_ROWS, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "width": rng.normal(10, 2, n_rows),
            "height": rng.normal(10, 2, n_rows),
            "depth": pd.Series(rng.normal(10, 2, n_rows)).mask(rng.random(n_rows) < 0.05),
            "noise": rng.normal(0, 1, n_rows),
            "floors": rng.integers(1, 5, n_rows),
            "town": rng.choice(list("ABCDE"), n_rows),
            "kind": pd.Series(rng.choice(list("xyz"), n_rows)).mask(rng.random(n_rows) < 0.05),
            "grade": rng.choice(ORDERED["grade"], n_rows),
        }
    )
    return frame.astype({"town": "str", "kind": "str", "grade": "str"})


def target_of(frame: pd.DataFrame, seed: int = 1) -> np.ndarray:
    """A narrow ridge of a difference, and an interaction of two categories without effects of either."""
    noise = np.random.default_rng(seed).normal(0, 0.2, len(frame))
    odd = frame["town"].isin(["A", "C", "E"]) ^ (frame["kind"] == "x")
    return (4.0 * (frame["width"] > frame["height"]) + 3.0 * odd + noise).to_numpy()[:, None]


def fitted(
    frame: pd.DataFrame, target: np.ndarray, steps: FeatureSteps = STEPS, view: View = "ordinal"
) -> TableEncoder:
    return fit_encoder(view, steps, ROLES, ORDERED, frame, target_frame=frame, target=target, seed=5)


def encoded_fit_rows(
    frame: pd.DataFrame, target: np.ndarray, fit_rows: np.ndarray, view: View = "ordinal"
) -> tuple[TableEncoder, Encoded]:
    encoder = fitted(frame.iloc[fit_rows], target[fit_rows], view=view)
    encoded = encoder.transform(frame)
    correct_fit_rows(encoder, encoded.dense, encoded.dense_names, frame, fit_rows, target, seed=3)
    return encoder, encoded


# --- what is found


def test_what_the_target_is_made_of_is_found_and_noise_is_not() -> None:
    frame = frame_of()
    made = fitted(frame, target_of(frame)).generated
    assert {"width - height", "width / height", "height / width"} & set(made.numbers)
    assert "kind & town levels" in made.keys or "town & kind levels" in made.keys
    assert made.averaged
    assert not any("noise" in name for name in made.numbers)


def test_nothing_is_generated_for_a_target_of_chance() -> None:
    frame = frame_of()
    made = fitted(frame, np.random.default_rng(0).normal(size=(N_ROWS, 1))).generated
    assert len(made.numbers) + len(made.keys) <= 3  # of several hundred candidates


@pytest.mark.parametrize("n_columns", [0, 1, 2, 5])
def test_at_most_so_many_columns_are_kept(n_columns: int) -> None:
    frame = frame_of()
    target = target_of(frame)
    encoder = fitted(frame, target, FeatureSteps(generated=n_columns, scaling="none"))
    plain = fitted(frame, target, FeatureSteps(scaling="none"))
    n_more = len(encoder.column_names()) - len(plain.column_names())
    assert (n_more > 0) == (n_columns > 0)
    assert n_more <= n_columns


def test_near_copies_of_a_column_are_left_out() -> None:
    frame = frame_of()
    made = fitted(frame, target_of(frame))
    values = pd.DataFrame(made.generated.read(frame))[made.generated.numbers]
    ranks = values.assign(**frame[["width", "height", "depth"]]).corr("spearman").abs().to_numpy()
    assert (np.triu(np.nan_to_num(ranks), 1) < 0.995).all()


# --- no leak


@pytest.mark.parametrize("view", VIEWS)
def test_rows_that_are_not_fitted_on_change_nothing(view: View) -> None:
    frame, fit_rows = frame_of(), np.arange(0, N_ROWS, 2)
    target, others = target_of(frame), np.arange(1, N_ROWS, 2)
    changed, changed_target = frame.copy(), target.copy()
    changed.loc[others, ["width", "height", "depth", "noise"]] = 1e7
    changed.loc[others, ["town", "kind", "grade"]] = "never seen"
    changed_target[others] = 1e6
    encoder, encoded = encoded_fit_rows(frame, target, fit_rows, view)
    changed_encoder, changed_encoded = encoded_fit_rows(changed, changed_target, fit_rows, view)
    assert changed_encoder == encoder
    np.testing.assert_array_equal(changed_encoded.values[fit_rows], encoded.values[fit_rows])


def test_target_means_of_a_key_of_single_rows_say_nothing_about_their_target(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A key with a row each would hand its row's target on if it were averaged over the row itself."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.integers(0, 30, 400).astype(str), "b": rng.integers(0, 30, 400).astype(str)})
    frame = frame.astype("str")
    target = rng.normal(size=(400, 1))
    levels = list(levels_of([], ["a", "b"], frame))
    key = Key(columns=["a", "b"])
    generated = Generated(
        levels=levels, keys={"a & b levels": key}, averaged=["a & b levels"], counted=["a & b levels"]
    )
    roles: dict[str, Role] = {"a": "category", "b": "category"}
    monkeypatch.setattr(table, "choose_generated", lambda *_: generated)
    encoder = fit_encoder("ordinal", STEPS, roles, {}, frame, target_frame=frame, target=target)
    encoded = encoder.transform(frame)
    position = encoded.dense_names.index("a & b levels_target_0")
    assert np.corrcoef(encoded.dense[:, position], target[:, 0])[0, 1] > 0.5  # as new rows
    correct_fit_rows(encoder, encoded.dense, encoded.dense_names, frame, np.arange(400), target, seed=0)
    assert abs(np.corrcoef(encoded.dense[:, position], target[:, 0])[0, 1]) < 0.2
    for row in (0, 77, 399):
        own = target.copy()
        own[row] += 100.0
        again = encoder.transform(frame)
        correct_fit_rows(encoder, again.dense, again.dense_names, frame, np.arange(400), own, seed=0)
        assert again.dense[row, position] == encoded.dense[row, position]


def test_candidates_target_means_never_hold_the_row_s_own_target() -> None:
    frame = frame_of(200)
    target = target_of(frame)
    source = Source(frame, list(levels_of(["floors"], ["town", "kind"], frame)))

    def means(y: np.ndarray) -> list[np.ndarray]:
        found = candidates_of(["town", "kind", "floors"], ["floors"], source, y, np.random.default_rng(0))
        return [one.values for one in found if one.is_means]

    before = means(target)
    own = target.copy()
    own[11] += 1000.0
    assert all((one[:, 11] == other[:, 11]).all() for one, other in zip(before, means(own), strict=True))
    assert any((one != other).any() for one, other in zip(before, means(own), strict=True))


# --- rows and storage


@pytest.mark.parametrize("view", VIEWS)
def test_a_row_is_encoded_from_itself_alone_and_the_encoder_survives_storage(view: View) -> None:
    frame = frame_of()
    encoder = fitted(frame, target_of(frame), view=view)
    stored = TableEncoder.model_validate_json(encoder.model_dump_json())
    assert stored == encoder
    whole = encoder.transform(frame)
    assert whole.names == encoder.column_names()
    assert len(set(whole.names)) == len(whole.names)
    for row in (0, 5, 599):
        np.testing.assert_array_equal(stored.transform(frame.iloc[[row]]).values[0], whole.values[row])


def test_the_same_seed_chooses_the_same_columns() -> None:
    frame = frame_of()
    assert fitted(frame, target_of(frame)) == fitted(frame, target_of(frame))


def test_a_missing_column_is_named() -> None:
    frame = frame_of()
    encoder = fitted(frame, target_of(frame))
    with pytest.raises(DataError, match="height"):
        encoder.transform(frame.drop(columns=["height"]))


def test_missing_infinite_and_unseen_cells_give_finite_or_missing_numbers() -> None:
    frame = frame_of()
    frame.loc[:9, "width"], frame.loc[10:19, "height"] = np.inf, -np.inf
    frame.loc[20:29, "height"] = 0.0
    numbers, categories = list(frame.columns[:5]), ["town", "kind", "grade"]
    made = choose_generated(40, numbers, categories, frame, target_of(frame), seed=0)
    assert made.numbers
    odd = frame.iloc[:40].copy()
    odd[["width", "height", "depth", "noise"]] = np.nan
    odd[["town", "kind", "grade"]] = "never seen"
    odd["floors"] = 99
    for one in (frame, odd):
        assert not np.isinf(pd.DataFrame(made.read(one))[made.numbers].to_numpy()).any()


def test_a_network_reads_no_missing_numbers() -> None:
    frame = frame_of()
    encoder = fitted(frame, target_of(frame), STEPS.model_copy(update={"scaling": "robust"}), "onehot")
    values = encoder.transform(frame.assign(height=np.nan, kind="never seen")).values
    assert encoder.generated.numbers
    assert np.isfinite(values).all()
    assert (np.abs(values) <= 10.0).all()


def test_new_columns_get_names_that_no_column_has() -> None:
    frame = frame_of().rename(columns={"noise": "width - height"})
    roles: dict[str, Role] = {**ROLES, "width - height": "number"}
    roles.pop("noise")
    target = target_of(frame)
    encoder = fit_encoder("ordinal", STEPS, roles, ORDERED, frame, target_frame=frame, target=target)
    names = encoder.column_names()
    assert len(set(names)) == len(names)


def test_tables_without_numbers_without_categories_and_without_a_varied_target_are_encoded() -> None:
    frame = frame_of()
    target = target_of(frame)
    for names in (["town", "kind"], ["width", "height"], ["grade"]):
        roles: dict[str, Role] = {name: ROLES[name] for name in names}
        for some in (target, np.ones((N_ROWS, 1))):
            encoder = fit_encoder("ordinal", STEPS, roles, {}, frame, target_frame=frame, target=some)
            assert len(encoder.transform(frame).values) == N_ROWS


# --- the recipes


def source_of(frame: pd.DataFrame, *levels: Levels) -> Source:
    return Source(frame, levels)


def test_arithmetic_is_missing_where_it_has_no_value() -> None:
    source = source_of(pd.DataFrame({"a": [1.0, 2.0, np.nan, np.inf], "b": [2.0, 0.0, 1.0, 1.0]}))

    def read(operation: str) -> list[float]:
        return Arithmetic.model_validate({"operation": operation, "left": "a", "right": "b"}).read(source).tolist()

    np.testing.assert_array_equal(read("/"), [0.5, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(read("-"), [-1.0, 2.0, np.nan, np.nan])


def test_groups_are_read_by_level_and_unseen_or_small_ones_as_all_rows() -> None:
    frame = pd.DataFrame({"g": ["a"] * 20 + ["b"] * 20 + ["c"], "x": [*range(20), *range(100, 120), 5000]})
    levels = Levels(name="g", texts=["a", "b", "c"])
    source = source_of(frame, levels)
    mean = GroupStatistic.fit("mean", "x", "g", source)
    of_all = frame["x"].mean()
    new = source_of(pd.DataFrame({"g": ["a", "b", "c", "new", None], "x": [0.0, 119.0, 1.0, 1.0, np.nan]}), levels)
    np.testing.assert_allclose(mean.read(new), [9.5, 109.5, of_all, of_all, of_all])
    difference = GroupStatistic.fit("difference", "x", "g", source).read(new)
    np.testing.assert_allclose(difference, [-9.5, 9.5, 1 - of_all, 1 - of_all, np.nan])
    rank = GroupStatistic.fit("rank", "x", "g", source).read(new)
    np.testing.assert_allclose(rank[:2], [0.0, 1.0])
    assert np.isnan(rank[4])


def test_statistics_of_a_row_leave_missing_cells_out() -> None:
    frame = pd.DataFrame({"a": [1.0, np.nan, 0.0], "b": [3.0, np.nan, np.nan]})

    def read(statistic: str) -> list[float]:
        return (
            RowStatistic.model_validate({"statistic": statistic, "columns": ["a", "b"]}).read(source_of(frame)).tolist()
        )

    assert read("missing") == [0.0, 2.0, 1.0]
    assert read("zeros") == [0.0, 0.0, 1.0]
    for statistic, expected in {"sum": 4.0, "spread": 1.0, "highest": 3.0, "lowest": 1.0}.items():
        np.testing.assert_array_equal(read(statistic), [expected, np.nan, 0.0])


def test_keys_join_texts_and_numbers_however_they_are_stored() -> None:
    levels = [Levels(name="n", values=[1.0, 2.0]), Levels(name="t", texts=["a", "b"])]
    key = Key(columns=["n", "t"])
    whole = key.read(Source(pd.DataFrame({"n": [1, 2, 2], "t": ["a", "b", "a"]}), levels))
    real = key.read(Source(pd.DataFrame({"n": [1.0, np.nan, 2.0, 7.0], "t": ["a", "b", "new", "a"]}), levels))
    assert whole.nunique() == 3
    assert real.tolist()[0] == whole.tolist()[0]
    assert real.isna().tolist() == [False, True, True, True]
