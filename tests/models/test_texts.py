"""Laws of `text_linear`: it equals scikit-learn's TF-IDF, finds what the words say, and needs texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from pipeline.base.errors import SpecError
from pipeline.config.run import FeatureSteps
from pipeline.encoders.terms import WORD_OR_SIGN, find_terms, weigh_terms
from pipeline.models.base import FitContext
from tests.models.conftest import default_model, make_problem, make_splits

WORDS = np.array(["rain", "sun", "storm", "cloud", "breeze", "fog", "hail", "Grüße", "!", "2024"])


def texts(n_rows: int = 60) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    said = [" ".join(generator.choice(WORDS, generator.integers(1, 7))) for _ in range(n_rows)]
    other = [" ".join(generator.choice(WORDS, 2)) for _ in range(n_rows)]
    return pd.DataFrame({"said": said, "other": other}, dtype="str")


@pytest.mark.parametrize("characters", [0, 4])
def test_the_terms_weigh_what_scikit_learns_vectorizer_gives_them(characters: int) -> None:
    frame, fit_rows = texts(), np.arange(40)
    words, *rest = find_terms(frame, ["said"], words=2, characters=characters)
    options = {"sublinear_tf": True, "min_df": 2}
    pairs = [(words, TfidfVectorizer(ngram_range=(1, 2), token_pattern=WORD_OR_SIGN, **options))]
    if characters:
        pairs.append((rest[0], TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), **options)))
    for vocabulary, reference in pairs:
        expected = reference.fit(frame["said"].iloc[fit_rows]).transform(frame["said"])
        counts = vocabulary.count(frame)
        weights = weigh_terms(counts[fit_rows], most=10_000)
        assert [vocabulary.terms[code] for code in weights.chosen] == list(reference.get_feature_names_out())
        np.testing.assert_allclose(weights.weighted(counts).toarray(), expected.toarray(), rtol=1e-5)


def test_the_most_frequent_terms_are_kept_where_there_are_too_many() -> None:
    (vocabulary,) = find_terms(texts(), ["said"], words=2, characters=0)
    counts = vocabulary.count(texts())
    kept = weigh_terms(counts, most=7).chosen
    n_rows = np.asarray((counts > 0).sum(axis=0)).ravel()
    assert len(kept) == 7
    assert n_rows[kept].min() >= np.sort(n_rows)[-7]


def test_the_class_that_a_word_decides_is_found() -> None:
    problem = make_problem("binary", features=FeatureSteps())
    target = np.arange(90) % 2
    said = pd.Series([f"it was a {'good' if code else 'bad'} day, number {i % 7}" for i, code in enumerate(target)])
    train = problem.train.assign(cabin=said.astype("str").to_numpy())
    problem = replace(problem, train=train, target=target.astype(float))
    model = default_model("text_linear", {}).fit(problem, make_splits(), seed=0, n_seeds=1, context=FitContext())
    assert (model.oof_prediction.argmax(axis=1) == target).all()


def test_empty_and_missing_texts_are_no_error(tmp_path: Path) -> None:
    problem = make_problem("multiclass")
    train = problem.train.assign(cabin=pd.Series([None, "", "a"] * 30, dtype="str").to_numpy())
    problem = replace(problem, train=train)
    model = default_model("text_linear", {}).fit(problem, make_splits(), seed=0, n_seeds=1, context=FitContext())
    assert np.isfinite(model.oof_prediction).all()
    model.save(tmp_path)


def test_a_fit_goes_on_from_its_finished_splits(tmp_path: Path) -> None:
    problem, model = make_problem("regression"), default_model("text_linear", {})
    context = FitContext(checkpoints=tmp_path)
    whole = model.fit(problem, make_splits(), seed=0, n_seeds=1, context=context)
    (tmp_path / "split-1.npz").unlink()
    again = model.fit(problem, make_splits(), seed=0, n_seeds=1, context=context)
    np.testing.assert_array_equal(whole.oof_prediction, again.oof_prediction)


def test_a_table_without_texts_is_refused() -> None:
    problem = make_problem("regression")
    roles = {name: role for name, role in problem.roles.items() if role != "text"}
    with pytest.raises(SpecError, match="needs a column of texts"):
        default_model("text_linear", {}).fit(
            replace(problem, roles=roles), make_splits(), seed=0, n_seeds=1, context=FitContext()
        )
