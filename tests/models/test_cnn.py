"""Laws of `cnn`: pixels are found by their names, whatever their order; what is stored predicts as what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.base.errors import SpecError
from pipeline.competition.folds import Split
from pipeline.competition.problem import Problem
from pipeline.config.run import FeatureSteps
from pipeline.metrics import METRICS
from pipeline.models.base import FitContext
from pipeline.models.networks.pixels import pixel_grid
from pipeline.models.registry import entry_of
from pipeline.models.run_configuration import load_run_config
from tests.conftest import Toy
from tests.models.conftest import default_model

HEIGHT, WIDTH, N_ROWS = 5, 6, 120
QUICK = {"channels": [4], "hidden": 8, "epochs": 12, "batch_size": 16, "lr": 0.02, "dropout": 0.1}
SPLITS = [Split(np.arange(30, N_ROWS), np.arange(30)), Split(np.arange(0, 90), np.arange(90, N_ROWS))]


def bars(n_rows: int = N_ROWS) -> tuple[pd.DataFrame, np.ndarray]:
    """Images with a bright bar, upright (0) or level (1), anywhere but in the first pixel, which is always dark."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (n_rows, HEIGHT, WIDTH))
    labels = np.arange(n_rows) % 2
    for image, label in zip(images, labels, strict=True):
        if label:
            image[rng.integers(HEIGHT)] += 180
        else:
            image[:, rng.integers(WIDTH)] += 180
    images[:, 0, 0] = 0
    names = [f"pixel_{row}_{column}" for row in range(HEIGHT) for column in range(WIDTH)]
    return pd.DataFrame(images.reshape(n_rows, -1).astype(float), columns=names), labels.astype(float)


def make_problem(**changes: Any) -> Problem:
    frame, labels = bars()
    frame = frame.drop(columns="pixel_0_0")
    settings: dict[str, Any] = {
        "train": frame,
        "test": frame.head(7),
        "target": labels,
        "roles": dict.fromkeys(frame.columns, "number"),
        "ordered": {},
        "task": "binary",
        "n_classes": 2,
        "metric": METRICS["accuracy"],
        "sample_weight": None,
        "features": FeatureSteps(scaling="pixels"),
        "scope": "train",
        "target_transform": "none",
        "left_out": ("pixel_0_0", "remark"),
    }
    return Problem(**(settings | changes))


@pytest.mark.slow
def test_it_learns_is_stored_whole_and_goes_by_names(tmp_path: Path) -> None:
    problem = make_problem()
    model = default_model("cnn", QUICK)
    fitted = model.fit(problem, SPLITS, seed=1, n_seeds=2, context=FitContext())
    validated = np.r_[0:30, 90:N_ROWS]
    assert problem.metric(problem.target[validated], fitted.oof_prediction[validated]) > 0.9
    predicted = fitted.predict(problem.train, [0, 1])
    fitted.save(tmp_path)
    stored = entry_of("cnn").load(tmp_path)
    assert np.array_equal(stored.predict(problem.train, [0, 1]), predicted)
    assert np.array_equal(stored.predict(problem.train.iloc[:, ::-1], [0, 1]), predicted)
    shuffled = problem.train.iloc[:, np.random.default_rng(0).permutation(HEIGHT * WIDTH - 1)]
    again = make_problem(train=shuffled, roles=dict.fromkeys(shuffled.columns, "number"))
    same = model.fit(again, SPLITS, seed=1, n_seeds=2, context=FitContext(n_workers=2))
    np.testing.assert_allclose(same.predict(problem.train, [0, 1]), predicted, atol=1e-5)  # in packs of other sizes


def test_pixels_are_scaled_by_the_highest_the_fit_rows_have() -> None:
    problem = make_problem()
    held = problem.train.copy()
    held.loc[:29] *= 100.0  # validated by the first split, train rows of the second
    fitted = default_model("cnn", {**QUICK, "epochs": 1}).fit(
        make_problem(train=held), SPLITS, seed=1, n_seeds=1, context=FitContext()
    )
    scales = [{number.scale for number in encoder.numbers} for encoder in fitted.stored.encoders]  # type: ignore[attr-defined]
    assert scales == [{problem.train[30:].to_numpy().max()}, {held[:90].to_numpy().max()}]
    assert load_run_config("fast", model="cnn").features.scaling == "pixels"


NAMES = {
    "numbers": [f"pixel{j}" for j in range(16)],
    "from 1": [f"pixel{j}" for j in range(1, 17)],
    "row and column": [f"px_{j // 4}_{j % 4}" for j in range(16)],
    "1x1": [f"{1 + j // 4}x{1 + j % 4}" for j in range(16)],
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_the_order_of_pixels_is_that_of_their_numbers(names: list[str]) -> None:
    assert pixel_grid(names[::-1], [], None).names == names
    grid = pixel_grid(names[1:-1], ["id", names[0], names[-1]], None)  # corners that are the same in every row
    assert (grid.height, grid.width, grid.names) == (4, 4, names)


def test_an_image_need_not_be_square() -> None:
    by_number = pixel_grid([f"p{j}" for j in range(12)], [], (3, 4))
    assert (by_number.height, by_number.width) == (3, 4)
    by_place = pixel_grid([f"{row}x{column}" for row in range(3) for column in range(4)], [], None)
    assert (by_place.height, by_place.width) == (3, 4)


@pytest.mark.parametrize(
    ("names", "shape", "said"),
    [
        (["pixel0", "pixel1", "age"], None, "'age' is not a pixel"),
        (["pixel0", "other1"], None, "'other1' is not a pixel"),
        ([f"pixel{j}" for j in range(12)], None, "image_shape=[3,4]"),
        ([f"pixel{j}" for j in range(16) if j != 7], None, "15 pixel columns do not form a 4 x 4 image"),
        ([f"pixel{j}" for j in range(16)], (3, 5), "16 pixel columns do not form a 3 x 5 image"),
        (["0x0", "0x1", "1x0"], None, "3 pixel columns do not form a 2 x 2 image"),
        (["0x0", "0x1"], (2, 2), "1 x 2 images, not 2 x 2"),
        ([], None, "no columns"),
    ],
)
def test_what_is_no_image_is_refused(names: list[str], shape: tuple[int, int] | None, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        pixel_grid(names, [], shape)
    assert said in caught.value.message


def test_an_image_that_is_too_small_is_refused() -> None:
    with pytest.raises(SpecError, match="cannot be halved 3 times"):
        default_model("cnn", {**QUICK, "channels": [2, 2, 2]}).fit(
            make_problem(), SPLITS, seed=1, n_seeds=1, context=FitContext()
        )


def test_a_table_that_is_no_image_is_a_message(toy: Toy) -> None:
    result = toy.run("train", "--model", "cnn")
    assert result.exit_code == 2
    assert "is not a pixel" in result.stderr
    assert "--model mlp" in result.stderr
