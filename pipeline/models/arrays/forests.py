"""Trees as arrays: how scikit-learn's forests and histogram boosting are stored, and how rows are sent through them.

Knows arrays; must not know how trees are grown, but for the layout scikit-learn keeps them in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.models.arrays.learners import Arrays

BLOCK = 1 << 19  # (row, tree) pairs that go down together
NO_SET = -1
CODES = 256  # of categories that a node may send to the left


@dataclass(frozen=True)
class Forest:
    """Nodes of many trees, one after the other, each before its children; a leaf is its own child.

    A row goes left when its value is not above the threshold, when it is missing and `missing_left`, or, at a node
    of a category, when its code is in the node's set.
    """

    roots: NDArray[np.int32]  # (trees,)
    column: NDArray[np.int16]  # (nodes,)
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    missing_left: NDArray[np.bool_]
    code_set: NDArray[np.int32]  # row of `sets`, or NO_SET
    sets: NDArray[np.uint8]  # (sets, CODES / 8) packed bits: the codes that go left
    value: NDArray[np.float32]  # (nodes, outputs), meant for the leaves

    def arrays(self) -> Arrays:
        """What is stored; children are stored as distances, which compress well."""
        own = np.arange(len(self.left), dtype=np.int32)
        return {**self.__dict__, "left": self.left - own, "right": self.right - own}

    @classmethod
    def of_arrays(cls, arrays: Arrays) -> Forest:
        """The opposite of `arrays`."""
        kept = {name: arrays[name] for name in cls.__dataclass_fields__}
        own = np.arange(len(kept["left"]), dtype=np.int32)
        return cls(**{**kept, "left": kept["left"] + own, "right": kept["right"] + own})

    def leaves(self, x: NDArray[np.float32]) -> torch.Tensor:
        """(rows, trees) the node each row ends in."""
        column, left, right = (torch.from_numpy(a.astype(np.int64)) for a in (self.column, self.left, self.right))
        threshold, missing_left = torch.from_numpy(self.threshold), torch.from_numpy(self.missing_left)
        code_set = torch.from_numpy(self.code_set.astype(np.int64))
        bits = torch.from_numpy(np.unpackbits(self.sets, axis=-1, bitorder="little").astype(bool))
        values = torch.from_numpy(np.ascontiguousarray(x))
        row = torch.arange(len(x))[:, None]
        node = torch.from_numpy(self.roots.astype(np.int64)).expand(len(x), -1).clone()
        while True:
            value = values[row, column[node]]
            goes_left = torch.where(torch.isnan(value), missing_left[node], value <= threshold[node])
            if len(bits):
                its_set = code_set[node]
                code = torch.nan_to_num(value, nan=-1.0).long()
                is_code = (code >= 0) & (code < CODES)
                in_set = bits[its_set.clamp_min(0), code.clamp(0, CODES - 1)] & is_code
                goes_left = torch.where((its_set >= 0) & ~torch.isnan(value), in_set, goes_left)
            following = torch.where(goes_left, left[node], right[node])
            if torch.equal(following, node):
                return node
            node = following

    def sums(self, x: NDArray[np.float32]) -> FloatArray:
        """(rows, outputs) sums of the trees' leaves."""
        total = np.zeros((len(x), self.value.shape[1]))
        step = max(1, BLOCK // max(1, len(self.roots)))
        value = torch.from_numpy(self.value.astype(np.float64))
        for start in range(0, len(x), step):
            nodes = self.leaves(x[start : start + step])
            total[start : start + step] = value[nodes].sum(dim=1).numpy()
        return total


def joined(trees: Sequence[dict[str, NDArray[Any]]], sets: NDArray[np.uint8]) -> Forest:
    """One forest of trees given by their own arrays, with children counted from each tree's first node."""
    sizes = np.array([len(tree["column"]) for tree in trees])
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)

    def all_of(name: str) -> NDArray[Any]:
        return np.concatenate([tree[name] for tree in trees])

    offset = np.repeat(roots, sizes)
    return Forest(
        roots=roots,
        column=all_of("column").astype(np.int16),
        threshold=rounded_down(all_of("threshold")),
        left=(all_of("left") + offset).astype(np.int32),
        right=(all_of("right") + offset).astype(np.int32),
        missing_left=all_of("missing_left").astype(bool),
        code_set=all_of("code_set").astype(np.int32),
        sets=sets,
        value=all_of("value").astype(np.float32),
    )


def rounded_down(threshold: FloatArray) -> NDArray[np.float32]:
    """The largest float32 not above: it parts float32 values as the float64 threshold does."""
    with np.errstate(over="ignore"):
        near = threshold.astype(np.float32)
    above = near.astype(np.float64) > threshold
    near[above] = np.nextafter(near[above], np.float32(-np.inf))
    return near


def forest_of_sklearn(trees: Sequence[Any], *, is_classifier: bool) -> Forest:
    """The `tree_` of each fitted decision tree; leaves hold the mean, or the classes' shares."""
    parts = []
    for tree in trees:
        own = np.arange(tree.node_count)
        is_leaf = tree.children_left < 0
        value = tree.value[:, 0, :]
        missing_left = getattr(tree, "missing_go_to_left", np.zeros(tree.node_count))
        parts.append(
            {
                "column": np.where(is_leaf, 0, tree.feature),
                "threshold": np.where(is_leaf, 0.0, tree.threshold),
                "left": np.where(is_leaf, own, tree.children_left),
                "right": np.where(is_leaf, own, tree.children_right),
                "missing_left": missing_left,
                "code_set": np.full(tree.node_count, NO_SET),
                "value": np.where(
                    is_leaf[:, None], value / value.sum(axis=1, keepdims=True) if is_classifier else value, 0.0
                ),
            }
        )
    return joined(parts, np.zeros((0, CODES // 8), dtype=np.uint8))


def forest_of_histogram(model: Any, columns: NDArray[np.intp], outputs: int) -> Forest:
    """The trees of a fitted histogram boosting.

    `columns` are the caller's columns in the order in which the model keeps them (categories first). Codes must be
    0, 1, ... without gaps in the fit rows, as the model counts them anew, and missing where the fit rows lack them.
    """
    parts, sets, n_sets = [], [], 0
    for by_output in model._predictors:
        for output, predictor in enumerate(by_output):
            nodes = predictor.nodes
            own = np.arange(len(nodes))
            is_leaf = nodes["is_leaf"].astype(bool)
            is_category = nodes["is_categorical"].astype(bool) & ~is_leaf
            value = np.zeros((len(nodes), outputs))
            value[:, output] = np.where(is_leaf, nodes["value"], 0.0)
            code_set = np.where(is_category, nodes["bitset_idx"] + n_sets, NO_SET)
            left_bits = np.ascontiguousarray(predictor.raw_left_cat_bitsets).view(np.uint8).reshape(-1, CODES // 8)
            sets.append(left_bits)
            n_sets += len(left_bits)
            parts.append(
                {
                    "column": np.where(is_leaf, 0, columns[nodes["feature_idx"]]),
                    "threshold": np.where(is_leaf | is_category, 0.0, nodes["num_threshold"]),
                    "left": np.where(is_leaf, own, nodes["left"]),
                    "right": np.where(is_leaf, own, nodes["right"]),
                    "missing_left": nodes["missing_go_to_left"],
                    "code_set": code_set,
                    "value": value,
                }
            )
    return joined(parts, np.concatenate(sets) if sets else np.zeros((0, CODES // 8), dtype=np.uint8))
