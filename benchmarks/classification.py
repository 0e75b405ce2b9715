"""The published figures of small classifiers, measured anew beside what is wanted of them.

    python benchmarks/classification.py                          # all rows: some ten minutes on two cores
    python benchmarks/classification.py --only quadrants         # rows whose name starts so
    python benchmarks/classification.py --epochs-share 0.1       # a quick look, not the figures

Fashion-MNIST is read from `$PIPELINE_DATA_DIR/fashion-mnist`; without it its rows are left out, and said so.
Seeds differ from the published runs', so figures are to land within the tolerance. `by hand` is
`notebooks/scratch.py`; `concise` is the pipeline's own engine, `pipeline.nets.training`, with one member.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from pipeline.competition.idx_images import idx_tables
from pipeline.competition.samples import make_sample
from pipeline.competition.samples.quadrants import CENTRES, make_points
from pipeline.nets.convolutional import ConvNet
from pipeline.nets.inputs import Inputs
from pipeline.nets.losses import cross_entropy
from pipeline.nets.networks import MLP, Network
from pipeline.nets.optimizers import Update
from pipeline.nets.parameters import views_of
from pipeline.nets.plan import Member, PackData, Plan
from pipeline.nets.prediction import predict
from pipeline.nets.training import one_by_one, train_pack

sys.path.insert(0, str(Path(__file__).parents[1] / "notebooks"))
import scratch

BATCH_SIZE, LR = 256, 0.1
console = Console()


@dataclass(frozen=True)
class Figure:
    """One number, and what was wanted of it."""

    what: str
    measured: float
    wanted: str
    is_met: bool


@dataclass(frozen=True)
class Images:
    """Fashion-MNIST as tensors: pixels in [0, 1], class codes."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor


def near(what: str, measured: float, wanted: float, tolerance: float) -> Figure:
    """Wanted within a tolerance."""
    return Figure(what, measured, f"{wanted:g} ± {tolerance:g}", abs(measured - wanted) <= tolerance)


def fashion_mnist() -> Images | None:
    """The images, or None where there are none."""
    folder = Path(os.environ.get("PIPELINE_DATA_DIR", "")) / "fashion-mnist"
    if not os.environ.get("PIPELINE_DATA_DIR") or not folder.is_dir():
        return None
    tables = idx_tables(folder)
    assert tables.solution is not None
    x, test_x = (
        torch.from_numpy(table.filter(like="pixel_").to_numpy(dtype=np.float32) / 255)
        for table in (tables.train, tables.test)
    )
    y, test_y = (torch.from_numpy(table["label"].to_numpy().copy()) for table in (tables.train, tables.solution))
    return Images(x, y, test_x, test_y)


def epochs(number: int) -> int:
    """The published number, or a share of it."""
    return max(1, round(number * options.epochs_share))


def quadrants() -> list[Figure]:
    """2-3-3-4 sigmoid network, binary cross-entropy, SGD 0.5, 10,000 full-batch steps; mean over five draws."""
    figures = []
    for seed in range(5):
        points = make_points(seed)
        x = torch.tensor(points[["x1", "x2"]].to_numpy(dtype=np.float32))
        labels = torch.from_numpy(points["quadrant"].map({name: i for i, name in enumerate(CENTRES)}).to_numpy().copy())
        network = scratch.SigmoidNetwork.from_topology([2, 3, 3, 4], torch.Generator().manual_seed(seed))
        for _ in range(epochs(10_000)):
            network.step(x, labels, 0.5)
        figures.append(scratch.evaluate(network, x, labels))
    spread = " ".join(f"{figure:.4f}" for figure in figures)
    return [near(f"accuracy, mean of five draws ({spread})", float(np.mean(figures)), 0.955, 0.015)]


def softmax_by_hand(images: Images) -> list[Figure]:
    """Softmax regression from scratch, weights N(0, 0.01), 40 epochs."""
    model = scratch.SoftmaxRegression.initial(784, 10, torch.Generator().manual_seed(0))
    last = by_hand(model, images, epochs(40))
    return [
        near("train loss", last.loss, 0.4002, 0.01),
        near("train accuracy", last.accuracy, 0.8634, 0.01),
        near("test accuracy", scratch.evaluate(model, images.test_x, images.test_y), 0.8424, 0.01),
    ]


