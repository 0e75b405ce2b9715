"""Shared by LightGBM, XGBoost and CatBoost (the extra `boosting`): parameters, number of rounds, storage.

Knows arrays; must not know which library trains. A fitted model is kept in its library's own text or binary form.

The number of rounds is chosen on held-out parts of the fit rows; then all fit rows are trained on. Of many rows a
twentieth is held out, and the model of the others is kept: a second fit would cost more than these rows add. The fold's
own valid rows are never used: stopping on them, House Prices would score 0.1201 instead of an unbiased 0.1213
(benchmarks/ablation.md).
"""

from __future__ import annotations

import importlib
import zlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import PipelineError, SpecError, TrainingError
from pipeline.config.table import Table, bounded
from pipeline.encoders.encoded import View
from pipeline.encoders.target import softmax
from pipeline.models.arrays.learners import (
    Arrays,
    FitRows,
    Job,
    ParamsLearner,
    all_classes,
    column_share_for,
    held_out,
    leaves_for,
    lr_for,
)
from pipeline.models.arrays.target_bins import TargetBins

ROWS_FOR_GPU = 20_000  # with fewer rows a GPU is slower than one core
FEW_ROWS = 4_000  # up to here the number of rounds is averaged over all held-out parts
MANY_ROWS, PARTS_OF_MANY = 20_000, 20  # with more rows, the model that found the number of rounds on one part is kept
BINS = 255  # the libraries' own; exact to the eighth of a per cent of the rows
# with so few rows most scores gain, rounds take up to half as long again
FINE_BINS, ROWS_FOR_FINE_BINS = 1023, 100_000
EXTRA = "boosting"


class BoostingParams(Table):
    """Parameters of `lightgbm`, `xgboost` and `catboost`; the registry holds their defaults."""

    lr: float | None = bounded(
        None, ge=1e-6, le=1, usual="0.02 to 0.2", description="learning rate; default: by the number of rows"
    )
    max_leaves: int | None = bounded(
        None, ge=2, le=65_536, usual="8 to 128", description="leaves per tree, of lightgbm; default: by rows"
    )
    max_depth: int | None = bounded(
        None, ge=1, le=16, usual="3 to 10", description="depth of trees, of xgboost and catboost; default: by rows"
    )
    min_samples_leaf: float = bounded(
        5.0, ge=0, le=1e9, usual="1 to 50", description="fewest rows in a leaf; sum of hessians in xgboost"
    )
    row_share: float = bounded(
        0.7, ge=0.01, le=1, usual="0.5 to 1", description="share of the rows drawn for every tree"
    )
    column_share: float | None = bounded(
        None,
        ge=0.001,
        le=1,
        usual="0.2 to 1",
        description="share of the columns drawn for every tree; default: by their number",
    )
    l2: float = bounded(1.0, ge=0, le=1e6, usual="0.1 to 30", description="L2 penalty of leaf values")
    bins: int | None = bounded(
        None,
        ge=15,
        le=65_535,
        usual="255 to 4095",
        description="intervals of a column's values, between which trees split; default: by rows, of catboost its own",
    )
    loss: str = Field(
        default="auto",
        pattern="^(auto|mse|mae|huber)$",
        description="of regression; auto: what the metric asks for",
    )
    target_bins: int | None = bounded(
        None,
        ge=2,
        le=1000,
        usual="30 to 100",
        description="of regression: learn in which of so many bins the target is; predict its median (mae) or mean",
    )
    rounds: int | None = bounded(
        None, ge=1, le=100_000, usual="100 to 5000", description="number of rounds; default: found on held-out rows"
    )
    max_rounds: int = bounded(5000, ge=1, le=100_000, usual="100 to 5000", description="upper limit of rounds")
    patience: int | None = bounded(
        None,
        ge=1,
        le=100_000,
        usual="20 to 200",
        description="stop after this many rounds without a better loss on held-out rows; default: 3 / lr",
    )
    held_parts: int = bounded(
        4,
        ge=2,
        le=20,
        usual="4 to 10",
        description="parts of the fit rows; each is held out once to find the number of rounds",
    )
    one_hot_max: int = bounded(
        4, ge=1, le=255, usual="2 to 30", description="categories with at most this many levels get one-hot splits"
    )


