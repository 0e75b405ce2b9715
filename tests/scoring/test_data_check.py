"""Laws of trust: looked for once for the same features, carried by every run, and never less than was known."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from pipeline.config.run_report import RunReport
from pipeline.scoring import data_check
from pipeline.scoring.data_check import known_trust, trust_in
from pipeline.scoring.leaks import duplicates_of
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
