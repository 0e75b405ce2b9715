"""The reference: what a Kaggler writes by hand. One network at a time, one batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pipeline.competition.folds import Split
from pipeline.metrics import METRICS

LOG_RMSE = METRICS["log_rmse"]


def train_one(
    x: np.ndarray,
    price: np.ndarray,
    split: Split,
    params: dict[str, Any],
    *,
    has_loader: bool = True,
    device: torch.device | str = "cpu",
) -> tuple[float, float, np.ndarray]:
    """Train an MLP on the raw price, scored as a pack is: last train and valid log-RMSE, valid predictions.

    `has_loader` False draws batches by index from the tensor: the first thing one does to make it faster.
    """
    train_x, valid_x = (torch.from_numpy(x[rows]).to(device) for rows in (split.train_rows, split.valid_rows))
    train_y = torch.from_numpy(price[split.train_rows].astype(np.float32)).to(device)[:, None]
    parts: list[nn.Module] = []
    n_inputs = x.shape[1]
    for n_hidden in params.get("hidden_sizes", []):
        parts += [nn.Linear(n_inputs, n_hidden), nn.ReLU(), nn.Dropout(params["dropout"])]
        n_inputs = n_hidden
    network = nn.Sequential(*parts, nn.Linear(n_inputs, 1)).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=params["lr"], weight_decay=params["weight_decay"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=params["batch_size"], shuffle=True)
    for epoch in range(1, params["epochs"] + 1):
        network.train()
        for batch_x, batch_y in loader if has_loader else _by_index(train_x, train_y, params["batch_size"]):
            optimizer.zero_grad()
            nn.functional.mse_loss(network(batch_x), batch_y).backward()
            optimizer.step()
        if epoch % params.get("evaluate_every", 1) and epoch < params["epochs"]:
            continue
        network.eval()
        with torch.no_grad():
            prediction = network(valid_x).cpu().numpy()[:, 0]
            train_score = LOG_RMSE(price[split.train_rows], network(train_x).cpu().numpy()[:, 0])
            valid_score = LOG_RMSE(price[split.valid_rows], prediction)
    return train_score, valid_score, prediction


def _by_index(x: torch.Tensor, y: torch.Tensor, batch_size: int) -> Iterator[Sequence[torch.Tensor]]:
    for rows in torch.randperm(len(x), device=x.device).split(batch_size):
        yield x[rows], y[rows]
