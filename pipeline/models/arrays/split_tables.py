"""The encoded rows of each split, made when its first member is fitted and dropped after its last.

Knows encoders and splits; must not know what is fitted.
"""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.base import mapped
from pipeline.models.arrays.learners import FitRows
from pipeline.models.split_encoders import SplitEncoders


class SplitTables:
    """The encoded train table of each split, shared by its members; its valid rows are kept for prediction."""

    def __init__(self, encoders: SplitEncoders, n_members_each: int) -> None:
        self.encoders, self.n_members_each = encoders, n_members_each
        self._locks = [threading.Lock() for _ in encoders.splits]
        self._n_done = [0] * len(encoders.splits)
        self._fit_rows: dict[int, FitRows] = {}  # of splits in progress; `y` holds all outputs
        self._valid_rows: dict[int, NDArray[np.float32]] = {}

    def fit_rows(self, split: int, output: int) -> FitRows:
        """The fit rows of a split for one output."""
        with self._locks[split]:
            if split not in self._fit_rows:
                self._encode(split)
            rows = self._fit_rows[split]
        return replace(rows, y=rows.y[:, output])

    def done(self, split: int) -> None:
        """Count a fitted member of the split; its fit rows are dropped after the last one."""
        with self._locks[split]:
            self._n_done[split] += 1
            if self._n_done[split] == self.n_members_each:
                self._fit_rows.pop(split, None)

    def valid_rows(self, split: int) -> NDArray[np.float32]:
        """The valid rows of a split."""
        if split in self._valid_rows:
            return self._valid_rows.pop(split)
        rows = self.encoders.splits[split].valid_rows  # of a large table, or all its members came from checkpoints
        return self.encoders.encoders[split].values_of(self.encoders.problem.train, rows)

    def _encode(self, number: int) -> None:
        fit = self.encoders
        split, problem = fit.splits[number], fit.problem
        weight, rows = problem.weights_of(split), split.train_rows
        rows = rows if weight is None else rows[weight[rows] > 0]
        encoder, is_large = fit.encoders[number], mapped.is_large(*problem.train.shape)
        if is_large and not encoder.corrects_fit_rows:
            encoded = encoder.transform(problem.train.head(0))  # the names of its columns
            x = encoder.values_of(problem.train, rows)
        else:
            encoded = encoder.transform(problem.train)
            fit.correct_fit_rows(number, encoded.dense, encoded.dense_names)
            self._valid_rows[number] = encoded.rows(split.valid_rows)
            x = encoded.rows(rows)
        self._fit_rows[number] = FitRows(
            x=x,
            y=fit.scalers[number].scaled(fit.target[rows]),
            weight=None if weight is None else weight[rows] / weight[rows].mean(),
            cardinality={encoded.names.index(name): n_codes for name, n_codes in encoded.cardinality.items()},
            n_classes=problem.n_classes,
            metric=problem.metric,
        )
