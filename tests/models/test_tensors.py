"""Laws of the tables as tensors: splits share what they learned alike and nothing else; pixels are kept as bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.competition.folds import Split
from pipeline.competition.problem import Problem
from pipeline.config.run import FeatureSteps
from pipeline.models.base import FitContext
from pipeline.models.networks.tensors import SplitTensors, split_tensors
from tests.models.conftest import default_model, make_problem, make_splits
from tests.models.test_cnn import SPLITS as IMAGE_SPLITS
from tests.models.test_cnn import make_problem as make_images

CPU = torch.device("cpu")


def tensors_of(problem: Problem, splits: list[Split]) -> SplitTensors:
    return split_tensors(problem, splits, scale_target=True, seed=0, device=CPU)


def written_out(problem: Problem, made: SplitTensors, split: int) -> np.ndarray:
    return made.columns.inputs_of(made.encoders[split].transform(problem.train)).as_dense().numpy()


def test_pixels_are_kept_as_bytes_and_read_as_the_encoder_scales_them() -> None:
    problem = make_images()
    made = tensors_of(problem, IMAGE_SPLITS)
    assert made.data.x.dense.dtype == torch.uint8
    for split, view in enumerate(made.view_of_split):
        np.testing.assert_allclose(made.data.x[view].as_dense(), written_out(problem, made, split), rtol=1e-6)
        assert made.data.x[view].as_dense()[IMAGE_SPLITS[split].train_rows].max() == pytest.approx(1.0)


@pytest.mark.parametrize("value", [0.5, 256.0, -1.0, np.nan])
def test_what_is_no_byte_is_kept_as_a_number(value: float) -> None:
    problem = make_images()
    problem.train.iloc[3, 2] = value
    made = tensors_of(problem, IMAGE_SPLITS)
    assert made.data.x.dense.dtype == torch.float32
    for split, view in enumerate(made.view_of_split):
        np.testing.assert_array_equal(made.data.x[view].as_dense(), written_out(problem, made, split))


def test_splits_that_learned_the_same_share_a_view() -> None:
    frame = make_images().train
    frame.iloc[[0, 1, 100], 5] = 255.0  # the highest of every split's fit rows: one scale
    problem = make_images(train=frame)
    made = tensors_of(problem, IMAGE_SPLITS)
    assert made.view_of_split == [0, 0]
    assert len(made.data.x.dense) == len(made.data.y) == 1
    uneven = frame + 1e-9 * (frame > 250).mul(np.arange(len(frame)), axis=0)  # no bytes, and a scale a split
    assert tensors_of(make_images(train=uneven), IMAGE_SPLITS).view_of_split == [0, 1]
    params = {"epochs": 5, "batch_size": 16}
    fits = [
        default_model("linear", params).fit(one, IMAGE_SPLITS, seed=1, n_seeds=1, context=FitContext())
        for one in (problem, make_images(train=uneven))
    ]
    for split in range(2):
        both = [fit.predict(frame, [split]) for fit in fits]
        np.testing.assert_allclose(*both, atol=1e-4)


@pytest.mark.parametrize("features", [{}, {"scaling": "none", "target_encoding": 2}], ids=["scale", "target means"])
def test_splits_that_learned_something_of_their_own_share_none(features: dict[str, Any]) -> None:
    made = tensors_of(make_problem("binary", features=FeatureSteps(**features)), make_splits())
    assert made.view_of_split == [0, 1, 2]


def test_balanced_classes_are_those_of_each_splits_own_rows() -> None:
    problem = make_images(balances_classes=True, target=(np.arange(120) < 50).astype(float))
    made = tensors_of(problem, IMAGE_SPLITS)
    assert made.view_of_split == [0, 1]
    assert made.data.weight is not None
    for split, weight in zip(IMAGE_SPLITS, made.data.weight.numpy(), strict=True):
        codes = problem.target[split.train_rows].astype(int)
        np.testing.assert_allclose(np.bincount(codes, weights=weight[split.train_rows]), len(codes) / 2, rtol=1e-5)


@pytest.mark.parametrize("rare_min_count", [0, 2])
def test_codes_are_the_one_hot_columns_written_out(rare_min_count: int) -> None:
    """With levels a split has not seen, missing values and pooled levels; a column that a split lacks is all zeros."""
    problem = make_problem("regression", features=FeatureSteps(rare_min_count=rare_min_count))
    problem.train["cabin"] = [f"level {row % 3 * 20 + row % 11}" for row in range(len(problem.train))]
    problem = replace(problem, roles={**problem.roles, "cabin": "category"})
    splits = make_splits()
    made = tensors_of(problem, splits)
    names = [*made.columns.dense, *(name for slot in made.columns.slots for name in slot)]
    for split, encoder in enumerate(made.encoders):
        encoded = encoder.transform(problem.train)
        plain = pd.DataFrame(encoded.values, columns=encoded.names)
        assert len(encoded.names) < len(names) or rare_min_count
        expected = plain.reindex(columns=names, fill_value=0.0)
        np.testing.assert_array_equal(made.data.x[made.view_of_split[split]].as_dense(), expected)
        np.testing.assert_array_equal(written_out(problem, made, split), expected)