def softmax_concise(images: Images) -> list[Figure]:
    """Softmax regression by the engine, 10 epochs."""
    loss, accuracy, test_accuracy = by_engine(MLP(784, (), 10, initialisation="normal"), images, epochs(10))
    return [
        near("train loss", loss, 0.4472, 0.012),
        near("train accuracy", accuracy, 0.8486, 0.012),
        near("test accuracy", test_accuracy, 0.8322, 0.012),
    ]


def mlp(images: Images) -> list[Figure]:
    """784-256-10 with ReLU, 10 epochs, by hand, by torch's modules (the same weights and batches), by the engine."""
    model = scratch.OneHiddenLayer.initial(784, 256, 10, torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    with torch.no_grad():
        for own, given in zip(network.parameters(), model.parameters(), strict=True):
            own.copy_(given.T if given.ndim == 2 else given)
    last = by_hand(model, images, epochs(10))
    one = scratch.evaluate(model, images.test_x, images.test_y)
    by_torch(network, images, epochs(10))
    with torch.no_grad():
        same = scratch.accuracy(network(images.test_x), images.test_y)
    _, train_accuracy, other = by_engine(MLP(784, (256,), 10, initialisation="normal"), images, epochs(10))
    return [
        near("test accuracy by hand", one, 0.87, 0.015),
        near("test accuracy by the engine", other, 0.87, 0.015),
        Figure("their difference", abs(one - other), "< 0.015", abs(one - other) < 0.015),
        near("test accuracy by torch's own modules", same, 0.87, 0.015),
        near("train accuracy by hand, during the last epoch", last.accuracy, 0.87, 0.015),
        near("train accuracy by the engine", train_accuracy, 0.87, 0.015),
    ]


def convolutional(images: Images) -> list[Figure]:
    """Two convolutions and a hidden layer, trained on all 60,000 images for a fixed number of epochs; none held out."""
    network = ConvNet(28, 28, (24, 48), n_hidden=128, n_outputs=10)
    n_epochs, started = epochs(10), time.perf_counter()
    plan = Plan(cross_entropy(), n_epochs, 128, Update("adamw"), evaluate_every=n_epochs)
    numbers = {"lr": 5e-3, "weight_decay": 0.05, "dropout": 0.4, "schedule": "one_cycle"}
    matrix = trained(network, plan, images.x, images.y, **numbers)
    minutes, processor_minutes = (time.perf_counter() - started) / 60, time.process_time() / 60
    accuracy = accuracy_of(network, matrix, images.test_x, images.test_y)
    return [
        Figure("test accuracy", accuracy, ">= 0.92", accuracy >= 0.92),
        Figure(f"minutes of training ({processor_minutes:.1f} of processors)", minutes, "<= 10", minutes <= 10),
    ]


def spiral() -> list[Figure]:
    """The built-in spiral: a linear model, and 100 hidden units with Adam 1e-2."""
    sample = make_sample("spiral")
    x, test_x = (torch.tensor(t[["x1", "x2"]].to_numpy(dtype=np.float32)) for t in (sample.train, sample.test))
    y, test_y = (torch.tensor(t["arm"].map(ord).to_numpy() - ord("a")) for t in (sample.train, sample.solution))
    accuracy = {}
    for hidden_sizes in ((), (100,)):
        network = MLP(2, hidden_sizes, 3)
        plan = Plan(cross_entropy(), epochs(300), BATCH_SIZE, update=Update("adam"), evaluate_every=epochs(300))
        matrix = trained(network, plan, x, y, lr=1e-2)
        accuracy[hidden_sizes] = accuracy_of(network, matrix, test_x, test_y)
    linear, curved = accuracy[()], accuracy[(100,)]
    return [
        Figure("test accuracy, 100 hidden units", curved, "> 0.99", curved > 0.99),
        Figure("test accuracy, linear", linear, "< 0.6", linear < 0.6),
    ]


def random_labels() -> list[Figure]:
    """50 points of noise a class, labels drawn by lot, hidden size 2 N C + D."""
    n, n_classes, n_inputs = 50, 3, 2
    generator = np.random.default_rng(0)
    x, test_x = (torch.from_numpy(generator.uniform(-1, 1, (n * n_classes, 2)).astype(np.float32)) for _ in range(2))
    y, test_y = (torch.from_numpy(generator.permutation(np.repeat(np.arange(n_classes), n))) for _ in range(2))
    network = MLP(n_inputs, (2 * n * n_classes + n_inputs,), n_classes)
    plan = Plan(cross_entropy(), epochs(1000), n * n_classes, update=Update("adam"), evaluate_every=epochs(1000))
    matrix = trained(network, plan, x, y, lr=1e-2)
    return [
        near("train accuracy", accuracy_of(network, matrix, x, y), 0.7, 0.15),
        near("test accuracy", accuracy_of(network, matrix, test_x, test_y), 0.333, 0.15),
    ]


def by_hand(model: scratch.Classifier, images: Images, n_epochs: int) -> scratch.Epoch:
    """Train by the written-out epoch; the last one's means."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(n_epochs):
        last = scratch.train_epoch(model, images.x, images.y, batch_size=BATCH_SIZE, lr=LR, generator=generator)
    return last


def by_torch(network: nn.Module, images: Images, n_epochs: int) -> None:
    """The loop everyone writes, on the batches of `by_hand`."""
    optimizer = torch.optim.SGD(network.parameters(), lr=LR)
    generator = torch.Generator().manual_seed(1)
    for _ in range(n_epochs):
        for rows in scratch.minibatches(len(images.x), BATCH_SIZE, generator):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images.x[rows]), images.y[rows]).backward()
            optimizer.step()


def by_engine(network: Network, images: Images, n_epochs: int) -> tuple[float, float, float]:
    """Train one member: train loss and accuracy after the last epoch, test accuracy."""
    plan = Plan(cross_entropy(), n_epochs, BATCH_SIZE, update=Update("sgd"), evaluate_every=n_epochs)
    matrix = trained(network, plan, images.x, images.y, lr=LR)
    logits = outputs_of(network, matrix, images.x)
    loss = float(scratch.cross_entropy(logits, images.y))
    return loss, scratch.accuracy(logits, images.y), accuracy_of(network, matrix, images.test_x, images.test_y)


def trained(network: Network, plan: Plan, x: Tensor, y: Tensor, **numbers: Any) -> Tensor:
    """(1, numbers): the parameters of one member trained on all rows, with its learning rate and the like."""
    everyone = np.arange(len(x))
    member = Member(0, 0, everyone, everyone[:0], **numbers)
    return train_pack(network, plan, PackData(Inputs(x[None]), y[None]), [member], one_by_one(lambda *_: 0.0)).matrix


def outputs_of(network: Network, matrix: Tensor, x: Tensor) -> Tensor:
    """(rows, classes) logits."""
    return torch.from_numpy(predict(network, views_of(network.parameter_infos(), matrix), Inputs(x[None]), [0])[0])


def accuracy_of(network: Network, matrix: Tensor, x: Tensor, y: Tensor) -> float:
    """Share of rows that are right."""
    return scratch.accuracy(outputs_of(network, matrix, x), y)


ROWS: dict[str, Callable[[], list[Figure]] | Callable[[Images], list[Figure]]] = {
    "quadrants": quadrants,
    "softmax-by-hand": softmax_by_hand,
    "softmax-concise": softmax_concise,
    "mlp": mlp,
    "convolutional": convolutional,
    "spiral": spiral,
    "random-labels": random_labels,
}
NEED_IMAGES = (softmax_by_hand, softmax_concise, mlp, convolutional)


def main() -> None:
    """Measure and print one table."""
    images = fashion_mnist()
    table = Table("row", "figure", "measured", "wanted", "", "seconds")
    for name, row in ROWS.items():
        if not name.startswith(options.only):
            continue
        if row in NEED_IMAGES and images is None:
            table.add_row(name, "left out: no PIPELINE_DATA_DIR/fashion-mnist", "", "", "", "")
            continue
        started = time.perf_counter()
        figures = row(images) if row in NEED_IMAGES else row()  # type: ignore[call-arg,arg-type]
        elapsed_s = f"{time.perf_counter() - started:.0f}"
        for figure in figures:
            verdict = "met" if figure.is_met else "MISSED"
            table.add_row(name, figure.what, f"{figure.measured:.4f}", figure.wanted, verdict, elapsed_s)
            name, elapsed_s = "", ""
    console.print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="rows whose name starts so")
    parser.add_argument("--epochs-share", type=float, default=1.0, help="of each row's epochs")
    options = parser.parse_args()
    main()
