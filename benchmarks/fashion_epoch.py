"""An epoch of Fashion-MNIST: the usual DataLoader loop with a transform an image, against the pipeline's engine.

    python benchmarks/fashion_epoch.py                     # softmax and MLP, the sides in turn: about two minutes
    python benchmarks/fashion_epoch.py --cpu-seconds       # processor seconds of one thread: on a shared machine

All sides train the same network on the same 60,000 images in shuffled batches of 256, SGD 0.1, float32. The usual loop
makes every image a float tensor as torchvision's datasets and `ToTensor` do, through a PIL image; `from arrays` leaves
that out; `2 workers` has two processes make them. It is not scored. The engine's seconds hold one scoring of 10,000
train and 10,000 test rows a run, or one an epoch. `five networks`: five folds' worth, each of 60,000 rows, on as many
workers as threads, the time divided by five; `bf16` rounds their large products. `products alone`: the matrix products
of an epoch, by the engine's kernels on a batch that lies ready. Without `$PIPELINE_DATA_DIR/fashion-mnist` random
pixels stand in.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from pipeline.competition.idx_images import idx_tables
from pipeline.nets.inputs import Gather, Inputs
from pipeline.nets.losses import cross_entropy
from pipeline.nets.networks import MLP
from pipeline.nets.optimizers import Update
from pipeline.nets.plan import Member, PackData, PackJob, Plan, Precision
from pipeline.nets.products import affine, has_bf16, input_gradient, weight_gradient
from pipeline.nets.training import one_by_one
from pipeline.nets.workers import min_pack_size, pack_sizes, run_packs

BATCH_SIZE, LR, N_CLASSES, SIDE = 256, 0.1, 10, 28
NETWORKS = {"softmax": (), "mlp 256": (256,)}


class UsualImages(Dataset):
    """uint8 images, made float tensors one at a time."""

    def __init__(self, pixels: Tensor, labels: Tensor, *, through_pillow: bool) -> None:
        self.pixels, self.labels, self.through_pillow = pixels, labels, through_pillow

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        image = self.pixels[row].numpy()
        if self.through_pillow:
            from PIL import Image

            image = np.array(Image.fromarray(image), copy=True)
        tensor = torch.from_numpy(image[:, :, None]).permute(2, 0, 1).contiguous()
        return tensor.to(torch.float32).div(255), int(self.labels[row])


def images() -> tuple[Tensor, Tensor, str]:
    """(70000, 28, 28) uint8, the 60,000 train images first; labels; where they are from."""
    folder = Path(os.environ.get("PIPELINE_DATA_DIR", "nowhere")) / "fashion-mnist"
    if not folder.is_dir():
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (70_000, SIDE, SIDE), dtype=torch.uint8, generator=generator)
        return pixels, torch.randint(0, N_CLASSES, (70_000,), generator=generator), "random pixels"
    tables = idx_tables(folder)
    assert tables.solution is not None
    pixels = np.concatenate([t.filter(like="pixel_").to_numpy(dtype=np.uint8) for t in (tables.train, tables.test)])
    labels = np.concatenate([t["label"].to_numpy() for t in (tables.train, tables.solution)])
    pixels = np.ascontiguousarray(pixels)  # an image's bytes together: a frame keeps a column's
    return torch.from_numpy(pixels).view(-1, SIDE, SIDE), torch.tensor(labels), str(folder)


clock = time.perf_counter


def usual(data: UsualImages, hidden_sizes: tuple[int, ...], n_epochs: int, n_workers: int) -> float:
    """Seconds an epoch of the loop one writes first."""
    widths = [SIDE * SIDE, *hidden_sizes, N_CLASSES]
    layers: list[nn.Module] = [nn.Flatten()]
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(network.parameters(), lr=LR)
    loader = DataLoader(data, BATCH_SIZE, shuffle=True, num_workers=n_workers)
    started = clock()
    for _ in range(n_epochs):
        total = right = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            output = network(x)
            loss = nn.functional.cross_entropy(output, y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
            right += (output.argmax(dim=1) == y).sum().item()
    return (clock() - started) / n_epochs


def engine(
    pixels: Tensor,
    y: Tensor,
    hidden_sizes: tuple[int, ...],
    n_epochs: int,
    evaluate_every: int,
    n_members: int = 1,
    precision: Precision = "float32",
) -> float:
    """Seconds an epoch of one member, in packs as a run makes them."""
    rows, n_workers = np.arange(len(pixels)), torch.get_num_threads()
    sgd = Update("sgd")
    plan = Plan(cross_entropy(), n_epochs, BATCH_SIZE, sgd, precision=precision, evaluate_every=evaluate_every)
    labels, network = y.numpy(), MLP(SIDE * SIDE, hidden_sizes, N_CLASSES)
    data = PackData(Inputs(pixels.flatten(1)[None], unit=1 / 255), y[None])

    def accuracy(_: int, rows: np.ndarray, output: np.ndarray) -> float:
        return float((output.argmax(axis=1) == labels[rows]).mean())

    members = [Member(number, 0, rows[:60_000], rows[60_000:], LR) for number in range(n_members)]
    sizes = pack_sizes(n_members, n_workers, torch.device("cpu"), min_size=min_pack_size(network, plan))
    jobs = []
    for start, stop in pairwise(accumulate(sizes, initial=0)):
        inside = members[start:stop]
        jobs.append(PackJob(f"{start}", network, plan, data, inside, [""] * len(inside), one_by_one(accuracy)))
    started = clock()
    run_packs(jobs, n_workers=n_workers)
    return (clock() - started) / n_epochs / n_members


@torch.no_grad()
def products(hidden_sizes: tuple[int, ...]) -> float:
    """Seconds an epoch of nothing but the matrix products, by the engine's own kernels."""
    widths = [SIDE * SIDE, *hidden_sizes, N_CLASSES]
    layers = []
    for n_in, n_out in pairwise(widths):
        layers.append([torch.rand(1, *shape) for shape in ((BATCH_SIZE, n_in), (n_in, n_out), (1, n_out))])
        layers[-1] += [torch.empty(1, *shape) for shape in ((BATCH_SIZE, n_out), (n_in, n_out), (BATCH_SIZE, n_in))]
    n_batches = math.ceil(60_000 / BATCH_SIZE)
    started = clock()
    for _ in range(n_batches):
        for x, weights, bias, out, _, _ in layers:
            affine(x, weights, bias, out)
        for number, (x, weights, _, out, gradient, upstream) in enumerate(layers):
            weight_gradient(x, out, gradient)
            if number:
                input_gradient(out, weights, upstream)
    return clock() - started


