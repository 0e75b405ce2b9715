"""Laws of trust: looked for once for the same features, carried by every run, and never less than was known."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO

import numpy as np
import pandas as pd
import pytest

from pipeline.config.run_report import RunReport
from pipeline.scoring import data_check
from pipeline.scoring.data_check import known_trust, trust_in
from pipeline.scoring.leaks import duplicates_of
from pipeline.scoring.shared_keys import shared_key
from tests.conftest import Toy


def test_findings_are_kept_until_the_features_change(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    assert toy.run("features").exit_code == 0
    assert known_trust(toy.store()) is None
    found = trust_in(toy.store())
    assert found.test_rows_in_train == 0
    with monkeypatch.context() as patch:
        patch.setattr(data_check, "_looked", None)  # nobody looks again
        assert trust_in(toy.store()) == found
        assert trust_in(toy.store(), n_rows=10) == found
    careful = trust_in(toy.store(), n_rows=10_000)
    assert careful.n_rows == 10_000
    assert trust_in(toy.store()) == careful
    toy.edit_spec('categories = ["code"]', "categories = []")
    assert toy.run("features").exit_code == 0
    assert known_trust(toy.store()) is None


def test_a_runs_report_carries_the_findings_and_the_user_is_told(toy: Toy) -> None:
    result = toy.submit()
    carried = RunReport.read(toy.only_run().report).trust
    assert carried == known_trust(toy.store())
    assert {finding.mark for finding in carried.findings} <= {"ok", "look"}
    assert "check: adversarial AUC" in result.stderr


def test_rows_that_agree_in_the_telling_columns_alone_are_no_repeats() -> None:
    """Nine columns: eight decide which rows are compared at all, the ninth whether they are equal."""
    train = pd.DataFrame({f"c{j}": [0.0, 1.0, 1.0, 2.0] for j in range(8)} | {"last": [0.0, 0.0, 1.0, 1.0]})
    test = train.iloc[[1]].assign(last=5.0)
    found = duplicates_of(train, test, train["c0"].to_numpy())
    assert (found.within_train, found.across) == (0, 0)
    assert duplicates_of(train, train.iloc[[1]], train["c0"].to_numpy()).across == 1


def test_a_single_test_row_is_no_shift(toy: Toy) -> None:
    assert toy.run("features").exit_code == 0
    store = toy.store()
    store.__dict__["test"] = store.test.iloc[:1]
    assert trust_in(store).adversarial_auc == 0.5


def test_folds_that_share_a_key_which_test_does_not_share_are_told(toy: Toy) -> None:
    """Districts of train never occur in test; a group fold by them ends the complaint."""

    def texts() -> str:
        assert toy.run("features").exit_code == 0
        return "\n".join(finding.text for finding in trust_in(toy.store()).findings if finding.mark == "look")

    def with_districts(letters: str) -> Callable[[str], str]:
        def change(text: str) -> str:
            head, *rows = text.strip().split("\n")
            named = [f"{row},{letters[i % len(letters)]}" for i, row in enumerate(rows)]
            return "\n".join([f"{head},district", *named]) + "\n"

        return change

    toy.edit("train.csv", with_districts("ABCDEF"))
    toy.edit("test.csv", with_districts("GHI"))
    assert "test has none of the 6 values of 'district' in train, but 3 new ones" in texts()
    kind = next(line for line in toy.workspace.spec.read_text().splitlines() if line.startswith("kind = "))
    toy.edit_spec(kind, 'kind = "group"\ngroup = "district"')
    assert "'district' in train" not in texts()


def keyed(agrees: bool, share_of_test: float) -> tuple[pd.Series, pd.Series, np.ndarray, np.ndarray]:
    """600 rows in keys of three, 400 rows with a key of their own; the target of a key, and noise."""
    rng = np.random.default_rng(0)
    keys = np.concatenate([np.repeat(np.arange(200), 3), np.arange(200, 600)])
    of_key = rng.integers(0, 2, 600)[keys] if agrees else rng.integers(0, 2, 1000)
    target = np.where(rng.random(1000) < 0.1, 1 - of_key, of_key).astype(np.float64)
    known = rng.random(300) < share_of_test
    test = np.where(known, rng.integers(0, 600, 300), 1000 + np.arange(300))
    return pd.Series(keys.astype(str)), pd.Series(test.astype(str)), rng.integers(0, 5, 1000), target


@pytest.mark.parametrize("has_classes", [True, False])
def test_keys_that_tie_rows_together_are_told_where_valid_rows_gain_by_them(has_classes: bool) -> None:
    train, test, folds, target = keyed(agrees=True, share_of_test=0.2)
    found = shared_key(train, test, folds, target, has_classes=has_classes)
    assert found is not None
    assert found.across_folds == pytest.approx(0.6 * (1 - 0.2**2), abs=0.05)
    assert found.in_test == pytest.approx(0.2, abs=0.06)
    assert found.agreement == pytest.approx(0.64, abs=0.1)  # (1 - 2 x 0.1)^2
    assert found.is_optimistic
    as_test = shared_key(train, keyed(agrees=True, share_of_test=0.6)[1], folds, target, has_classes=has_classes)
    assert as_test is not None
    assert not as_test.is_optimistic
    by_group = np.unique(train, return_inverse=True)[1] % 5
    assert shared_key(train, test, by_group, target, has_classes=has_classes) is None
    assert shared_key(*keyed(agrees=False, share_of_test=0.2), has_classes=has_classes) is None
    shops = pd.Series(np.arange(1000) % 30).astype(str)  # many rows of each: a category
    assert shared_key(shops, test, folds, target, has_classes=has_classes) is None
    nothing = pd.Series([None] * 1000, dtype="str")
    assert shared_key(nothing, nothing, folds, target, has_classes=has_classes) is None


def test_a_key_that_valid_rows_share_more_than_test_rows_is_told(toy: Toy) -> None:
    def write(name: str, change: Callable[[pd.DataFrame], pd.Series]) -> None:
        toy.edit(name, lambda text: _with(pd.read_csv(StringIO(text)), change))

    def _with(frame: pd.DataFrame, change: Callable[[pd.DataFrame], pd.Series]) -> str:
        return str(frame.assign(ticket=change(frame)).to_csv(index=False))

    def by_rank(frame: pd.DataFrame) -> pd.Series:
        rank = frame["price"].rank(method="first").astype(int)
        return "T" + rank.where(rank > 40, rank // 2).astype(str)  # pairs of like prices, and rows of their own

    write("train.csv", by_rank)
    write("test.csv", lambda frame: "U" + frame["id"].astype(str))
    assert toy.run("features").exit_code == 0
    texts = [finding.text for finding in trust_in(toy.store()).findings if finding.mark == "look"]
    assert any("share 'ticket' with rows of other folds" in text for text in texts), texts
