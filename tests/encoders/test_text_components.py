"""Laws of text components: learned from the fit rows alone, the same for a row whatever its company, stored whole."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from pipeline.config.run import FeatureSteps
from pipeline.config.types import Role
from pipeline.encoders import text_components
from pipeline.encoders.kept import MOST_BYTES, Kept
from pipeline.encoders.table import TableEncoder, fit_encoder
from pipeline.encoders.terms import WORD_OR_SIGN
from pipeline.encoders.text_components import TextComponents, fit_text_components

ROLES: dict[str, Role] = {"title": "text", "body": "text", "code": "text"}
STEPS = FeatureSteps(text_components=3, scaling="none")


def frame_of(n_rows: int, seed: int = 0) -> pd.DataFrame:
    """Two columns of sentences about two topics, and a column of codes."""
    rng = np.random.default_rng(seed)
    words = {0: ["rain", "wind", "storm", "cloud", "flood"], 1: ["goal", "team", "match", "score", "ball"]}
    topics = rng.integers(0, 2, n_rows)
    texts = [[" ".join(rng.choice(words[int(t)], n)) for t in topics] for n in (6, 12)]
    codes = [f"K{number}" for number in rng.integers(0, 9, n_rows)]
    frame = pd.DataFrame({"title": texts[0], "body": texts[1], "code": codes, "topic": topics})
    return frame.astype({"title": "str", "body": "str", "code": "str"})


def fitted(frame: pd.DataFrame, steps: FeatureSteps = STEPS) -> TableEncoder:
    return fit_encoder("ordinal", steps, ROLES, {}, frame[list(ROLES)])


def test_columns_of_sentences_alone_and_joined_become_components() -> None:
    frame = frame_of(200)
    encoded = fitted(frame).transform(frame)
    groups = ("title", "body", "title+body")
    assert encoded.names == [f"{group}.component.{number}" for group in groups for number in range(3)]
    second = encoded.values[:, encoded.names.index("title+body.component.1")]  # the first is near the mean
    assert np.corrcoef(second > 0, frame["topic"])[0, 1] ** 2 > 0.9


def test_they_are_those_of_scikit_learn() -> None:
    frame = frame_of(200)
    (ours,) = fit_text_components(["body"], frame, 3)
    weights = TfidfVectorizer(ngram_range=(1, 2), token_pattern=WORD_OR_SIGN, min_df=2, sublinear_tf=True)
    theirs = TruncatedSVD(3, algorithm="arpack", random_state=0).fit_transform(weights.fit_transform(frame["body"]))
    for mine, other in zip(ours.read(frame).values(), theirs.T, strict=True):
        np.testing.assert_allclose(np.abs(mine), np.abs(other), atol=1e-5)


def test_rows_that_are_not_fitted_on_change_nothing() -> None:
    frame, others = frame_of(200), frame_of(50, seed=1)
    encoder = fitted(frame)
    alone = encoder.transform(others.iloc[:1]).values
    np.testing.assert_array_equal(alone, encoder.transform(others).values[:1])
    assert fitted(frame.sample(frac=1.0, random_state=0)).components[0].terms == encoder.components[0].terms


def test_equal_fit_rows_share_what_is_learned_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_components, "KEPT", Kept(MOST_BYTES))
    n_found = []
    find = text_components.find_terms
    monkeypatch.setattr(text_components, "find_terms", lambda *args, **kw: n_found.append(1) or find(*args, **kw))
    frame, others = frame_of(200), frame_of(200, seed=1)
    first = fitted(frame).transform(frame).values
    n_groups = len(n_found)
    np.testing.assert_array_equal(fitted(frame.copy()).transform(frame.copy()).values, first)
    assert len(n_found) == n_groups
    assert (fitted(others).transform(frame).values != first).any()
    fewer = fitted(frame, STEPS.model_copy(update={"text_components": 2})).transform(frame)
    assert fewer.values.shape[1] < first.shape[1]


def test_a_stored_encoder_reads_the_same() -> None:
    frame = frame_of(100)
    encoder = fitted(frame)
    again = TableEncoder.model_validate_json(encoder.model_dump_json())
    np.testing.assert_array_equal(again.transform(frame).values, encoder.transform(frame).values)
    assert encoder.column_names() == encoder.transform(frame).names


@pytest.mark.parametrize("text", ["", None, "unheard of"])
def test_a_text_without_known_words_is_in_the_middle(text: str | None) -> None:
    (group,) = fit_text_components(["body"], frame_of(100), 3)
    row = pd.DataFrame({"body": pd.Series([text], dtype="str")})
    assert [values.tolist() for values in group.read(row).values()] == [[0.0]] * 3


def test_texts_without_shared_words_have_no_components() -> None:
    frame = pd.DataFrame({"body": [f"a{n} b{n} c{n} d{n} e{n} f{n}" for n in range(20)]}, dtype="str")
    group = TextComponents.fit(["body"], frame, 3)
    assert (group.names, group.read(frame)) == ([], {})


def test_they_are_off_by_default() -> None:
    assert fitted(frame_of(100), FeatureSteps(scaling="none")).components == []


def test_few_different_texts_have_few_components_and_the_same_each_time() -> None:
    """Beyond the rank of the texts, a solver's vectors are random, and scaling would make their rounding large."""
    said = pd.Series([f"it was a {'good' if i % 3 else 'bad'} day for all of us" for i in range(60)], dtype="str")
    made = [TextComponents.fit(["said"], said.to_frame("said"), 16) for _ in range(2)]
    assert len(made[0].names) == 2
    assert made[0] == made[1]
