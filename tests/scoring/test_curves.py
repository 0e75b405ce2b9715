"""Curves for TensorBoard: there while a run is trained, whole after it."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter

from pipeline.base.errors import ArtifactError
from pipeline.models.base import EpochScores, FitContext
from pipeline.models.run_configuration import load_run_config
from pipeline.scoring.curves import Curves
from pipeline.stages.train import train_run
from tests.conftest import Toy


def points(folder: Path, tag: str) -> list[tuple[int, float]]:
    """(step, value) in the folder's one event file."""
    (events,) = folder.glob("events.*")
    shown = EventAccumulator(str(events)).Reload()  # type: ignore[no-untyped-call]
    return [(point.step, pytest.approx(point.value)) for point in shown.Scalars(tag)]


def test_scores_are_on_disk_when_add_returns(tmp_path: Path) -> None:
    with Curves(tmp_path / "curves", [1]) as curves:
        curves.add(0, [EpochScores(1, 0, 0, 0.5, 0.6)])
        assert points(tmp_path / "curves", "valid/fold_0") == [(1, 0.6)]
        curves.add(0, [EpochScores(2, 0, 0, 0.4, 0.5), EpochScores(2, 1, 0, 0.3, 0.7)])
        assert points(tmp_path / "curves", "valid/fold_0") == [(1, 0.6), (2, 0.5)]
        assert points(tmp_path / "curves", "train/fold_1") == [(2, 0.3)]


def test_parts_and_seeds_have_folders_and_the_end_adds_the_mean(tmp_path: Path) -> None:
    scores = [EpochScores(epoch, 0, seed, 0.1 * seed, 0.2 * seed + epoch) for epoch in (1, 2) for seed in (0, 1)]
    with Curves(tmp_path, [1, 2]) as curves:
        curves.add(1, scores[:3])
        curves.finish(0, [EpochScores(7, 0, 0, 0.5, 0.6)])
        curves.finish(1, scores)
    assert points(tmp_path / "part-0", "valid/fold_0") == [(7, 0.6)]
    assert points(tmp_path / "part-1" / "seed-0", "valid/fold_0") == [(1, 1.0), (2, 2.0)]
    assert points(tmp_path / "part-1" / "seed-1", "valid/fold_0") == [(1, 1.2), (2, 2.2)]
    assert points(tmp_path / "part-1", "valid/fold_0") == [(1, 1.1), (2, 2.1)]


def test_curves_of_an_interrupted_training_are_replaced(tmp_path: Path) -> None:
    for _ in range(2):
        with Curves(tmp_path, [1]) as curves:
            curves.add(0, [EpochScores(1, 0, 0, 0.5, 0.6)])
    assert points(tmp_path, "valid/fold_0") == [(1, 0.6)]


def test_models_without_epochs_leave_no_folder(tmp_path: Path) -> None:
    with Curves(tmp_path / "curves", [3]) as curves:
        curves.add(0, [])
        curves.finish(0, [])
    assert not (tmp_path / "curves").exists()


def test_a_full_disk_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RecordWriter, "write", full)
    with Curves(tmp_path, [1]) as curves, pytest.raises(ArtifactError, match="cannot be written"):
        curves.add(0, [EpochScores(1, 0, 0, 0.5, 0.6)])


def test_a_run_shows_its_curves_while_it_is_trained(toy: Toy) -> None:
    assert toy.run("features").exit_code == 0
    store = toy.store()
    config = load_run_config("fast", overrides=["epochs=3", "hidden_sizes=[8]", "seeds=1", "evaluate_every=1"])
    folder, seen = store.workspace.run(config.run_name).path / "tensorboard", []

    def look(_: float) -> None:
        seen.append(len(points(folder, "valid/fold_0")) if folder.exists() else 0)

    train_run(store, config, FitContext(), on_share=look)
    assert seen[:2] == [0, 1]  # scores are passed on after the share
    assert len(points(folder, "valid/fold_0")) == 3