def imported(name: str) -> ModuleType:
    """The library `name`. Raises PipelineError that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise PipelineError(
            f"the model {name!r} needs the package {name!r}, which cannot be imported: {error}",
            hint=f"Install it with pip install -e '.[{EXTRA}]', or use --model histogram_boosting.",
        ) from error


@dataclass(frozen=True)
class Sizes:
    lr: float
    leaves: int
    depth: int
    column_share: float
    patience: int


class Boosting(ParamsLearner[BoostingParams]):
    """Number of rounds, default sizes, and storage of the model as bytes."""

    view: View = "ordinal"
    is_seeded = True
    library: ClassVar[str] = ""
    lr_factor: ClassVar[float] = 1.0

    def fit(self, rows: FitRows, job: Job) -> Arrays:
        """The model's bytes, its number of rounds and the gain of each column."""
        if not rows.is_regression and self.params.loss != "auto":
            raise SpecError(f"the loss {self.params.loss!r} is for regression", where="[params] loss")
        library, bins = imported(self.library), self._target_bins(rows)
        try:
            if bins is None:
                return self._fitted(library, rows, job)
            return self._fitted(library, bins.rows(rows), job) | bins.arrays()
        except Exception as error:
            if not type(error).__module__.lstrip("_").startswith(self.library):
                raise
            raise TrainingError(
                str(error), where=f"{self.library} refuses these parameters or rows", hint="See [params] of the run."
            ) from error

    def _fitted(self, library: ModuleType, rows: FitRows, job: Job) -> Arrays:
        n_rounds = job.n_rounds or self.params.rounds
        if n_rounds is None and len(rows.y) > MANY_ROWS:
            part, held = held_out(rows, PARTS_OF_MANY, job.seed)
            model, n_rounds = self._trained(library, part, held, job, self.params.max_rounds)
        else:
            n_rounds = n_rounds or self._rounds(library, rows, job)
            model, n_rounds = self._trained(library, rows, None, job, n_rounds)
        job.check_stop()  # a stopped model is incomplete
        raw = np.frombuffer(zlib.compress(self._bytes(model), 6), dtype=np.uint8)
        gains = np.asarray(self._gains(model, rows.x.shape[1]), dtype=np.float32)
        member: Arrays = {
            "model": raw,
            "n_rounds": np.array(n_rounds),
            "importance": gains,
            "n_classes": np.array(rows.n_classes),
            "classes": np.unique(rows.y).astype(np.int64) if rows.n_classes else np.zeros(0, dtype=np.int64),
            "categories": np.array(sorted(rows.cardinality), dtype=np.int64),
        }
        return job.marked(member)

    def predict(self, member: Arrays, x: NDArray[np.float32]) -> FloatArray:
        """Values, or the classes' probabilities."""
        raw = self._raw(imported(self.library), zlib.decompress(member["model"].tobytes()), x, member["categories"])
        if not int(member["n_classes"]):
            return raw
        if raw.ndim == 1:
            raw = np.column_stack([np.zeros(len(raw)), raw])
        probability = all_classes(softmax(raw), member["classes"], int(member["n_classes"]))
        bins = TargetBins.from_arrays(member)
        return probability if bins is None else bins.value(probability)

    def importance(self, member: Arrays) -> FloatArray:
        """Sums of the splits' gains."""
        return member["importance"].astype(np.float64)

    def contributions(self, member: Arrays, x: NDArray[np.float32]) -> FloatArray | None:
        """(rows, columns + 1) what each column adds to the raw score, and last the score of no column (Tree SHAP).

        None for more than two classes, and for bins of a target.
        """
        if len(member["classes"]) > 2 or TargetBins.from_arrays(member) is not None:
            return None
        raw = zlib.decompress(member["model"].tobytes())
        return self._contributions(imported(self.library), raw, x, member["categories"])

    def sizes(self, rows: FitRows) -> Sizes:
        """The parameters, with defaults by the numbers of rows and columns."""
        n_rows, n_columns = rows.x.shape
        lr = self.params.lr or lr_for(n_rows) * self.lr_factor
        leaves = self.params.max_leaves or leaves_for(n_rows, rows.is_regression)
        return Sizes(
            lr=lr,
            leaves=leaves,
            depth=self.params.max_depth or 1 + int(np.log2(leaves)),
            column_share=self.params.column_share or column_share_for(n_columns),
            patience=self.params.patience or max(10, round(3.0 / lr)),
        )

    def bins(self, rows: FitRows) -> int:
        """The parameter, by default finer than the libraries' where that costs little."""
        return self.params.bins or (FINE_BINS if len(rows.y) <= ROWS_FOR_FINE_BINS else BINS)

    def loss(self, rows: FitRows) -> str:
        """The loss of a regression; the metric's by default."""
        return rows.metric.loss if self.params.loss == "auto" else self.params.loss

    def _target_bins(self, rows: FitRows) -> TargetBins | None:
        if self.params.target_bins is None:
            return None
        if not rows.is_regression:
            raise SpecError("bins of the target are for regression", where="[params] target_bins")
        return TargetBins.of(rows.y, self.params.target_bins, is_median=self.loss(rows) == "mae")

    def _rounds(self, library: ModuleType, rows: FitRows, job: Job) -> int:
        """The mean best number of rounds over the held-out parts; for many rows, of the first part only."""
        if len(rows.y) < 4 * self.params.held_parts:
            return min(100, self.params.max_rounds)
        n_parts, best = self.params.held_parts, []
        n_searches = n_parts if len(rows.y) <= FEW_ROWS else 1
        for number in range(n_searches):
            part, held = held_out(rows, n_parts, job.seed, number)
            n_to_come = n_searches - number + n_parts / (n_parts - 1)  # fits of such a part, the last one with all rows
            found = self._trained(library, part, held, job.within(1.0 / n_to_come), self.params.max_rounds)
            best.append(found[1])
        return max(1, round(float(np.mean(best))))

    def uses_gpu(self, rows: FitRows, job: Job) -> bool:
        return job.device.type == "cuda" and len(rows.y) >= ROWS_FOR_GPU

    def _trained(
        self, library: ModuleType, rows: FitRows, held: FitRows | None, job: Job, n_rounds: int
    ) -> tuple[Any, int]:
        """The model and its rounds: `n_rounds`, or what is best on `held` by then; fewer when the job is over."""
        raise NotImplementedError

    def _bytes(self, model: Any) -> bytes:
        raise NotImplementedError

    def _raw(
        self, library: ModuleType, stored: bytes, x: NDArray[np.float32], categories: NDArray[np.int64]
    ) -> FloatArray:
        """(rows,) or (rows, classes present) raw scores."""
        raise NotImplementedError

    def _contributions(
        self, library: ModuleType, stored: bytes, x: NDArray[np.float32], categories: NDArray[np.int64]
    ) -> FloatArray:
        raise NotImplementedError

    def _gains(self, model: Any, n_columns: int) -> FloatArray:
        raise NotImplementedError
