"""What a GPU gives: packs, images and boosting, each against a reference of the same run and the device's own limits.

    python benchmarks/gpu.py                       # on the first CUDA device: about five minutes
    python benchmarks/gpu.py --only pack agreement
    python benchmarks/gpu.py --device cpu --quick  # a trial of the command itself

`floor` is the time below which a step cannot fall: its bytes (parameters, gradients, moments and activations, each read
and written as often as the algorithm must) at the measured rate of a copy, or its multiplications at the measured rate
of `torch.bmm` in the same shape and precision, whichever is longer. House Prices and Fashion-MNIST are read from
`$PIPELINE_DATA_DIR`; without it samples of the same shape stand in.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar, get_args

import numpy as np
import pandas as pd
import torch
from fashion_epoch import images
from joblib import cpu_count
from kfold import FOLDS, five_folds
from packed import trials
from reference import train_one
from rich.console import Console
from rich.table import Table

from pipeline.competition.folds import Split
from pipeline.competition.problem import Problem
from pipeline.config.run import FeatureSteps
from pipeline.metrics import METRICS
from pipeline.models.base import FitContext
from pipeline.models.networks.fitted import FittedNeural
from pipeline.models.networks.model import fit_many
from pipeline.models.networks.params import NeuralParams
from pipeline.models.networks.tensors import split_tensors
from pipeline.models.registry import make_model, model_params
from pipeline.models.run_configuration import load_run_config
from pipeline.nets.convolutional import ConvNet
from pipeline.nets.devices import choose_device, describe_device
from pipeline.nets.inputs import Inputs
from pipeline.nets.losses import REGRESSION_LOSSES, cross_entropy
from pipeline.nets.networks import MLP, Network
from pipeline.nets.optimizers import Update
from pipeline.nets.plan import PRECISIONS, Member, PackData, PackJob, Plan, Precision
from pipeline.nets.training import one_by_one
from pipeline.nets.workers import member_bytes, run_packs

T = TypeVar("T")
Row = tuple[str, str, str, str]  # what, measured, reference, ratio or share
N_MEMBERS, WIDTH, N_INPUTS = 64, 384, 96  # TabPack's shape (arXiv 2607.05380)
TRIPS_OF_PARAMETERS = 10  # read in the forward and backward pass, gradient, AdamW: 4 read, 3 written
TRIPS_OF_ACTIVATIONS = 6  # of a hidden unit: written, read by the next layer and its gradient; its gradient likewise


class Bench:
    """The device, its limits, and how much is trained."""

    def __init__(self, device: torch.device, *, is_quick: bool) -> None:
        self.device, self.is_quick = device, is_quick
        self.n_workers = 1 if device.type == "cuda" else cpu_count()

    def synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def timed(self, work: Callable[[], T]) -> tuple[float, T]:
        """Wall seconds of one call, and what it returns."""
        self.synchronise()
        started = time.perf_counter()
        result = work()
        self.synchronise()
        return time.perf_counter() - started, result

    def seconds(self, work: Callable[[], object]) -> float:
        """Wall seconds of one call."""
        return self.timed(work)[0]

    def bytes_per_s(self) -> float:
        """Read and written by a copy."""
        x = torch.empty(1 << (22 if self.is_quick else 28), device=self.device)
        y = torch.empty_like(x)
        y.copy_(x)
        return 2 * 10 * x.nbytes / self.seconds(lambda: [y.copy_(x) for _ in range(10)])

    def flop_per_s(self, batch: int, n_inputs: int, n_units: int, precision: Precision) -> float:
        """Of a batched product in a layer's shape; bf16 with bf16 operands, the most that is to be had."""
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        x = torch.randn(N_MEMBERS, batch, n_inputs, device=self.device, dtype=dtype)
        w = torch.randn(N_MEMBERS, n_inputs, n_units, device=self.device, dtype=dtype)
        out = torch.empty(N_MEMBERS, batch, n_units, device=self.device, dtype=dtype)
        before, n = torch.get_float32_matmul_precision(), 3 if self.is_quick else 50
        torch.set_float32_matmul_precision(PRECISIONS[precision])
        torch.bmm(x, w, out=out)
        elapsed_s = self.seconds(lambda: [torch.bmm(x, w, out=out) for _ in range(n)])
        torch.set_float32_matmul_precision(before)
        return n * 2 * N_MEMBERS * batch * n_inputs * n_units / elapsed_s


