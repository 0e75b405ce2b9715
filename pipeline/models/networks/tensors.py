"""A problem's train table as tensors, encoded and scaled as each split's train rows say.

Knows frames, splits and tensors; must not know networks.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError
from pipeline.base.progress import say
from pipeline.competition.folds import Split
from pipeline.competition.problem import Problem
from pipeline.encoders.table import TableEncoder
from pipeline.encoders.target import TargetScaler
from pipeline.models.networks.columns import Columns, compact
from pipeline.models.split_encoders import SplitEncoders
from pipeline.nets.devices import free_memory
from pipeline.nets.inputs import Inputs
from pipeline.nets.plan import PackData

MOST_OF_MEMORY = 0.4  # for tables; the rest is for networks, activations and predictions
ROWS_AT_ONCE = 1 << 16  # encoded at once


@dataclass(frozen=True)
class SplitTensors:
    """The training data of networks: view `view_of_split[f]` of `data` is the table as split f may see it."""

    columns: Columns
    encoders: list[TableEncoder]
    scalers: list[TargetScaler]
    data: PackData
    view_of_split: list[int]
    n_outputs: int

    def rows(self, split: int, rows: NDArray[np.int64]) -> Inputs:
        """Rows of the table as the split may see it."""
        return self.data.x[self.view_of_split[split], rows]

    @cached_property
    def dense_data(self) -> PackData:
        """The data with one-hot columns expanded, which a GPU multiplies faster; unchanged if that is too large."""
        x, y = self.data.x, self.data.y
        if x.codes is None:
            return self.data
        free, needed = free_memory(y.device), 4 * math.prod(x.dense.shape[:2]) * x.n_columns
        if x.device != y.device or (free is not None and needed > MOST_OF_MEMORY * free):
            return self.data
        return PackData(Inputs(x.as_dense()), y, self.data.weight)


def split_tensors(
    problem: Problem,
    splits: Sequence[Split],
    *,
    scale_target: bool,
    seed: int,
    device: torch.device,
    arrange: Callable[[Columns], Columns] | None = None,
) -> SplitTensors:
    """Encode the problem once per split; `arrange` may reorder the columns and add some that are zero.

    Tables that do not fit into memory are mapped from an unnamed file in the system's temporary folder; tables too
    large for a GPU stay in main memory. Raises DataError if the disk is too small.
    """
    fit = SplitEncoders.fit(problem, splits, view="onehot", scales_target=scale_target, seed=seed)
    encoders, scalers = fit.encoders, fit.scalers
    weights = [problem.weights_of(split) for split in splits]
    first_with, view_of_split = _views(encoders, scalers, weights)
    of_views = [encoders[number] for number in first_with]
    columns = Columns.union([encoder.transform(problem.train.iloc[:0]) for encoder in of_views])
    if arrange is not None:
        columns = arrange(columns)
    x = _byte_views(of_views, columns, problem.train)
    if x is None:
        x = _room(columns, len(of_views), len(problem.train), torch.float32)
        for view, (number, encoder) in enumerate(zip(first_with, of_views, strict=True)):
            for start in range(0, len(problem.train), ROWS_AT_ONCE):
                part = slice(start, start + ROWS_AT_ONCE)
                columns.fill(x[view, part], encoder.transform(problem.train.iloc[part]))
            fit.correct_fit_rows(number, x.dense[view].numpy(), columns.dense)
    if problem.task == "regression" or problem.target.ndim == 2:
        targets = torch.stack([_tensor(scalers[number].scaled(fit.target)) for number in first_with])
    else:
        targets = torch.from_numpy(problem.target.astype(np.int64)).expand(len(first_with), -1).contiguous()
    by_view = [_tensor(weight) for weight in (weights[number] for number in first_with) if weight is not None]
    data = PackData(
        x=_on_device(compact(x), device),
        y=targets.to(device),
        weight=torch.stack(by_view).to(device) if by_view else None,
    )
    return SplitTensors(columns, encoders, scalers, data, view_of_split, fit.supervised.shape[1])


def _views(
    encoders: Sequence[TableEncoder], scalers: Sequence[TargetScaler], weights: Sequence[FloatArray | None]
) -> tuple[list[int], list[int]]:
    """The first split of each view, and the view of each split; splits that learned the same share a view."""
    first_with: list[int] = []
    view_of_split: list[int] = []
    for number, (encoder, scaler, weight) in enumerate(zip(encoders, scalers, weights, strict=True)):
        is_own = bool(encoder.target_means or encoder.counts)  # its fit rows are encoded differently from other rows
        same = [
            view
            for view, first in enumerate(first_with)
            if not is_own
            and encoders[first] == encoder
            and scalers[first] == scaler
            and (weight is None or np.array_equal(weights[first], weight))  # type: ignore[arg-type]
        ]
        view_of_split.append(same[0] if same else len(first_with))
        if not same:
            first_with.append(number)
    return first_with, view_of_split


def _byte_views(encoders: Sequence[TableEncoder], columns: Columns, frame: pd.DataFrame) -> Inputs | None:
    """The views as uint8, if all encoders only multiply integers by the same unit; else None."""
    if any(encoder.scaling != "pixels" for encoder in encoders):
        return None
    x, units = _room(columns, len(encoders), len(frame), torch.uint8), set[float]()
    for view, encoder in enumerate(encoders):
        names = [number.name for number in encoder.numbers]
        for start in range(0, len(frame), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            found = encoder.transform_to_bytes(frame.iloc[part])
            if found is None or len(units | {found[1]}) > 1:
                return None
            columns.fill_dense(x[view, part], found[0], names)
            units.add(found[1])
    return replace(x, unit=units.pop()) if units else None


def _room(columns: Columns, n_views: int, n_rows: int, dtype: torch.dtype) -> Inputs:
    """Uninitialised inputs for all views, in memory or, if that is too small, in a memory-mapped file."""
    needed, free = n_views * n_rows * columns.row_bytes(dtype), free_memory()
    if free is None or needed <= MOST_OF_MEMORY * free:
        return columns.empty(n_views, n_rows, dtype=dtype)
    folder = tempfile.gettempdir()
    if needed > (free_disk := shutil.disk_usage(folder).free):
        raise DataError(
            f"the encoded tables need {needed / 1e9:.1f} GB, but only {free / 1e9:.1f} GB of memory and "
            f"{free_disk / 1e9:.1f} GB in {folder} are free",
            where=f"{n_views} folds x {n_rows} rows x {len(columns.dense) + len(columns.slots)} columns",
            hint="Use fewer folds, or drop columns in the spec.",
        )
    say(f"the encoded tables ({needed / 1e9:.1f} GB) do not fit into memory; using a temporary file in {folder}")

    def mapped(width: int, kind: torch.dtype) -> torch.Tensor:
        if width == 0:
            return torch.empty(n_views, n_rows, 0, dtype=kind)
        with tempfile.TemporaryFile() as file:
            array: NDArray[Any] = np.memmap(
                file, torch.empty(0, dtype=kind).numpy().dtype, "w+", shape=(n_views, n_rows, width)
            )
        return torch.from_numpy(array)

    n_slots = len(columns.slots)
    codes, known = mapped(n_slots, columns.code_dtype), mapped(n_slots, torch.bool)
    return Inputs(mapped(len(columns.dense), dtype), codes, known, columns.n_onehot)


def _on_device(x: Inputs, device: torch.device) -> Inputs:
    free = free_memory(device)
    if device.type == "cpu" or (free is not None and x.n_bytes > MOST_OF_MEMORY * free):
        return x  # batches are copied to the GPU one by one
    return x.to(device)


def _tensor(values: FloatArray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))
