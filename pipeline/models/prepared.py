"""The tables of a problem as tensors: each split's encoder and scaler fitted on its rows, all train rows encoded.

Knows frames, splits and tensors; knows nothing of networks.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.features import Encoded, TableEncoder, cross_fitted, fit_encoder
from pipeline.folds import Split
from pipeline.models.base import FloatArray, Problem
from pipeline.models.columns import Columns, compact
from pipeline.nets.devices import free_disk, free_memory
from pipeline.nets.inputs import Inputs
from pipeline.nets.plan import PackData
from pipeline.progress import say
from pipeline.seeds import derive_seed
from pipeline.targets import TargetScaler, class_indicators, transform_target

MOST_OF_MEMORY = 0.4  # for the tables; the rest is for networks, activations and predictions
ROWS_AT_ONCE = 1 << 16  # encoded before they are written where they stay


@dataclass(frozen=True)
class PreparedSplits:
    """What networks of one problem train on: view f of `data` is the table as split f may see it."""

    columns: Columns
    encoders: list[TableEncoder]
    scalers: list[TargetScaler]
    data: PackData
    n_outputs: int

    @cached_property
    def dense_data(self) -> PackData:
        """The tables with one-hot columns written out, as a GPU multiplies them faster; as they are if too large."""
        x, y = self.data.x, self.data.y
        free, needed = free_memory(y.device), 4 * math.prod(x.dense.shape[:2]) * x.n_columns
        if x.device != y.device or (free is not None and needed > MOST_OF_MEMORY * free):
            return self.data
        return PackData(Inputs(x.as_dense()), y, self.data.weight)


def prepare_splits(
    problem: Problem,
    splits: Sequence[Split],
    *,
    scale_target: bool,
    seed: int,
    device: torch.device,
    scratch: Path | None = None,
    arrange: Callable[[Columns], Columns] | None = None,
) -> PreparedSplits:
    """Encode the problem once for every split; `arrange` may order the columns, and add some that are zero.

    Tables that would not fit the memory lie in a file without a name in `scratch` (the system's temporary folder
    unless said otherwise), from which batches are read; tables too large for a GPU stay in memory. Raises DataError
    when the disk is too small, too.
    """
    y = problem.target if problem.target.ndim == 2 else problem.target[:, None]
    is_regression = problem.task == "regression"
    z = transform_target(problem.target_transform, y) if is_regression else y
    codes = problem.target.astype(np.int64)
    supervised = z if is_regression else class_indicators(codes, problem.n_classes)
    encoders, scalers = [], []
    for split in splits:
        fit_frame = problem.train.iloc[split.train_rows]
        seen = fit_frame if problem.scope == "train" else pd.concat([problem.train, problem.test], ignore_index=True)
        encoder = fit_encoder(
            "onehot",
            problem.features,
            problem.roles,
            problem.ordered,
            seen,
            target_frame=fit_frame,
            target=supervised[split.train_rows],
            is_wide=problem.scope == "train+test",
        )
        encoders.append(encoder)
        scalers.append(TargetScaler.fit(z[split.train_rows], is_scaled=scale_target and is_regression))
    columns = Columns.union([encoder.transform(problem.train.iloc[:0]) for encoder in encoders])
    if arrange is not None:
        columns = arrange(columns)
    x = _room(columns, len(splits), len(problem.train), scratch)
    for number, (encoder, split) in enumerate(zip(encoders, splits, strict=True)):
        for start in range(0, len(problem.train), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            columns.fill(x[number, part], encoder.transform(problem.train.iloc[part]))
        dense = Encoded(x.dense[number].numpy(), columns.dense, {})
        part_seed = derive_seed(seed, "encoder", number)
        cross_fitted(encoder, dense, problem.train, split.train_rows, supervised, part_seed)
    if is_regression:
        targets = torch.stack([_tensor(scaler.scaled(z)) for scaler in scalers])
    else:
        targets = torch.from_numpy(codes).expand(len(splits), -1).contiguous()
    data = PackData(
        x=_on_device(compact(x), device),
        y=targets.to(device),
        weight=None if problem.sample_weight is None else _tensor(problem.sample_weight).to(device),
    )
    return PreparedSplits(columns, encoders, scalers, data, y.shape[1] if is_regression else problem.n_classes)


def _room(columns: Columns, n_splits: int, n_rows: int, scratch: Path | None) -> Inputs:
    """Room for all views, in memory or, where that is too small, in a memory-mapped file."""
    needed, free = n_splits * n_rows * columns.row_bytes, free_memory()
    if free is None or needed <= MOST_OF_MEMORY * free:
        return columns.empty(n_splits, n_rows)
    folder = Path(tempfile.gettempdir()) if scratch is None else scratch
    folder.mkdir(parents=True, exist_ok=True)
    if needed > free_disk(folder):
        raise DataError(
            f"the encoded tables need {needed / 1e9:.1f} GB; {free / 1e9:.1f} GB of memory and "
            f"{free_disk(folder) / 1e9:.1f} GB in {folder} are free",
            where=f"{n_splits} folds x {n_rows} rows x {len(columns.dense) + len(columns.slots)} columns",
            hint="Use fewer folds, or drop columns in the spec.",
        )
    say(f"the encoded tables ({needed / 1e9:.1f} GB) lie in a temporary file in {folder}, as the memory is too small")

    def mapped(width: int, dtype: torch.dtype) -> torch.Tensor:
        room = torch.empty(n_splits, 0 if width else n_rows, width, dtype=dtype)
        if width == 0:
            return room
        with tempfile.TemporaryFile(dir=folder) as file:
            array: NDArray[Any] = np.memmap(file, room.numpy().dtype, "w+", shape=(n_splits, n_rows, width))
        return torch.from_numpy(array)

    n_slots = len(columns.slots)
    codes, known = mapped(n_slots, columns.code_dtype), mapped(n_slots, torch.bool)
    return Inputs(mapped(len(columns.dense), torch.float32), codes, known, columns.n_onehot)


def _on_device(x: Inputs, device: torch.device) -> Inputs:
    free = free_memory(device)
    if device.type == "cpu" or (free is not None and x.n_bytes > MOST_OF_MEMORY * free):
        return x  # batches of a table that does not fit a GPU travel one by one
    return x.to(device)


def _tensor(values: FloatArray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))
