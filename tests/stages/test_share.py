"""Processes with a GPU each share a run: together they train it once, and the result is the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.base import files
from pipeline.base.share import VARIABLE, WHOLE, Share
from pipeline.models.arrays.linear import Ridge
from pipeline.nets import workers
from tests.conftest import TINY, Toy

MODELS = {"network": TINY, "array model": ["--model", "ridge", *TINY[-4:]]}


def test_shares_cover_all_fits_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = [Share(3, number) for number in range(3)]
    assert all(sum(share.has(fit) for share in shares) == 1 for fit in range(20))
    assert all(Share(3).has(fit) for fit in range(20))
    for text, share in {"1/2": Share(2, 1), "/2": Share(2), "": WHOLE, "x": WHOLE, "1/0": WHOLE}.items():
        monkeypatch.setenv(VARIABLE, text)
        assert Share.from_environment() == share


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS.keys())
def test_two_processes_train_a_run_once_and_a_third_collects_it(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    assert toy.run("final", *options).exit_code == 0
    alone = files.read_parquet(toy.only_run().test)
    shutil.rmtree(toy.workspace.runs)
    shutil.rmtree(toy.workspace.submissions)
    trained: list[object] = []
    train, fit = workers.train_pack, Ridge.fit

    def counted_pack(*args, **kwargs):  # type: ignore[no-untyped-def]
        if not Path(kwargs["checkpoint"]).exists():
            trained.append(len(args[3]))
        return train(*args, **kwargs)

    def counted_fit(self, rows, job):  # type: ignore[no-untyped-def]
        trained.append(1)
        return fit(self, rows, job)

    monkeypatch.setattr(workers, "train_pack", counted_pack)
    monkeypatch.setattr(Ridge, "fit", counted_fit)
    for text in ("0/2", "1/2"):
        monkeypatch.setenv(VARIABLE, text)
        before = len(trained)
        result = toy.run("final", *options)
        assert result.exit_code == 0, result.output
        assert "has trained its share" in result.stderr
        assert len(trained) > before
        assert not list(toy.workspace.submissions.glob("*.csv"))
    n_trained = len(trained)
    monkeypatch.setenv(VARIABLE, "/2")
    assert toy.run("final", *options).exit_code == 0
    assert len(trained) == n_trained
    assert sum(trained) == (8 if options == TINY else 4)  # folds x seeds
    columns = [name for name in alone if name.startswith("prediction")]
    shared = files.read_parquet(toy.only_run().test)
    assert (shared[columns] / alone[columns] - 1).abs().to_numpy().max() < 1e-6


def test_what_another_process_has_not_trained_is_trained_by_the_last(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0/2")
    toy.run("final", *TINY)
    monkeypatch.setenv(VARIABLE, "/2")
    assert toy.run("final", *TINY).exit_code == 0
    assert toy.submission().exists()
