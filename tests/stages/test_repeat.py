"""Laws of repeats: other folds than the file's, which stays as it is; nothing is trained twice."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.config.records import Repeats
from pipeline.config.run_report import RunReport
from tests.conftest import TINY, Toy


@pytest.mark.slow
def test_repeats_are_other_folds_and_are_kept(toy: Toy) -> None:
    first = toy.run("train", *TINY, "--repeats", "1")
    assert first.exit_code == 0, first.output
    store, run = toy.store(), toy.only_run()
    folds, others = store.fold_of_row.copy(), store.other_folds(2)
    assert all(np.bincount(other).tolist() == np.bincount(folds).tolist() for other in others)
    assert not np.array_equal(others[0], folds)
    assert not np.array_equal(others[0], others[1])
    (one,) = Repeats.read(run.path / "repeats.json").repeats

    again = toy.run("train", *TINY, "--repeats", "2")
    assert again.exit_code == 0, again.output
    kept = Repeats.read(run.path / "repeats.json")
    assert kept.repeats[0] == one
    scores = [RunReport.read(run.report).cv_score, *(other.cv_score for other in kept.repeats)]
    assert kept.mean == pytest.approx(np.mean(scores))
    assert kept.sd == pytest.approx(np.std(scores, ddof=1))
    assert f"mean {kept.mean:.5f} (sd {kept.sd:.5f})" in again.stdout
    assert np.array_equal(toy.store().fold_of_row, folds)

    assert not (run.path / "repeat_checkpoints").exists()


def test_folds_that_leave_no_choice_are_refused(toy: Toy) -> None:
    toy.edit_spec('kind = "shuffled"', 'kind = "time"\ntime = "year"')
    result = toy.run("train", *TINY, "--repeats", "2")
    assert result.exit_code == 2
    assert "--repeats" in result.stderr
    assert "'time'" in result.stderr