def main() -> None:
    """Measure the parts and print one table."""
    parts: dict[str, Callable[[Bench], Iterator[Row]]] = {
        "limits": limits,
        "pack": pack,
        "house-prices": house_prices,
        "agreement": agreement,
        "images": pictures,
        "boosting": boosting,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", nargs="*", choices=parts, default=list(parts))
    parser.add_argument("--quick", action="store_true", help="a hundredth of the work: figures mean nothing")
    given = parser.parse_args()
    bench, console = Bench(choose_device(given.device), is_quick=given.quick), Console(width=150)
    table = Table("what", "measured", "reference", "ratio or share", title=describe_device(bench.device))
    for name in given.only:
        started = time.perf_counter()
        for row in parts[name](bench):
            console.print(*row, sep=" | ")
            table.add_row(*row)
        console.print(f"{name}: {time.perf_counter() - started:.0f} s")
    console.print(table)


def limits(bench: Bench) -> Iterator[Row]:
    """Rates of the device."""
    yield "copy", f"{bench.bytes_per_s() / 1e12:.2f} TB/s", "", ""
    for precision in get_args(Precision):
        rate = bench.flop_per_s(256, WIDTH, WIDTH, precision)
        yield f"bmm {N_MEMBERS} x 256 x {WIDTH} x {WIDTH}, {precision}", f"{rate / 1e12:.1f} TFLOP/s", "", ""


def pack(bench: Bench) -> Iterator[Row]:
    """A step of a pack at TabPack's shape against its floor, and the memory taken against the estimate."""
    for batch, depth, precision in [
        *((256, depth, precision) for depth in (1, 2, 3) for precision in get_args(Precision)),
        (512, 3, "bf16"),
    ]:
        network = MLP(N_INPUTS, (16 if bench.is_quick else WIDTH,) * depth, 1)
        yield from _step(bench, network, batch, precision)


def _step(bench: Bench, network: MLP, batch: int, precision: Precision) -> Iterator[Row]:
    n_train, n_valid, n_epochs = (1_000, 100, 2) if bench.is_quick else (20_480, 2_048, 20)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, n_train + n_valid, N_INPUTS, generator=generator)
    y = (
        torch.tanh(x[:, :, :8].sum(dim=2, keepdim=True))
        + 0.1 * torch.randn(x.shape[:2], generator=generator)[..., None]
    )
    data = PackData(Inputs(x.to(bench.device)), y.to(bench.device))
    rows, target = np.arange(n_train + n_valid), y[0].numpy()
    members = [
        Member(m, 0, rows[:n_train], rows[n_train:], lr=1e-3 * 1.02**m, weight_decay=0.01, dropout=0.1 * (m % 3))
        for m in range(N_MEMBERS)
    ]

    def score(_: int, rows: np.ndarray, output: np.ndarray) -> float:
        return float(np.sqrt(np.mean((output - target[rows]) ** 2)))

    plan = Plan(REGRESSION_LOSSES["mse"], n_epochs, batch, precision=precision, evaluate_every=n_epochs)
    job = PackJob("pack", network, plan, data, members, [""] * N_MEMBERS, one_by_one(score))
    warm_up = replace(job, plan=replace(plan, epochs=1, evaluate_every=1))
    run_packs([warm_up], n_workers=bench.n_workers)
    is_cuda = bench.device.type == "cuda"
    if is_cuda:
        torch.cuda.reset_peak_memory_stats(bench.device)
        held = torch.cuda.memory_allocated(bench.device)
    rest_s = bench.seconds(lambda: run_packs([warm_up], n_workers=bench.n_workers))
    elapsed_s = bench.seconds(lambda: run_packs([job], n_workers=bench.n_workers))
    taken = torch.cuda.max_memory_allocated(bench.device) - held if is_cuda else 0
    n_steps = -(-n_train // batch)
    step_s = (elapsed_s - rest_s) / ((n_epochs - 1) * n_steps)
    widths = (network.n_inputs, *network.hidden_sizes, network.n_outputs)
    products = [n_in * n_out for n_in, n_out in pairwise(widths)]
    flop = N_MEMBERS * batch * 2 * (3 * sum(products) - products[0])  # the inputs need no gradient
    units = TRIPS_OF_ACTIVATIONS * sum(network.hidden_sizes) + 2 * N_INPUTS
    moved = 4 * N_MEMBERS * (TRIPS_OF_PARAMETERS * network.n_parameters + batch * units)
    by_bytes = moved / bench.bytes_per_s()
    by_flop = flop / bench.flop_per_s(batch, WIDTH, WIDTH, precision)
    what = f"step, {N_MEMBERS} x {list(network.hidden_sizes)}, batch {batch}, {precision}"
    floor = f"floor {1e3 * max(by_bytes, by_flop):.3f} ms (bytes {1e3 * by_bytes:.3f}, FLOP {1e3 * by_flop:.3f})"
    yield what, f"{1e3 * step_s:.3f} ms", floor, f"{max(by_bytes, by_flop) / step_s:.0%} of the floor"
    if is_cuda:
        estimate = N_MEMBERS * member_bytes(network, plan, bench.device)
        yield "  memory", f"{taken / 2**20:.0f} MiB", f"estimate {estimate / 2**20:.0f} MiB", f"{estimate / taken:.2f}"


def house_prices(bench: Bench) -> Iterator[Row]:
    """Five folds x trials in packs against a plain loop on the same device, tables there, scored alike."""
    n_trials, epochs, n_looped = (2, 2, 1) if bench.is_quick else (128, 100, 2)
    x, problem, splits, source = five_folds()

    def loop(configurations: Sequence[dict[str, Any]]) -> None:
        for one in configurations:
            for split in splits:
                train_one(x, problem.target, split, one, has_loader=False, device=bench.device)

    for how, every in (("scored every epoch", 1), ("scored at the end", epochs)):
        configurations = trials(epochs, every, n_trials)
        packs_s, fits = bench.timed(partial(in_packs, configurations, problem, splits, bench.device, bench.n_workers))
        mean = np.mean([e.valid_score for fit in fits for e in fit.history if e.epoch == epochs])
        loop_s = bench.seconds(partial(loop, configurations[:n_looped])) * n_trials / n_looped
        what = f"House Prices, {n_trials} trials x {FOLDS} folds x {epochs} epochs, {how}"
        reference = f"plain loop {loop_s:.0f} s ({n_looped} trials measured)"
        yield what, f"{packs_s:.1f} s, mean {mean:.4f}", reference, f"{loop_s / packs_s:.0f} x"
    yield "  data", source, "", ""


def in_packs(
    configurations: Sequence[dict[str, Any]],
    problem: Problem,
    splits: Sequence[Split],
    device: torch.device,
    n_workers: int,
) -> list[FittedNeural]:
    """Train trials x folds of an MLP."""
    neural = [p for one in configurations if isinstance(p := model_params("mlp", one, where=""), NeuralParams)]
    tensors = split_tensors(problem, splits, scale_target=False, seed=0, device=device)
    context = FitContext(device=device, n_workers=n_workers)
    fits = fit_many(neural, problem, splits, tensors, seed=0, n_seeds=1, context=context)
    return [fit for fit in fits if isinstance(fit, FittedNeural)]


def agreement(bench: Bench) -> Iterator[Row]:
    """The same trials on the CPU: largest relative difference of a valid score and of an out-of-fold prediction."""
    _, problem, splits, _ = five_folds()
    epochs = 20
    configurations = [{**one, "dropout": 0.0} for one in trials(epochs, epochs, 8)]  # masks differ by device
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for device in (torch.device("cpu"), bench.device):
        fits = in_packs(configurations, problem, splits, device, n_workers=1)
        scores = [e.valid_score for fit in fits for e in fit.history]
        found.append((np.array(scores), np.stack([fit.oof_prediction for fit in fits])))
    for what, one, other in zip(("valid scores", "out-of-fold predictions"), *found, strict=True):
        difference = float(np.max(np.abs(one - other) / np.maximum(np.abs(one), 1e-12)))
        yield f"{what}, 8 trials x {FOLDS} folds x {epochs} epochs", f"{difference:.1e} apart", "CPU", ""


def pictures(bench: Bench) -> Iterator[Row]:
    """An epoch of a convolutional network on Fashion-MNIST, five folds' worth of it."""
    pixels, labels, source = images()
    if bench.is_quick:
        pixels, labels = pixels[-2_000:], labels[-2_000:]
    n_train, n_epochs, codes = len(pixels) * 6 // 7, 2 if bench.is_quick else 10, labels.numpy()
    data = PackData(Inputs(pixels.flatten(1)[None].to(bench.device), unit=1 / 255), labels[None].to(bench.device))
    rows = np.arange(len(pixels))
    update = Update("adamw")

    def accuracy(_: int, rows: np.ndarray, output: np.ndarray) -> float:
        return float((output.argmax(axis=1) == codes[rows]).mean())

    networks: dict[str, Network] = {"mlp 256": MLP(784, (256,), 10), "cnn": ConvNet(28, 28, (32, 64), 128, 10)}
    for (name, network), precision in [(one, p) for one in networks.items() for p in ("float32", "tf32", "bf16")]:
        plan = Plan(
            cross_entropy(), n_epochs, 256, update, precision=precision, evaluate_every=n_epochs, greater_is_better=True
        )
        members = [Member(m, 0, rows[:n_train], rows[n_train:], lr=1e-3, dropout=0.3) for m in range(FOLDS)]
        job = PackJob("images", network, plan, data, members, [""] * FOLDS, one_by_one(accuracy))
        elapsed_s, (result,) = bench.timed(partial(run_packs, [job], n_workers=bench.n_workers))
        reached = np.mean([valid for epoch, _, _, valid in result.history if epoch == n_epochs])
        measured = f"{elapsed_s / n_epochs / FOLDS:.2f} s an epoch and network, accuracy {reached:.4f}"
        yield f"{name}, {FOLDS} x {n_train} images, {n_epochs} epochs, {precision}", measured, source, ""


def boosting(bench: Bench) -> Iterator[Row]:
    """Boosting by the libraries' CUDA code against the cores of this machine."""
    n_rows = 5_000 if bench.is_quick else 1_000_000
    random = np.random.default_rng(0)
    x = random.normal(size=(n_rows, 30)).astype(np.float32)
    signal = x[:, 0] + x[:, 1] * x[:, 2] + np.sin(3 * x[:, 3]) + 0.5 * x[:, 4] ** 2
    y = (signal + random.normal(size=n_rows) > 0.5).astype(np.float64)
    frame = pd.DataFrame(x, columns=[f"x{number}" for number in range(30)])
    roles = dict.fromkeys(frame.columns, "number")
    auc = METRICS["roc_auc"]
    problem = Problem(frame, frame[:1], y, roles, {}, "binary", 2, auc, None, FeatureSteps(), "train", "none")  # type: ignore[arg-type]
    split = Split(np.arange(n_rows // 5, n_rows), np.arange(n_rows // 5))
    rounds = 20 if bench.is_quick else 300
    for name in ("xgboost", "catboost"):
        try:
            __import__(name)
        except ImportError:
            yield f"{name}, {n_rows:,} x 30", "not installed", "", ""
            continue
        config = load_run_config("fast", model=name, overrides=[f"rounds={rounds}"])
        model = make_model(name, config.params, where="benchmark")
        contexts = (FitContext(device=device, n_workers=cpu_count()) for device in (bench.device, torch.device("cpu")))
        fits = [
            bench.timed(partial(model.fit, problem, [split], seed=0, n_seeds=1, context=context))
            for context in contexts
        ]
        seconds = [elapsed_s for elapsed_s, _ in fits]
        on_device, on_cpu = (auc(y[split.valid_rows], fitted.oof_prediction[split.valid_rows]) for _, fitted in fits)
        reference = f"CPU, {cpu_count()} cores: {seconds[1]:.1f} s, AUC {on_cpu:.5f}"
        measured = f"{seconds[0]:.1f} s, AUC {on_device:.5f}"
        yield f"{name}, {n_rows:,} x 30, {rounds} rounds", measured, reference, f"{seconds[1] / seconds[0]:.1f} x"


if __name__ == "__main__":
    main()
