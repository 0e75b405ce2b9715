"""What the notebooks share: sizes, data, a short way to the training engine, and one look for all pictures.

Imports `pipeline`; nothing in `pipeline` imports this.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import scratch
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from torch import Tensor

from pipeline.competition.idx_images import idx_tables
from pipeline.competition.samples import make_sample
from pipeline.nets.inputs import Inputs
from pipeline.nets.losses import cross_entropy
from pipeline.nets.networks import MLP
from pipeline.nets.optimizers import OptimizerName, ScheduleName, Update
from pipeline.nets.parameters import views_of
from pipeline.nets.plan import Member, PackData, Plan
from pipeline.nets.prediction import predict
from pipeline.nets.training import one_by_one, train_pack

SIZE = os.environ.get("NOTEBOOK_SIZE", "full")  # `small` is for a quick look, and for the tests
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8C6D31", "#555555"]  # told apart by all
INK, FAINT = "#333333", "#B8B8B8"
FASHION = ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]


def sized(full: int, small: int) -> int:
    """`full`, or `small` under NOTEBOOK_SIZE=small."""
    return small if SIZE == "small" else full


def set_style() -> None:
    """One look for all pictures."""
    mpl.rcParams.update(
        {
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.titlecolor": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": FAINT,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.prop_cycle": mpl.cycler(color=COLOURS),
            "grid.color": "#EAEAEA",
            "xtick.color": INK,
            "ytick.color": INK,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
        }
    )


# ---- data


@dataclass(frozen=True)
class Images:
    """Pixels in [0, 1] (images, pixels), class codes, what they stand for, and where they are from."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor
    names: list[str]
    side: int
    source: str

    def head(self, n_train: int, n_test: int) -> Images:
        """The first images."""
        parts = (self.x[:n_train], self.y[:n_train], self.test_x[:n_test], self.test_y[:n_test])
        return Images(*parts, self.names, self.side, self.source)


def load_images() -> Images:
    """Fashion-MNIST from PIPELINE_DATA_DIR/fashion-mnist, else the built-in digits, and says which."""
    folder = Path(os.environ.get("PIPELINE_DATA_DIR", "nowhere")) / "fashion-mnist"
    if folder.is_dir():
        tables, names, largest, source = idx_tables(folder), FASHION, 255.0, "Fashion-MNIST"
    else:
        tables, names, largest = make_sample("digits"), [str(digit) for digit in range(10)], 16.0
        source = "scikit-learn's digits (no PIPELINE_DATA_DIR/fashion-mnist; figures and pictures are of the digits)"
    assert tables.solution is not None, "the test images' labels are not there"
    x, test_x = (
        torch.tensor(table.filter(like="pixel_").to_numpy(dtype=np.float32) / largest)
        for table in (tables.train, tables.test)
    )
    y, test_y = (torch.tensor(table["label"].to_numpy()) for table in (tables.train, tables.solution))
    images = Images(x, y, test_x, test_y, names, round(x.shape[1] ** 0.5), source)
    print(f"{source}: {len(x):,} train and {len(test_x):,} test images of {images.side} x {images.side} pixels")
    return images


# ---- training


@dataclass(frozen=True)
class Fit:
    """Members of a pack, trained: their parameters and how they got there."""

    network: MLP
    matrix: Tensor  # (members, numbers)
    history: pd.DataFrame  # epoch, member, part (train or test), loss, accuracy

    def logits(self, x: Tensor, member: int = 0) -> Tensor:
        """(rows, outputs)."""
        parameters = views_of(self.network.parameter_infos(), self.matrix[member : member + 1])
        return torch.from_numpy(predict(self.network, parameters, Inputs(x[None]), [0])[0])

    def probability(self, x: Tensor, member: int = 0) -> Tensor:
        """(rows, outputs)."""
        return scratch.softmax(self.logits(x, member))

    def accuracy(self, x: Tensor, y: Tensor, member: int = 0) -> float:
        """Share of rows that are right."""
        return scratch.accuracy(self.logits(x, member), y)

    def curve(self, part: str, what: str, member: int = 0) -> pd.Series:
        """One column of the history by epoch."""
        rows = self.history[(self.history["part"] == part) & (self.history["member"] == member)]
        return rows.set_index("epoch")[what]


