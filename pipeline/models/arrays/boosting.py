"""Gradient boosting by LightGBM, XGBoost and CatBoost, the extra `boosting`; imported when a fit asks for them.

Knows arrays; knows nothing of frames or storage. A fitted model is kept as its library's own text or binary form.

The number of rounds is found on a part of the fit rows that is held out; then all fit rows are learned from for as
many rounds. The fold's own valid rows are never looked at: stopped on them, House Prices' out-of-fold score would be
0.1201 where it is honestly 0.1213 (benchmarks/ablation.md).
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import tempfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import PipelineError, SpecError
from pipeline.config.table import Table
from pipeline.encoders import View
from pipeline.encoders.target import softmax
from pipeline.models.arrays.learners import (
    Arrays,
    FitRows,
    Job,
    all_classes,
    column_share_for,
    held_out,
    leaves_for,
    lr_for,
)

ROWS_FOR_GPU = 20_000  # with fewer rows a GPU is slower than one core
FEW_ROWS = 4_000  # up to here the number of rounds is the mean over several held parts
EXTRA = "boosting"
NOT_TO_PREDICT = ("sklearn", "IPython", "matplotlib", "plotly", "graphviz", "dask")


class BoostingParams(Table):
    """Parameters of `lightgbm`, `xgboost` and `catboost`; the registry holds their defaults."""

    lr: float | None = Field(default=None, gt=0, description="learning rate; default: by the number of rows")
    max_leaves: int | None = Field(default=None, ge=2, description="leaves per tree, of lightgbm; default: by rows")
    max_depth: int | None = Field(
        default=None, ge=1, description="depth of trees, of xgboost and catboost; default: by rows"
    )
    min_samples_leaf: float = Field(default=5.0, ge=0, description="fewest rows in a leaf; sum of hessians in xgboost")
    row_share: float = Field(default=0.7, gt=0, le=1, description="share of the rows drawn for every tree")
    column_share: float | None = Field(
        default=None, gt=0, le=1, description="share of the columns drawn for every tree; default: by their number"
    )
    l2: float = Field(default=1.0, ge=0, description="L2 penalty of leaf values")
    loss: str = Field(
        default="auto",
        pattern="^(auto|mse|mae|huber)$",
        description="of regression; auto: what the metric asks for",
    )
    rounds: int | None = Field(default=None, ge=1, description="number of rounds; default: found on held-out rows")
    max_rounds: int = Field(default=5000, ge=1, description="upper limit of rounds")
    patience: int | None = Field(
        default=None,
        ge=1,
        description="stop after this many rounds without a better loss on held-out rows; default: 3 / lr",
    )
    held_parts: int = Field(
        default=4, ge=2, description="parts of the fit rows; each is held out once to find the number of rounds"
    )
    one_hot_max: int = Field(default=4, ge=1, description="categories with at most this many levels get one-hot splits")


def imported(name: str) -> ModuleType:
    """The library `name`. Raises PipelineError that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise PipelineError(
            f"the model {name!r} needs the package {name!r}, which cannot be imported: {error}",
            hint=f"Install it with pip install -e '.[{EXTRA}]', or take --model histogram_boosting, which needs none.",
        ) from error