def gathering(pixels: Tensor) -> float:
    """Seconds an epoch of nothing but reading the shuffled rows."""
    gather = Gather(Inputs(pixels.flatten(1)[None], unit=1 / 255), BATCH_SIZE, torch.device("cpu"))
    started = clock()
    for batch in torch.randperm(60_000).split(BATCH_SIZE):
        gather(batch[None])
    return clock() - started


def main() -> None:
    """Measure and print one table."""
    global clock
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=1, help="of the usual loop; the engine runs five times as many")
    parser.add_argument("--repeats", type=int, default=2, help="medians of as many, the sides in turn")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: torch's")
    parser.add_argument("--cpu-seconds", action="store_true", help="of one thread and no workers")
    options = parser.parse_args()
    if options.cpu_seconds:
        clock, options.threads = time.process_time, 1
    torch.set_num_threads(options.threads)

    pixels, labels, source = images()
    console = Console()
    console.print(f"{source}; {options.threads} threads, {'processor' if options.cpu_seconds else 'wall'} seconds")
    pillow, arrays = (
        UsualImages(pixels[:60_000], labels[:60_000], through_pillow=through) for through in (True, False)
    )
    n_many = 5 * options.epochs
    table = Table("network", "how", "seconds an epoch", "ratio")
    for name, hidden_sizes in NETWORKS.items():
        sides = {
            "usual loop": partial(usual, pillow, hidden_sizes, options.epochs, 0),
            "usual loop, 2 workers": partial(usual, pillow, hidden_sizes, options.epochs, 2),
            "usual loop, from arrays": partial(usual, arrays, hidden_sizes, options.epochs, 0),
            "engine": partial(engine, pixels, labels, hidden_sizes, n_many, n_many),
            "engine, scored every epoch": partial(engine, pixels, labels, hidden_sizes, n_many, 1),
            "engine, bf16": partial(engine, pixels, labels, hidden_sizes, n_many, n_many, 1, "bf16"),
            "engine, five networks": partial(engine, pixels, labels, hidden_sizes, n_many, n_many, 5),
            "engine, five networks, bf16": partial(engine, pixels, labels, hidden_sizes, n_many, n_many, 5, "bf16"),
            "products alone": partial(products, hidden_sizes),
        }
        if options.cpu_seconds:
            del sides["usual loop, 2 workers"]
        if not has_bf16():
            del sides["engine, bf16"], sides["engine, five networks, bf16"]
        runs: dict[str, list[float]] = {how: [] for how in sides}
        for _ in range(options.repeats):
            for how, side in sides.items():
                torch.set_num_threads(options.threads)  # workers change what the products use
                runs[how].append(side())
                console.print(f"{name}, {how}: {runs[how][-1]:.3f}")
        medians = {how: statistics.median(seconds) for how, seconds in runs.items()}
        for how, seconds in medians.items():
            table.add_row(name, how, f"{seconds:.3f}", f"{medians['usual loop'] / seconds:.1f}x")
    table.add_row("", "reading the shuffled rows alone", f"{gathering(pixels):.3f}", "")
    console.print(table)


if __name__ == "__main__":
    main()
