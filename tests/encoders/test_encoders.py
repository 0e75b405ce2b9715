"""Laws of the encoders: nothing is learned from rows outside the fit, and every row is encoded from itself alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.base.errors import DataError
from pipeline.competition.feature_function import apply_feature_function
from pipeline.config.run import FeatureSteps
from pipeline.config.types import Role
from pipeline.encoders.columns import PRIOR_ROWS, RARE
from pipeline.encoders.encoded import MISSING_CODE, UNSEEN_CODE, Encoded, View
from pipeline.encoders.table import SMOOTH_CLIP_AT, EncodingCache, TableEncoder, correct_fit_rows, fit_encoder

ROLES: dict[str, Role] = {
    "area": "number",
    "rooms": "number",
    "zone": "category",
    "style": "category",
    "qual": "ordered",
}
ORDERED = {"qual": ["Po", "TA", "Ex"]}
PLAIN = FeatureSteps()
EVERY_STEP = FeatureSteps(
    log1p_skewed=0.5,
    missing_indicators=True,
    rare_min_count=3,
    ordered_mapping=True,
    target_encoding=2,
    scaling="robust",
)
VIEWS: tuple[View, ...] = ("onehot", "ordinal")


def make_frame(n_rows: int, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)

    def text(levels: list[str]) -> pd.Series:
        values = pd.Series(generator.choice(levels, n_rows), dtype="str")
        return values.mask(generator.random(n_rows) < 0.1)

    return pd.DataFrame(
        {
            "area": pd.Series(generator.lognormal(2, 1, n_rows)).mask(generator.random(n_rows) < 0.1),
            "rooms": generator.integers(1, 9, n_rows),
            "zone": text(["A", "B", "C", "D", "E"]),
            "style": text(["1Story", "2Story"]),
            "qual": text(ORDERED["qual"]),
        }
    )


def make_target(n_rows: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n_rows, 1))


def fit(
    frame: pd.DataFrame,
    steps: FeatureSteps = PLAIN,
    view: View = "onehot",
    target: np.ndarray | None = None,
    **other: Any,
) -> TableEncoder:
    roles = {name: role for name, role in ROLES.items() if name in frame.columns}
    return fit_encoder(view, steps, other.get("roles", roles), ORDERED, frame, target_frame=frame, target=target)


def column(encoded: Encoded, name: str) -> np.ndarray:
    return encoded.values[:, encoded.names.index(name)]


# --- law 1: no leak


@pytest.mark.parametrize("view", VIEWS)
def test_valid_and_test_rows_never_influence_the_encoder(view: View) -> None:
    frame, target, fit_rows = make_frame(80), make_target(80), np.arange(0, 80, 2)
    others = np.setdiff1d(np.arange(80), fit_rows)

    def encode(frame: pd.DataFrame, target: np.ndarray) -> tuple[TableEncoder, np.ndarray]:
        encoder = fit(frame.iloc[fit_rows], EVERY_STEP, view, target[fit_rows])
        encoded = encoder.transform(frame)
        correct_fit_rows(encoder, encoded.dense, encoded.dense_names, frame, fit_rows, target, seed=3)
        return encoder, encoded.values[fit_rows]

    changed, changed_target = frame.copy(), target.copy()
    changed.loc[others, "area"] = 1e7
    changed.loc[others, "rooms"] = -5
    changed.loc[others, ["zone", "style", "qual"]] = "never seen"
    changed_target[others] = 1e6
    encoder, numbers = encode(frame, target)
    changed_encoder, changed_numbers = encode(changed, changed_target)
    assert changed_encoder == encoder
    np.testing.assert_array_equal(changed_numbers, numbers)


@pytest.mark.parametrize("view", VIEWS)
def test_a_row_is_encoded_from_itself_alone(view: View) -> None:
    frame = make_frame(50)
    encoder = fit(frame.iloc[:30], EVERY_STEP, view, make_target(30))
    whole = encoder.transform(frame).values
    shuffled = np.random.default_rng(0).permutation(50)
    np.testing.assert_array_equal(encoder.transform(frame.iloc[shuffled]).values, whole[shuffled])
    for row in range(0, 50, 7):
        np.testing.assert_array_equal(encoder.transform(frame.iloc[[row]]).values[0], whole[row])


def test_transform_changes_neither_the_frame_nor_the_encoder() -> None:
    frame = make_frame(30)
    before = frame.copy(deep=True)
    encoder = fit(frame, EVERY_STEP, target=make_target(30))
    text = encoder.model_dump_json()
    encoder.transform(make_frame(9, seed=5))
    encoder.transform(frame)
    pd.testing.assert_frame_equal(frame, before)
    assert encoder.model_dump_json() == text


@pytest.mark.slow
def test_a_fit_row_never_meets_its_own_target() -> None:
    frame, target, fit_rows = make_frame(60), make_target(60), np.arange(5, 45)
    encoder = fit(frame.iloc[fit_rows], FeatureSteps(target_encoding=2), target=target[fit_rows])

    def encode(target: np.ndarray) -> np.ndarray:
        refitted = fit(frame.iloc[fit_rows], FeatureSteps(target_encoding=2), target=target[fit_rows])
        encoded = refitted.transform(frame)
        correct_fit_rows(refitted, encoded.dense, encoded.dense_names, frame, fit_rows, target, seed=0)
        return encoded.values

    names = encoder.transform(frame).names
    means = [names.index(f"{name}_target_0") for name in ("zone", "style", "qual")]
    before = encode(target)
    for row in fit_rows:
        other = target.copy()
        other[row] += 1000.0
        after = encode(other)
        np.testing.assert_array_equal(after[row], before[row])
        assert (after[fit_rows][:, means] != before[fit_rows][:, means]).any()  # the others do meet it


def test_rows_outside_the_fit_see_the_means_of_all_fit_rows() -> None:
    frame = pd.DataFrame({"zone": pd.Series(["A", "A", "B", "B", "B", "A", "C", None], dtype="str")})
    target = np.array(
        [[1.0, 0.0], [3.0, 1.0], [5.0, 0.0], [7.0, 1.0], [9.0, 1.0], [99.0, 99.0], [99.0, 99.0], [9.0, 9.0]]
    )
    fit_rows = np.arange(5)
    encoder = fit(frame.iloc[:5], FeatureSteps(target_encoding=2), target=target[:5])
    encoded = encoder.transform(frame)
    correct_fit_rows(encoder, encoded.dense, encoded.dense_names, frame, fit_rows, target, seed=0)
    prior = target[:5].mean(axis=0)
    of_a = (target[:2].sum(axis=0) + PRIOR_ROWS * prior) / (2 + PRIOR_ROWS)
    assert encoded.names[-2:] == ["zone_target_0", "zone_target_1"]
    np.testing.assert_allclose(encoded.values[5:, -2:], [of_a, prior, prior], rtol=1e-6)  # seen, unseen, missing


def test_only_categories_with_enough_levels_are_target_encoded() -> None:
    encoder = fit(make_frame(60), FeatureSteps(target_encoding=4), target=make_target(60))
    assert [means.name for means in encoder.target_means] == ["zone"]


# --- the onehot view


def test_the_onehot_view_is_the_plain_recipe() -> None:
    """Standardise, missing -> 0, get_dummies(dummy_na=True): what a Kaggler writes on train and test together."""
    frame = make_frame(120)[["zone", "area", "style", "rooms", "qual"]]
    numbers = ["area", "rooms"]
    plain = frame.copy()
    plain[numbers] = plain[numbers].apply(lambda x: (x - x.mean()) / x.std()).fillna(0.0)
    plain = pd.get_dummies(plain, dummy_na=True, dtype=int, prefix_sep="=")
    roles: dict[str, Role] = {name: ROLES[name] for name in frame.columns}
    encoded = fit(frame, roles=roles).transform(frame)
    assert encoded.names == list(plain.columns)
    np.testing.assert_array_equal(encoded.values, plain.to_numpy(dtype=np.float32))
    assert encoded.cardinality == {}


def test_an_unseen_level_is_all_zeros_and_a_missing_one_is_not() -> None:
    encoder = fit(pd.DataFrame({"zone": pd.Series(["A", "B", "A"], dtype="str")}))
    encoded = encoder.transform(pd.DataFrame({"zone": pd.Series(["B", "Z", None], dtype="str")}))
    assert encoded.names == ["zone=A", "zone=B", "zone=nan"]
    np.testing.assert_array_equal(encoded.values, [[0, 1, 0], [0, 0, 0], [0, 0, 1]])


def test_a_category_without_any_level_in_the_fit_rows() -> None:
    encoder = fit(pd.DataFrame({"zone": pd.Series([None, None], dtype="str")}))
    frame = pd.DataFrame({"zone": pd.Series(["A", None], dtype="str")})
    np.testing.assert_array_equal(encoder.transform(frame).values, [[0], [1]])


# --- the ordinal view


def test_the_ordinal_view_has_a_code_for_missing_unseen_and_every_level() -> None:
    encoder = fit(pd.DataFrame({"zone": pd.Series(["B", "A", "B"], dtype="str")}), view="ordinal")
    encoded = encoder.transform(pd.DataFrame({"zone": pd.Series([None, "Z", "A", "B"], dtype="str")}))
    assert (MISSING_CODE, UNSEEN_CODE) == (0, 1)
    np.testing.assert_array_equal(encoded.values[:, 0], [0, 1, 2, 3])
    assert encoded.cardinality == {"zone": 4}


@pytest.mark.parametrize("n_levels", [1, 125, 126, 127, 128, 300])
def test_codes_stay_apart_for_any_number_of_levels(n_levels: int) -> None:
    levels = pd.DataFrame({"zone": pd.Series([f"{i:04}" for i in range(n_levels)], dtype="str")})
    encoded = fit(levels, view="ordinal").transform(levels)
    np.testing.assert_array_equal(encoded.values[:, 0], np.arange(n_levels) + 2)
    assert encoded.cardinality == {"zone": n_levels + 2}


# --- numbers


def test_numbers_are_standardised_by_the_fit_rows_and_missing_is_zero() -> None:
    encoder = fit(pd.DataFrame({"area": [1.0, 3.0, 5.0]}))
    encoded = encoder.transform(pd.DataFrame({"area": [3.0, 7.0, np.nan]}))
    np.testing.assert_allclose(encoded.values[:, 0], [0.0, 2.0, 0.0])


@pytest.mark.parametrize("scaling", ["standard", "robust"])
@pytest.mark.parametrize("values", [[0.1] * 10, [1e6 + 0.1] * 7, [5.0], [np.nan, np.nan], [np.nan, 0.3]])
def test_a_constant_column_is_only_centred(values: list[float], scaling: Any) -> None:
    """The computed deviation of ten times 0.1 is 1e-17, not 0: dividing by it would blow up the first other value."""
    encoder = fit(pd.DataFrame({"area": values}), FeatureSteps(scaling=scaling))
    known = [value for value in values if not np.isnan(value)]
    centre = known[0] if known else 0.0
    encoded = encoder.transform(pd.DataFrame({"area": [centre, centre + 1.0, np.nan]}))
    step = 1.0 if scaling == "standard" else 1.0 / np.sqrt(1.0 + SMOOTH_CLIP_AT**-2)
    np.testing.assert_allclose(encoded.values[:, 0], [0.0, step, 0.0], atol=1e-6)


def test_robust_scaling_is_by_quartiles_and_clips_smoothly() -> None:
    encoder = fit(pd.DataFrame({"area": [1.0, 2.0, 3.0, 4.0, 1000.0]}), FeatureSteps(scaling="robust"))
    scaled = np.array([0.0, 0.5, -1.0, 1e9])
    encoded = encoder.transform(pd.DataFrame({"area": 3.0 + 2.0 * scaled})).values[:, 0]
    np.testing.assert_allclose(encoded, scaled / np.sqrt(1 + (scaled / 3) ** 2), rtol=1e-6)
    assert np.abs(encoded).max() <= 3.0
    mostly_one = fit(pd.DataFrame({"area": [1.0] * 9 + [5.0]}), FeatureSteps(scaling="robust"))
    assert mostly_one.numbers[0].scale == 2.0  # half the range where the quartiles coincide


def test_the_past_of_a_target_is_neither_bent_nor_clipped() -> None:
    frame = pd.DataFrame({"sold.last": [0.0, 1.0, 2.0, 3.0, 1e5]})
    steps = FeatureSteps(scaling="robust", log1p_skewed=0.75)
    encoder = fit(frame, steps, roles={"sold.last": "past"})
    past = frame["sold.last"]
    np.testing.assert_allclose(encoder.transform(frame).values[:, 0], (past - past.mean()) / past.std(), rtol=1e-6)


def test_pixels_are_scaled_by_the_highest_of_all_columns() -> None:
    frame = pd.DataFrame({"pixel_0": [0.0, 51.0], "pixel_1": [255.0, 0.0], "pixel_2": [np.nan, np.nan]})
    encoder = fit(frame, FeatureSteps(scaling="pixels"), roles=dict.fromkeys(frame.columns, "number"))
    np.testing.assert_allclose(encoder.transform(frame).values, [[0.0, 1.0, 0.0], [0.2, 0.0, 0.0]], rtol=1e-6)


def test_log1p_is_for_skewed_columns_alone() -> None:
    frame = pd.DataFrame({"area": [0.0, 1.0, 2.0, 3.0, 1e5], "rooms": [1.0, 2.0, 3.0, 4.0, 5.0]})
    encoder = fit(frame, FeatureSteps(log1p_skewed=0.75))
    assert [number.is_log1p for number in encoder.numbers] == [True, False]
    logs = np.log1p(frame["area"])
    np.testing.assert_allclose(encoder.transform(frame).values[:, 0], (logs - logs.mean()) / logs.std(), rtol=1e-6)
    negative = encoder.numbers[0].raw(pd.DataFrame({"area": [-3.0]}))
    np.testing.assert_allclose(negative, [-np.log1p(3.0)])


def test_missing_indicators_are_for_columns_with_gaps_in_the_fit_rows() -> None:
    frame = pd.DataFrame({"area": [1.0, np.nan, 3.0], "rooms": [1.0, 2.0, 3.0]})
    encoder = fit(frame, FeatureSteps(missing_indicators=True))
    encoded = encoder.transform(pd.DataFrame({"area": [np.nan, 2.0], "rooms": [np.nan, 2.0]}))
    assert encoded.names == ["area", "area_missing", "rooms"]
    np.testing.assert_array_equal(encoded.values, [[0, 1, 0], [0, 0, 0]])


# --- categories


@pytest.mark.parametrize("view", VIEWS)
def test_rare_and_unseen_levels_are_pooled_and_missing_is_not(view: View) -> None:
    fitted_on = pd.DataFrame({"zone": pd.Series(["A", "A", "B", "B", "B", "C", None], dtype="str")})
    encoder = fit(fitted_on, FeatureSteps(rare_min_count=2), view)
    encoded = encoder.transform(pd.DataFrame({"zone": pd.Series(["A", "B", "C", "Z", None], dtype="str")}))
    if view == "ordinal":
        np.testing.assert_array_equal(encoded.values[:, 0], [2, 3, 4, 4, 0])
        assert encoded.cardinality == {"zone": 5}
    else:
        assert encoded.names == ["zone=A", "zone=B", f"zone={RARE}", "zone=nan"]
        np.testing.assert_array_equal(encoded.values.argmax(axis=1), [0, 1, 2, 2, 3])
        np.testing.assert_array_equal(encoded.values.sum(axis=1), 1)


def test_ordered_levels_become_their_number_when_mapped() -> None:
    frame = pd.DataFrame({"qual": pd.Series(["Po", "TA", "Ex", None], dtype="str")})
    encoder = fit(frame, FeatureSteps(ordered_mapping=True))
    np.testing.assert_allclose(encoder.transform(frame).values[:, 0], [-1.0, 0.0, 1.0, 0.0])
    assert fit(frame).transform(frame).names == ["qual=Ex", "qual=Po", "qual=TA", "qual=nan"]


def test_codes_are_read_as_amounts_where_the_fit_rows_hold_nothing_else() -> None:
    steps = FeatureSteps(codes_as_numbers=True)
    codes = pd.DataFrame({"zone": pd.Series(["20", "40", "60", None], dtype="str")})
    encoder = fit(codes, steps)
    later = pd.DataFrame({"zone": pd.Series(["40", "80", "A", None], dtype="str")})
    np.testing.assert_allclose(encoder.transform(later).values, [[0.0], [2.0], [0.0], [0.0]])
    words = pd.DataFrame({"zone": pd.Series(["20", "A"], dtype="str")})
    assert fit(words, steps).transform(words).names == ["zone=20", "zone=A", "zone=nan"]
    assert fit(codes).transform(codes).names == ["zone=20", "zone=40", "zone=60", "zone=nan"]


# --- the encoder as a thing


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("steps", [PLAIN, EVERY_STEP])
def test_an_encoder_survives_json_to_the_last_bit(view: View, steps: FeatureSteps) -> None:
    frame = make_frame(60)
    encoder = fit(frame.iloc[:40], steps, view, make_target(40))
    back = TableEncoder.model_validate_json(encoder.model_dump_json())
    one, other = encoder.transform(frame), back.transform(frame)
    assert back == encoder
    assert (one.names, one.cardinality) == (other.names, other.cardinality)
    np.testing.assert_array_equal(one.values, other.values)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(DataError, match="'area' is missing") as caught:
        fit(make_frame(9)).transform(make_frame(9).rename(columns={"area": "areas"}))
    assert "Did you mean 'areas'?" in caught.value.message


def test_no_roles_make_a_table_without_columns() -> None:
    encoder = fit_encoder("onehot", PLAIN, {}, {}, make_frame(5))
    encoded = encoder.transform(make_frame(7))
    assert encoded.values.shape == (7, 0)
    assert encoded.names == []


def test_columns_without_a_role_are_not_read() -> None:
    encoder = fit_encoder("onehot", PLAIN, {"rooms": "number"}, {}, make_frame(5))
    assert encoder.transform(make_frame(7)).names == ["rooms"]


SMALL_TABLES = st.lists(
    st.tuples(
        st.one_of(st.integers(-(10**8), 10**8).map(lambda cents: cents / 100), st.just(float("nan"))),
        st.one_of(st.none(), st.text("abé ", min_size=1, max_size=2)),
        st.one_of(st.none(), st.sampled_from(ORDERED["qual"])),
        st.floats(-10, 10),
    ),
    min_size=6,
    max_size=16,
)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(
    table=SMALL_TABLES,
    view=st.sampled_from(VIEWS),
    steps=st.builds(
        FeatureSteps,
        log1p_skewed=st.sampled_from([None, 0.5]),
        missing_indicators=st.booleans(),
        rare_min_count=st.integers(0, 3),
        ordered_mapping=st.booleans(),
        target_encoding=st.sampled_from([None, 2]),
        scaling=st.sampled_from(["standard", "robust"]),
    ),
)
def test_any_small_table_becomes_finite_numbers_of_the_named_shape(
    table: list[Any], view: View, steps: FeatureSteps
) -> None:
    area, zone, qual, y = zip(*table, strict=True)
    frame = pd.DataFrame({"area": area, "zone": pd.Series(zone, dtype="str"), "qual": pd.Series(qual, dtype="str")})
    target, fit_rows = np.array(y)[:, None], np.arange(5)
    encoder = fit(frame.iloc[:5], steps, view, target[:5])
    encoded = encoder.transform(frame)
    correct_fit_rows(encoder, encoded.dense, encoded.dense_names, frame, fit_rows, target, seed=1)
    assert encoded.values.shape == (len(table), len(encoded.names))
    assert encoded.values.dtype == np.float32
    assert np.isfinite(encoded.values).all()
    for name, n_codes in encoded.cardinality.items():
        assert 0 <= column(encoded, name).min() <= column(encoded, name).max() < n_codes


# --- the competition's own features


def own(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "feature_function.py"
    path.write_text(f"import pandas as pd\nimport numpy as np\n\ndef add_features(frame):\n    {body}\n")
    return path


def test_own_features_join_with_their_roles(tmp_path: Path) -> None:
    frame = make_frame(12)
    body = """frame["per_room"] = frame["area"] / frame["rooms"]
    frame["is_big"] = frame["rooms"] > 4
    frame["both"] = frame["zone"] + frame["style"]
    return frame.drop(columns="qual")"""
    made, roles = apply_feature_function(own(tmp_path, body), frame, ROLES)
    kept = {name: role for name, role in ROLES.items() if name != "qual"}
    assert roles == {**kept, "per_room": "number", "is_big": "number", "both": "category"}
    assert "per_room" not in frame.columns  # the caller's frame is its own
    encoded = fit_encoder("onehot", PLAIN, roles, {}, made).transform(made)
    assert np.isfinite(encoded.values).all()


@pytest.mark.parametrize(
    "made",
    [
        'pd.cut(frame["rooms"], [0, 3, 6, 9])',
        'pd.Series([1, "x"] * 6, dtype=object)',
        'frame["zone"].astype("category")',
    ],
)
def test_an_own_category_of_any_dtype_keeps_its_levels(tmp_path: Path, made: str) -> None:
    """`pd.cut` makes intervals; they must not turn into a column of zeros because they are not text."""
    frame, roles = apply_feature_function(own(tmp_path, f"return frame.assign(own={made})"), make_frame(12), ROLES)
    assert roles["own"] == "category"
    encoded = fit_encoder("onehot", PLAIN, {"own": "category"}, {}, frame).transform(frame)
    np.testing.assert_array_equal(encoded.values.sum(axis=1), 1)
    assert len(encoded.names) > 2
    is_missing = make_frame(12)["zone"].isna() if "zone" in made else np.zeros(12)
    np.testing.assert_array_equal(encoded.values[:, -1], is_missing)


OWN_MISTAKES = {
    "raises": ('return frame["no such column"]', "add_features failed: KeyError"),
    "no frame": ("return 3", "must return a DataFrame"),
    "no return": ("frame['x'] = 1", "must return a DataFrame"),
    "fewer rows": ("return frame.head(3)", "must return a DataFrame with the same rows"),
    "other order": ("return frame.sort_values('rooms')", "with the same rows"),
    "infinite": ("return frame.assign(x=1.0 / (frame['rooms'] * 0))", "'x' contains infinity"),
    "twice": ("return pd.concat([frame, frame[['area']]], axis=1)", "'area' appears twice"),
}


@pytest.mark.parametrize(("body", "words"), OWN_MISTAKES.values(), ids=OWN_MISTAKES)
def test_a_mistake_of_add_features_is_told(tmp_path: Path, body: str, words: str) -> None:
    path = own(tmp_path, body)
    with pytest.raises(DataError, match=words) as caught:
        apply_feature_function(path, make_frame(12), ROLES)
    assert str(path) in caught.value.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def add_features(frame:\n", "SyntaxError"),
        ("x = 1\n", "no attribute 'add_features'"),
        (None, "does not exist"),
    ],
)
def test_a_file_without_add_features_is_told(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "own.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=words):
        apply_feature_function(path, make_frame(3), ROLES)


# --- texts and counts


TEXTS: dict[str, Role] = {"cabin": "text", "name": "text", "ticket": "text"}
TEXT_STEPS = FeatureSteps(text_parts=True, key_target_means=10_000, category_counts=True)


def text_frame(n_rows: int, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    group = generator.integers(0, n_rows // 2, n_rows)
    title = generator.choice(["Mr", "Mrs", "Dr"], n_rows, p=[0.6, 0.3, 0.1])
    return pd.DataFrame(
        {
            "cabin": [
                f"{deck}/{number}/{side}" for deck, number, side in zip(*_cabins(generator, n_rows), strict=True)
            ],
            "name": [
                f"Fam{_letters(g)}, {t}. Some{_letters(i)}" for i, (g, t) in enumerate(zip(group, title, strict=True))
            ],
            "ticket": [f"{'PC ' if g % 3 == 0 else ''}{1000 + g}" for g in group],
        },
        dtype="str",
    ).mask(generator.random((n_rows, 3)) < 0.05)


def _cabins(generator: np.random.Generator, n_rows: int) -> tuple[np.ndarray, ...]:
    deck, side = generator.choice(list("ABC"), n_rows), generator.choice(list("PS"), n_rows)
    return deck, generator.integers(0, n_rows // 3, n_rows), side


def _letters(number: int) -> str:
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def test_texts_become_parts_words_and_keys() -> None:
    frame = text_frame(300)
    encoder = fit_encoder("ordinal", FeatureSteps(text_parts=True, scaling="none"), TEXTS, {}, frame)
    cabin, name, ticket = encoder.texts
    assert (cabin.delimiter, cabin.parts) == ("/", [["category"], ["number", "key"], ["category"]])
    assert (name.is_code, {"Mr", "Mrs", "Dr"} <= set(name.words), name.keys) == (False, True, ["first"])
    assert (ticket.is_code, ticket.keys) == (True, ["whole"])
    encoded = encoder.transform(frame)
    row = int(np.flatnonzero(frame.notna().all(axis=1))[0])
    deck, number, _ = frame["cabin"][row].split("/")
    assert column(encoded, "cabin.1")[row] == float(number)
    decks = next(c for c in encoder.categories if c.name == "cabin.0").vocabulary
    assert column(encoded, "cabin.0")[row] == decks.index(deck) + 2
    assert column(encoded, "name.has.Mrs")[row] == float("Mrs." in frame["name"][row])
    assert column(encoded, "ticket.number")[row] == float(frame["ticket"][row].split()[-1])
    assert encoded.names == encoder.column_names()
    odd = pd.DataFrame(
        {"cabin": ["no/such", "", None], "name": ["x", "", None], "ticket": ["", "9", None]}, dtype="str"
    )
    assert encoder.transform(odd).values.shape == (3, len(encoded.names))


def test_texts_are_not_read_unless_a_step_asks() -> None:
    frame = text_frame(300)
    assert fit_encoder("onehot", PLAIN, TEXTS, {}, frame).transform(frame).names == []


def test_a_count_is_of_the_fit_rows_and_the_row_itself() -> None:
    frame = text_frame(300).drop(columns=["cabin", "name"])
    roles: dict[str, Role] = {"ticket": "text"}
    steps = FeatureSteps(text_parts=True, scaling="none")
    fit_rows = np.arange(200)
    encoder = fit_encoder("onehot", steps, roles, {}, frame.iloc[fit_rows])
    encoded = encoder.transform(frame)
    correct_fit_rows(encoder, encoded.dense, encoded.dense_names, frame, fit_rows, make_target(300), seed=0)
    seen = frame["ticket"][:200].value_counts()
    known = frame["ticket"].notna().to_numpy()
    others = frame["ticket"].map(seen).fillna(0).to_numpy() + (np.arange(300) >= 200)
    np.testing.assert_array_equal(column(encoded, "ticket.whole.count")[known], others[known])
    wide = fit_encoder("onehot", steps, roles, {}, frame, has_every_row=True).transform(frame)
    everyone = frame["ticket"].map(frame["ticket"].value_counts()).to_numpy()
    np.testing.assert_array_equal(column(wide, "ticket.whole.count")[known], everyone[known])


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS)
def test_texts_of_other_rows_and_targets_do_not_reach_a_row(view: View) -> None:
    frame, target, fit_rows = text_frame(300), make_target(300), np.arange(200)
    changed, changed_target = frame.copy(), target.copy()
    changed.iloc[200:] = "never/seen/before"
    changed_target[200:] = 1e6

    def encode(frame: pd.DataFrame, target: np.ndarray) -> np.ndarray:
        part, part_target = frame.iloc[fit_rows], target[fit_rows]
        encoder = fit_encoder(view, TEXT_STEPS, TEXTS, {}, part, target_frame=part, target=part_target)
        assert TableEncoder.model_validate_json(encoder.model_dump_json()) == encoder
        encoded = encoder.transform(frame)
        correct_fit_rows(encoder, encoded.dense, encoded.dense_names, frame, fit_rows, target, seed=3)
        return encoded.values[fit_rows]

    before = encode(frame, target)
    np.testing.assert_array_equal(encode(changed, changed_target), before)
    own = target.copy()
    own[7] += 1000.0
    np.testing.assert_array_equal(encode(frame, own)[7], before[7])
    assert (encode(frame, own) != before).any()


def test_key_target_means_are_for_few_fit_rows() -> None:
    frame, target = text_frame(300), make_target(300)

    def means(most: int) -> int:
        steps = FeatureSteps(text_parts=True, key_target_means=most)
        return len(fit_encoder("onehot", steps, TEXTS, {}, frame, target_frame=frame, target=target).target_means)

    assert (means(0), means(299)) == (0, 0)
    assert means(300) == 3


def test_without_scaling_numbers_stay_and_missing_stays_missing() -> None:
    encoder = fit(pd.DataFrame({"area": [1.0, 3.0, 500.0]}), FeatureSteps(scaling="none"), "ordinal")
    values = encoder.transform(pd.DataFrame({"area": [7.5, np.nan]})).values[:, 0]
    np.testing.assert_array_equal(values, [7.5, np.nan])


def test_encoders_of_one_state_encode_a_table_once(monkeypatch: pytest.MonkeyPatch) -> None:
    frame, other = make_frame(40), make_frame(40, seed=4)
    encoder, fitted_elsewhere = fit(frame), fit(other)
    again = TableEncoder.model_validate(encoder.model_dump(mode="json"))
    encode = EncodingCache()
    first = encode(encoder, frame)
    np.testing.assert_array_equal(first.values, encoder.transform(frame).values)
    np.testing.assert_array_equal(encode(fitted_elsewhere, frame).values, fitted_elsewhere.transform(frame).values)
    np.testing.assert_array_equal(encode(encoder, other).values, encoder.transform(other).values)
    monkeypatch.setattr(TableEncoder, "transform", None)
    assert encode(again, frame) is first


# --- names -----------------------------------------------------------------------------------------------------------


def test_columns_made_from_a_column_never_have_the_name_of_another() -> None:
    taken = ["key_target_0", "key_missing", "key=a", "key.count", "name.length", "name.n_words", "x_missing"]
    frame = pd.DataFrame({name: np.linspace(0.0, 1.0, 60) for name in taken})
    frame["x"] = np.where(np.arange(60) % 7 == 0, np.nan, 1.0 * np.arange(60))
    frame["key"] = pd.Series([f"{'abc'[row % 3]}" for row in range(60)], dtype="str")
    frame["name"] = pd.Series([f"Ann {row} Smith" for row in range(60)], dtype="str")
    roles: dict[str, Role] = {**dict.fromkeys([*taken, "x"], "number"), "key": "category", "name": "text"}
    steps = FeatureSteps(target_encoding=2, category_counts=True, missing_indicators=True, rare_min_count=0)
    for view in ("onehot", "ordinal"):
        target = np.arange(60.0)[:, None]
        encoder = fit_encoder(view, steps, roles, {}, frame, target_frame=frame, target=target)
        encoded = encoder.transform(frame)
        assert len(set(encoded.names)) == len(encoded.names)
        for name in taken:  # each is still itself
            values = encoded.dense[:, encoded.dense_names.index(name)]
            assert np.corrcoef(values, frame[name])[0, 1] == pytest.approx(1.0)


def test_a_name_lets_no_target_mean_past_its_fold() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"key_target_0": rng.normal(size=200)})
    frame["key"] = pd.Series([f"k{row % 100}" for row in range(200)], dtype="str")
    roles: dict[str, Role] = {"key_target_0": "number", "key": "category"}
    target, rows = rng.normal(size=(200, 1)), np.arange(200)
    steps = FeatureSteps(target_encoding=2, rare_min_count=0)
    encoder = fit_encoder("onehot", steps, roles, {}, frame, target_frame=frame, target=target)
    encoded = encoder.transform(frame)
    number = encoded.dense[:, encoded.dense_names.index("key_target_0")].copy()
    correct_fit_rows(encoder, encoded.dense, encoded.dense_names, frame, rows, target, seed=0)
    (means,) = encoder.target_means
    corrected = encoded.dense[:, encoded.dense_names.index(means.columns[0])]
    np.testing.assert_array_equal(encoded.dense[:, encoded.dense_names.index("key_target_0")], number)
    assert abs(np.corrcoef(corrected, target[:, 0])[0, 1]) < 0.3


def test_levels_called_like_the_encoders_own() -> None:
    frame = pd.DataFrame({"k": pd.Series(["(rare)", "nan", "nan'", "a", "a", "b", None], dtype="str")})
    for steps in (FeatureSteps(rare_min_count=0), FeatureSteps(rare_min_count=2)):
        encoded = fit_encoder("onehot", steps, {"k": "category"}, {}, frame).transform(frame)
        assert len(set(encoded.names)) == len(encoded.names)
        assert (encoded.values.sum(axis=1) == 1.0).all()


def test_numbers_far_from_zero_stay_distinct_in_float32() -> None:
    seconds = pd.DataFrame({"t": 1.7e9 + np.arange(0.0, 240.0), "x": np.linspace(0.1, 9.7, 240)})
    roles: dict[str, Role] = {"t": "number", "x": "number"}
    dense = fit_encoder("ordinal", FeatureSteps(scaling="none"), roles, {}, seconds).transform(seconds).dense
    np.testing.assert_array_equal(np.diff(dense[:, 0]), 1.0)
    np.testing.assert_array_equal(dense[:, 1], seconds["x"].to_numpy(dtype=np.float32))  # others stay as they are