def import_lean(models: Iterable[str]) -> None:
    """Import the libraries of `models` without what their own wrappers and plots need, where that is not there yet.

    For a process that only predicts: the wrappers take longer to import than the prediction takes. A library that
    cannot be imported is left to `imported`, which says so.
    """
    absent = [name for name in NOT_TO_PREDICT if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None: its import fails
    try:
        for name in sorted({LightGBM.library, XGBoost.library, CatBoost.library} & set(models)):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    finally:
        for name in absent:
            del sys.modules[name]


@dataclass(frozen=True)
class _Sizes:
    lr: float
    leaves: int
    depth: int
    column_share: float
    patience: int


class _Boosting:
    """How many rounds, the losses by name, and the model's bytes as an array."""

    view: View = "ordinal"
    is_seeded = True
    library: ClassVar[str] = ""
    lr_factor: ClassVar[float] = 1.0

    def __init__(self, params: BoostingParams) -> None:
        self.params = params

    def fit(self, rows: FitRows, job: Job) -> Arrays:
        """The model's bytes, the number of rounds, and each column's part in lowering the loss."""
        if not rows.is_regression and self.params.loss != "auto":
            raise SpecError(f"the loss {self.params.loss!r} is for numbers, not classes", where="[params] loss")
        library = imported(self.library)
        n_rounds = job.n_rounds or self.params.rounds or self._rounds(library, rows, job)
        model, _ = self._trained(library, rows, None, job, n_rounds)
        job.check_stop()  # the model is cut short
        raw = np.frombuffer(zlib.compress(self._bytes(model), 6), dtype=np.uint8)
        gains = np.asarray(self._gains(model, rows.x.shape[1]), dtype=np.float32)
        return {
            "model": raw,
            "n_rounds": np.array(n_rounds),
            "importance": gains,
            "n_classes": np.array(rows.n_classes),
            "classes": np.unique(rows.y).astype(np.int64) if rows.n_classes else np.zeros(0, dtype=np.int64),
            "categories": np.array(sorted(rows.cardinality), dtype=np.int64),
        }

    def predict(self, member: Arrays, x: NDArray[np.float32]) -> FloatArray:
        """Values, or the classes' probabilities."""
        raw = self._raw(imported(self.library), zlib.decompress(member["model"].tobytes()), x, member["categories"])
        if not int(member["n_classes"]):
            return raw
        if raw.ndim == 1:
            raw = np.column_stack([np.zeros(len(raw)), raw])
        return all_classes(softmax(raw), member["classes"], int(member["n_classes"]))

    def importance(self, member: Arrays) -> FloatArray:
        """Sums of the splits' gains."""
        return member["importance"].astype(np.float64)

    def sizes(self, rows: FitRows) -> _Sizes:
        """What is not set, by the numbers of rows and columns."""
        n_rows, n_columns = rows.x.shape
        lr = self.params.lr or lr_for(n_rows) * self.lr_factor
        leaves = self.params.max_leaves or leaves_for(n_rows, rows.is_regression)
        return _Sizes(
            lr=lr,
            leaves=leaves,
            depth=self.params.max_depth or 1 + int(np.log2(leaves)),
            column_share=self.params.column_share or column_share_for(n_columns),
            patience=self.params.patience or max(10, round(3.0 / lr)),
        )

    def loss(self, rows: FitRows) -> str:
        """The loss of numbers: the metric's, if none is set."""
        return rows.metric.loss if self.params.loss == "auto" else self.params.loss

    def _rounds(self, library: ModuleType, rows: FitRows, job: Job) -> int:
        """The mean of the best numbers of rounds on held parts: all of them for few rows, one for many."""
        if len(rows.y) < 4 * self.params.held_parts:
            return min(100, self.params.max_rounds)
        best = []
        for number in range(self.params.held_parts if len(rows.y) <= FEW_ROWS else 1):
            part, held = held_out(rows, self.params.held_parts, job.seed, number)
            best.append(self._trained(library, part, held, job, self.params.max_rounds)[1])
        return max(1, round(float(np.mean(best))))

    def _uses_gpu(self, rows: FitRows, job: Job) -> bool:
        return job.device.type == "cuda" and len(rows.y) >= ROWS_FOR_GPU

    def _trained(
        self, library: ModuleType, rows: FitRows, held: FitRows | None, job: Job, n_rounds: int
    ) -> tuple[Any, int]:
        """The model, and the best round on the held rows."""
        raise NotImplementedError

    def _bytes(self, model: Any) -> bytes:
        raise NotImplementedError

    def _raw(
        self, library: ModuleType, stored: bytes, x: NDArray[np.float32], categories: NDArray[np.int64]
    ) -> FloatArray:
        """(rows,) or (rows, classes present) outputs before the logistic map."""
        raise NotImplementedError

    def _gains(self, model: Any, n_columns: int) -> FloatArray:
        raise NotImplementedError


class LightGBM(_Boosting):
    """Leaf-wise trees. Its wheels know no CUDA: it always runs on the CPU."""

    library = "lightgbm"

    def _trained(
        self, library: ModuleType, rows: FitRows, held: FitRows | None, job: Job, n_rounds: int
    ) -> tuple[Any, int]:
        sizes = self.sizes(rows)
        losses = {"mse": "l2", "mae": "l1", "huber": "huber"}
        n_present = len(np.unique(rows.y))
        params = {
            "objective": losses[self.loss(rows)] if rows.is_regression else "binary",
            "learning_rate": sizes.lr,
            "num_leaves": sizes.leaves,
            "min_data_in_leaf": round(min(self.params.min_samples_leaf, max(1, len(rows.y) // 10))),
            "feature_fraction": sizes.column_share,
            "bagging_fraction": self.params.row_share,
            "bagging_freq": 1,
            "lambda_l2": self.params.l2,
            "max_cat_to_onehot": self.params.one_hot_max,
            "seed": job.seed,
            "num_threads": job.n_threads,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        if rows.n_classes and n_present > 2:
            params |= {"objective": "multiclass", "num_class": n_present}

        def dataset(part: FitRows, reference: Any = None) -> Any:
            return library.Dataset(
                part.x,
                part.y if part.is_regression else np.searchsorted(np.unique(rows.y), part.y),
                weight=part.weight,
                categorical_feature=sorted(part.cardinality),
                reference=reference,
            )

        def look_at_stop(_: Any) -> None:
            job.check_stop()

        train = dataset(rows)
        if held is None:
            return library.train(params, train, n_rounds, callbacks=[look_at_stop]), n_rounds
        stopping = library.early_stopping(sizes.patience, verbose=False)
        model = library.train(
            params, train, n_rounds, valid_sets=[dataset(held, train)], callbacks=[stopping, look_at_stop]
        )
        return model, model.best_iteration or n_rounds

    def _bytes(self, model: Any) -> bytes:
        text: str = model.model_to_string(num_iteration=-1)
        return text.split("\nfeature_importances:")[0].encode()

    def _raw(
        self,
        library: ModuleType,
        stored: bytes,
        x: NDArray[np.float32],
        categories: NDArray[np.int64],  # noqa: ARG002
    ) -> FloatArray:
        model = library.Booster(model_str=stored.decode())
        raw: FloatArray = model.predict(x, raw_score=True, num_threads=0)
        return raw

    def _gains(self, model: Any, n_columns: int) -> FloatArray:
        gains: FloatArray = model.feature_importance("gain")
        assert len(gains) == n_columns
        return gains


class XGBoost(_Boosting):
    """Level-wise trees on histograms; native categories; CUDA for many rows."""

    library = "xgboost"

    def _trained(
        self, library: ModuleType, rows: FitRows, held: FitRows | None, job: Job, n_rounds: int
    ) -> tuple[Any, int]:
        sizes = self.sizes(rows)
        losses = {"mse": "reg:squarederror", "mae": "reg:absoluteerror", "huber": "reg:pseudohubererror"}
        n_present = len(np.unique(rows.y))
        params = {
            "objective": losses[self.loss(rows)] if rows.is_regression else "binary:logistic",
            "eta": sizes.lr,
            "max_depth": sizes.depth,
            "min_child_weight": self.params.min_samples_leaf * (1.0 if rows.is_regression else 0.2),
            "subsample": self.params.row_share,
            "colsample_bytree": sizes.column_share,
            "lambda": self.params.l2,
            "max_cat_to_onehot": self.params.one_hot_max,
            "tree_method": "hist",
            "max_bin": 256,
            "device": "cuda" if self._uses_gpu(rows, job) else "cpu",
            "seed": job.seed,
            "nthread": job.n_threads,
            "verbosity": 0,
        }
        if rows.n_classes and n_present > 2:
            params |= {"objective": "multi:softprob", "num_class": n_present}

        class LookAtStop(library.callback.TrainingCallback):  # type: ignore[misc, name-defined]
            def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002
                return job.stop.is_set()

        def matrix(part: FitRows) -> Any:
            label = part.y if part.is_regression else np.searchsorted(np.unique(rows.y), part.y)
            return _dmatrix(library, part.x, sorted(part.cardinality), label, part.weight, job.n_threads)

        if held is None:
            return library.train(params, matrix(rows), n_rounds, callbacks=[LookAtStop()]), n_rounds
        model = library.train(
            params,
            matrix(rows),
            n_rounds,
            evals=[(matrix(held), "held")],
            early_stopping_rounds=sizes.patience,
            verbose_eval=False,
            callbacks=[LookAtStop()],
        )
        job.check_stop()
        return model, int(model.best_iteration) + 1

    def _bytes(self, model: Any) -> bytes:
        return bytes(model.save_raw("ubj"))

    def _raw(
        self, library: ModuleType, stored: bytes, x: NDArray[np.float32], categories: NDArray[np.int64]
    ) -> FloatArray:
        model = library.Booster({"device": "cpu"}, model_file=bytearray(stored))
        raw = model.predict(_dmatrix(library, x, categories.tolist()), output_margin=True)
        return np.asarray(raw, dtype=np.float64)

    def _gains(self, model: Any, n_columns: int) -> FloatArray:
        gains = np.zeros(n_columns)
        for name, gain in model.get_score(importance_type="total_gain").items():
            gains[int(name.removeprefix("f"))] = gain
        return gains


def _dmatrix(
    library: ModuleType,
    x: NDArray[np.float32],
    categories: list[int],
    label: NDArray[Any] | None = None,
    weight: FloatArray | None = None,
    n_threads: int | None = None,
) -> Any:
    types = ["c" if column in categories else "q" for column in range(x.shape[1])]
    names = [f"f{column}" for column in range(x.shape[1])]
    return library.DMatrix(
        x,
        label=label,
        weight=weight,
        feature_types=types,
        feature_names=names,
        enable_categorical=True,
        nthread=n_threads,
    )


class CatBoost(_Boosting):
    """Symmetric trees with ordered target statistics of categories; CUDA for many rows."""

    library = "catboost"
    lr_factor = 2.0  # its rounds are dear

    def _trained(
        self, library: ModuleType, rows: FitRows, held: FitRows | None, job: Job, n_rounds: int
    ) -> tuple[Any, int]:
        sizes = self.sizes(rows)
        losses = {"mse": "RMSE", "mae": "MAE", "huber": "Huber:delta=1.0"}
        n_present = len(np.unique(rows.y))
        of_classes = "MultiClass" if n_present > 2 else "Logloss"
        on_gpu = self._uses_gpu(rows, job)
        params = {
            "loss_function": losses[self.loss(rows)] if rows.is_regression else of_classes,
            "learning_rate": sizes.lr,
            "depth": sizes.depth,
            "l2_leaf_reg": self.params.l2,
            "bootstrap_type": "Bernoulli",
            "subsample": self.params.row_share,
            "one_hot_max_size": self.params.one_hot_max,
            "iterations": n_rounds,
            "random_seed": job.seed,
            "thread_count": job.n_threads,
            "task_type": "GPU" if on_gpu else "CPU",
            "allow_writing_files": False,
            "logging_level": "Silent",
        }
        if not on_gpu:
            params["rsm"] = sizes.column_share
            params["boosting_type"] = "Plain"

        class LookAtStop:
            def after_iteration(self, info: Any) -> bool:  # noqa: ARG002
                return not job.stop.is_set()

        def pool(part: FitRows) -> Any:
            label = part.y if part.is_regression else np.searchsorted(np.unique(rows.y), part.y)
            return library.Pool(
                _mixed(part.x, sorted(part.cardinality)), label, sorted(part.cardinality), weight=part.weight
            )

        model = library.CatBoost(params)
        callbacks = {} if on_gpu else {"callbacks": [LookAtStop()]}
        if held is None:
            model.fit(pool(rows), **callbacks)
            return model, n_rounds
        model.fit(
            pool(rows),
            eval_set=pool(held),
            early_stopping_rounds=sizes.patience,
            use_best_model=True,
            **callbacks,
        )
        return model, int(model.tree_count_)

    def _bytes(self, model: Any) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.cbm"
            model.save_model(str(file))
            return file.read_bytes()

    def _raw(
        self, library: ModuleType, stored: bytes, x: NDArray[np.float32], categories: NDArray[np.int64]
    ) -> FloatArray:
        model = library.CatBoost()
        model.load_model(blob=stored)
        raw = model.predict(_mixed(x, categories.tolist()), prediction_type="RawFormulaVal", thread_count=1)
        return np.asarray(raw, dtype=np.float64)

    def _gains(self, model: Any, n_columns: int) -> FloatArray:
        gains: FloatArray = model.get_feature_importance(type="PredictionValuesChange")
        assert len(gains) == n_columns
        return gains


def _mixed(x: NDArray[np.float32], categories: list[int]) -> pd.DataFrame:
    """Numbers as they are, codes as integers."""
    frame = pd.DataFrame(x)
    return frame.astype(dict.fromkeys(categories, np.int32))
