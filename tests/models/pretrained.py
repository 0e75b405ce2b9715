"""Small weights of random numbers in the formats of TabICL and TabPFN, so that tests need no download."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

MOST_CLASSES, N_BUCKETS = 10, 20
NAMES = {
    ("tabicl", True): "tabicl-regressor-v2-20260212.ckpt",
    ("tabicl", False): "tabicl-classifier-v2-20260212.ckpt",
    ("tabpfn", True): "tabpfn-v2.5-regressor-v2.5_default.ckpt",
    ("tabpfn", False): "tabpfn-v2.5-classifier-v2.5_default.ckpt",
}


def write_weights(model: str, folder: Path, *, is_regression: bool) -> Path:
    """Write weights under their published name; return the file."""
    path = folder / NAMES[model, is_regression]
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            (_write_tabicl if model == "tabicl" else _write_tabpfn)(path, is_regression)
    return path


def _write_tabicl(path: Path, is_regression: bool) -> None:
    from tabicl._model.tabicl import TabICL

    config = {
        "max_classes": 0 if is_regression else MOST_CLASSES,
        "num_quantiles": 19,
        "embed_dim": 16,
        "col_num_blocks": 1,
        "col_nhead": 2,
        "col_num_inds": 8,
        "row_num_blocks": 1,
        "row_nhead": 2,
        "row_num_cls": 2,
        "icl_num_blocks": 1,
        "icl_nhead": 2,
        "zero_init": False,
    }
    torch.save({"config": config, "state_dict": TabICL(**config).state_dict()}, path)


def _write_tabpfn(path: Path, is_regression: bool) -> None:
    from tabpfn.architectures import ARCHITECTURES
    from tabpfn.architectures.shared.bar_distribution import FullSupportBarDistribution
    from tabpfn.constants import ModelVersion
    from tabpfn.inference_config import InferenceConfig

    architecture = ARCHITECTURES["tabpfn_v2_6"]
    sizes = {"emsize": 24, "nlayers": 1, "nhead": 1, "num_thinking_rows": 4, "encoder_mlp_hidden_dim": 16}
    heads = {"max_num_classes": 0 if is_regression else MOST_CLASSES, "num_buckets": N_BUCKETS if is_regression else 0}
    config, _ = architecture.parse_config({**sizes, **heads})
    network = architecture.get_architecture(config)
    for numbers in network.parameters():
        if not numbers.any():
            torch.nn.init.normal_(numbers, std=0.2)
    state = network.state_dict()
    if is_regression:
        bars = FullSupportBarDistribution(torch.linspace(-3.0, 3.0, N_BUCKETS + 1))
        state = {**state, **{f"criterion.{name}": value for name, value in bars.state_dict().items()}}
    inference = InferenceConfig.get_default("regression" if is_regression else "multiclass", ModelVersion.V2_5)
    checkpoint = {"architecture_name": "tabpfn_v2_6", "config": asdict(config), "inference_config": asdict(inference)}
    torch.save({**checkpoint, "state_dict": state}, path)
