"""The tables of a problem as tensors: each split's encoder and scaler fitted on its rows, all train rows encoded.

Knows frames, splits and tensors; knows nothing of networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from pipeline.errors import DataError
from pipeline.features import Encoded, TableEncoder, cross_fitted, fit_encoder
from pipeline.folds import Split
from pipeline.models.base import FloatArray, Problem
from pipeline.models.fitted_neural import on_columns
from pipeline.nets.devices import free_memory
from pipeline.nets.training import PackData
from pipeline.seeds import derive_seed
from pipeline.targets import TargetScaler, class_indicators, transform_target

MOST_OF_MEMORY = 0.6  # the rest is for networks, activations and predictions


@dataclass(frozen=True)
class PreparedSplits:
    """What networks of one problem train on: view f of `data` is the table as split f may see it."""

    columns: list[str]
    encoders: list[TableEncoder]
    scalers: list[TargetScaler]
    data: PackData
    n_outputs: int


def prepare_splits(
    problem: Problem, splits: Sequence[Split], *, scale_target: bool, seed: int, device: torch.device
) -> PreparedSplits:
    """Encode the problem once for every split. Raises DataError when the tables would not fit the memory."""
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
    columns = _union_of_names([encoder.transform(problem.train.iloc[:0]) for encoder in encoders])
    _check_memory(len(splits), len(problem.train), len(columns), device)
    x = torch.empty(len(splits), len(problem.train), len(columns))
    for number, (encoder, split) in enumerate(zip(encoders, splits, strict=True)):
        table = encoder.transform(problem.train)
        part_seed = derive_seed(seed, "encoder", number)
        cross_fitted(encoder, table, problem.train, split.train_rows, supervised, part_seed)
        x[number] = on_columns(table, columns)
    if is_regression:
        targets = torch.stack([_tensor(scaler.scaled(z)) for scaler in scalers])
    else:
        targets = torch.from_numpy(codes).expand(len(splits), -1).contiguous()
    data = PackData(
        x=x.to(device),
        y=targets.to(device),
        weight=None if problem.sample_weight is None else _tensor(problem.sample_weight).to(device),
    )
    return PreparedSplits(columns, encoders, scalers, data, y.shape[1] if is_regression else problem.n_classes)


def _check_memory(n_splits: int, n_rows: int, n_columns: int, device: torch.device) -> None:
    needed, free = 4 * n_splits * n_rows * n_columns, free_memory(device)
    if free is not None and needed > MOST_OF_MEMORY * free:
        raise DataError(
            f"the encoded tables need {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory are free",
            where=f"{n_splits} folds x {n_rows} rows x {n_columns} columns",
            hint="Use fewer folds, --set features.max_levels=20, or drop columns of many values in the spec.",
        )


def _union_of_names(encoded: Sequence[Encoded]) -> list[str]:
    """All columns of all splits: a level that one fold has not seen is a column of zeros there."""
    names: dict[str, None] = {}
    for one in encoded:
        names |= dict.fromkeys(one.names)
    return list(names)


def _tensor(values: FloatArray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))