def fit(
    network: MLP,
    x: Tensor,
    y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    *,
    epochs: int,
    members: Sequence[dict[str, float]],
    batch_size: int = 256,
    optimizer: OptimizerName = "sgd",
    schedule: ScheduleName = "constant",
    row_weight: Tensor | None = None,
    evaluate_every: int = 1,
) -> Fit:
    """Train one member for each dict of `lr`, `weight_decay`, `dropout`, all in one pack of the pipeline's engine."""
    n_train, lines = len(x), list[tuple[int, str, float, float]]()
    both_x, both_y = torch.cat([x, test_x]), torch.cat([y, test_y])
    weight = None if row_weight is None else torch.cat([row_weight, torch.ones(len(test_x))])

    def score(member: int, rows: NDArray[np.int64], output: NDArray[np.float32]) -> float:
        logits, labels = torch.from_numpy(output), both_y[torch.from_numpy(rows)]
        part = "train" if rows[0] < n_train else "test"
        lines.append((member, part, float(scratch.cross_entropy(logits, labels)), scratch.accuracy(logits, labels)))
        return lines[-1][-1]

    update = Update(optimizer)
    plan = Plan(cross_entropy(), epochs, batch_size, update, evaluate_every=evaluate_every)
    train_rows, test_rows = np.arange(n_train), np.arange(n_train, len(both_x))
    pack = [Member(0, 0, train_rows, test_rows, schedule=schedule, **numbers) for numbers in members]
    result = train_pack(network, plan, PackData(Inputs(both_x[None]), both_y[None], weight), pack, one_by_one(score))
    history = pd.DataFrame(lines, columns=["member", "part", "loss", "accuracy"])
    epoch = (history.groupby(["member", "part"]).cumcount() + 1) * evaluate_every
    return Fit(network, result.matrix, history.assign(epoch=epoch.clip(upper=epochs)))


# ---- pictures


def show_images(
    images: Images,
    rows: Sequence[int],
    *,
    n_columns: int = 9,
    predicted: Tensor | None = None,
    of_test: bool = False,
) -> None:
    """Images with their true labels; with `predicted`, right ones in green and wrong ones in red, too."""
    x, y = (images.test_x, images.test_y) if of_test else (images.x, images.y)
    n_rows = -(-len(rows) // n_columns)
    _, axes = plt.subplots(n_rows, n_columns, figsize=(1.15 * n_columns, 1.45 * n_rows + 0.1), squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, row in zip(axes.flat, rows, strict=False):
        ax.imshow(x[row].view(images.side, images.side), cmap="gray_r", vmin=0, vmax=1)
        true = images.names[int(y[row])]
        if predicted is None:
            ax.set_title(true, fontsize=8.5, fontweight="normal", loc="center")
            continue
        said = images.names[int(predicted[row])]
        is_right = said == true
        ax.set_title(
            said if is_right else f"{said}\n(is {true})",
            fontsize=8.5,
            fontweight="normal",
            loc="center",
            color=COLOURS[2] if is_right else COLOURS[4],
        )
    plt.show()


def decision_regions(
    ax: Axes,
    probability_of: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    *,
    limit: float,
    title: str = "",
    marker_size: float = 9.0,
) -> None:
    """The plane in the colours of the classes, the paler the less sure, and the points on it."""
    steps = torch.linspace(-limit, limit, 240)
    grid_y, grid_x = torch.meshgrid(steps, steps, indexing="ij")
    probability = probability_of(torch.stack([grid_x.flatten(), grid_y.flatten()], dim=1)).detach().numpy()
    colours = np.array([to_rgb(colour) for colour in COLOURS[: probability.shape[1]]])
    share = probability / probability.sum(axis=1, keepdims=True)
    plane = 1.0 - 0.55 * (share @ (1.0 - colours))
    square = (-limit, limit, -limit, limit)
    ax.imshow(plane.reshape(240, 240, 3), origin="lower", extent=square, interpolation="bilinear")
    labels = probability.argmax(axis=1).reshape(240, 240)
    for code in np.unique(labels)[:-1]:
        ax.contour(steps, steps, labels > code, levels=[0.5], colors="white", linewidths=0.9)
    scatter(ax, x, y, limit=limit, title=title, marker_size=marker_size)


def scatter(
    ax: Axes,
    x: Tensor,
    y: Tensor,
    *,
    limit: float,
    title: str = "",
    marker_size: float = 9.0,
    names: Sequence[str] | None = None,
) -> None:
    """Points in the colours of their classes."""
    for code in range(int(y.max()) + 1):
        ax.scatter(
            *x[y == code].T,
            s=marker_size,
            color=COLOURS[code],
            edgecolor="white",
            linewidth=0.3,
            label=None if names is None else names[code],
        )
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", title=title)
    ax.grid(False)


def label_line(ax: Axes, series: pd.Series, text: str, *, colour: str, dy: float = 0.0) -> None:
    """A label at the end of a line, instead of a legend."""
    ax.annotate(
        text,
        (series.index[-1], series.iloc[-1]),
        xytext=(5, dy),
        textcoords="offset points",
        color=colour,
        va="center",
        annotation_clip=False,
    )
