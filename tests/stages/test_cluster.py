"""Laws of `--cluster`: the same files as without it, and nothing stays behind after Ctrl-C."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optuna
import psutil
import pytest

from pipeline.base.cluster import Cluster
from pipeline.config.records import TuningResult
from pipeline.config.run_report import RunReport
from tests.conftest import Toy, toy_in

pytestmark = pytest.mark.slow

TRAIN = ["final", "--no-report", "--set", "epochs=3", "--set", "hidden_sizes=[8]", "--set", "seeds=2"]
TUNE = ["tune", "--no-report", "--pruner", "none", "--trials"]
OF_MODEL = {
    "mlp": ["6", "--batch", "3", "--set", "epochs=4", "--set", "batch_size=16"],
    "random_forest": ["2", "--set", "n_trees=5"],
}
OWN = """
def score(solution, submission, row_id_column_name):
    return (solution["price"] - submission["price"]).abs().mean()
"""


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Toy, Toy]:
    """Two equal competitions."""
    return toy_in(tmp_path / "here"), toy_in(tmp_path / "there")


def address(cluster: Cluster) -> str:
    return str(cluster._local.scheduler_address)


def study_of(toy: Toy, model: str) -> optuna.Study:
    log = optuna.storages.journal.JournalFileBackend(str(toy.workspace.tuning(model) / "study.log"))
    return optuna.load_study(study_name=None, storage=optuna.storages.JournalStorage(log))


def run_both(pair: tuple[Toy, Toy], cluster: Cluster, command: str, *options: str) -> None:
    here, there = pair
    for toy, where in ((here, ["--workers", "2", "--device", "cpu"]), (there, ["--cluster", address(cluster)])):
        result = toy.run(command, *options, *where)
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize("model", ["mlp", "lightgbm"])
def test_a_submission_made_on_a_cluster_has_the_same_bytes(pair: tuple[Toy, Toy], cluster: Cluster, model: str) -> None:
    options = TRAIN if model == "mlp" else TRAIN[:2]
    run_both(pair, cluster, *options, "--model", model)
    here, there = pair
    assert here.submission().read_bytes() == there.submission().read_bytes()
    assert here.only_run().oof.read_bytes() == there.only_run().oof.read_bytes()
    assert here.only_run().history.read_bytes() == there.only_run().history.read_bytes()


@pytest.mark.parametrize("final", ["average", "refit"])
def test_the_parts_of_an_ensemble_are_fitted_at_once_and_leave_the_same_bytes(
    pair: tuple[Toy, Toy], cluster: Cluster, tmp_path: Path, final: str
) -> None:
    models = ("ridge", "lightgbm", "random_forest", "kernel_ridge", "mlp")
    parts = "".join(f'[[parts]]\nmodel = "{model}"\n' for model in models)
    preset = tmp_path / "parts.toml"
    preset.write_text(f'model = "mlp"\nfinal = "{final}"\n{parts}params = {{ epochs = 3, hidden_sizes = [8] }}\n')
    run_both(pair, cluster, "final", "--no-report", "--preset", str(preset))
    here, there = pair
    assert here.submission().read_bytes() == there.submission().read_bytes()
    assert here.only_run().oof.read_bytes() == there.only_run().oof.read_bytes()


@pytest.mark.parametrize("model", OF_MODEL)
def test_a_study_on_a_cluster_finds_the_same(pair: tuple[Toy, Toy], cluster: Cluster, model: str) -> None:
    run_both(pair, cluster, *TUNE, *OF_MODEL[model], "--model", model)
    here, there = [TuningResult.read(toy.workspace.tuning(model) / "best.json") for toy in pair]
    assert (here.config, here.cv_score) == (there.config, there.cv_score)
    values = [[trial.intermediate_values for trial in study_of(toy, model).trials] for toy in pair]
    assert values[0] == values[1]
    assert all(values[0]) == (model == "mlp")  # at every rung, though nobody waits for an answer


def test_trials_are_pruned_on_a_cluster(toy: Toy, cluster: Cluster) -> None:
    options = ["--trials", "10", "--batch", "5", "--set", "epochs=8", "--cluster", address(cluster)]
    result = toy.run("tune", "--no-report", *options)
    assert result.exit_code == 0, result.output
    assert "10 trials, " in result.stderr
    assert " 0 pruned" not in result.stderr


def test_a_metric_of_ones_own_goes_along(pair: tuple[Toy, Toy], cluster: Cluster) -> None:
    for toy in pair:
        toy.edit_spec('metric = "log_rmse"', 'metric = "metric.py:score"')
        (toy.workspace.folder / "metric.py").write_text(OWN)
    run_both(pair, cluster, *TRAIN, "--model", "mlp", "--set", "patience=2")
    here, there = [RunReport.read(toy.only_run().report) for toy in pair]
    assert here.cv_score == there.cv_score
    toy, y = pair[0], np.array([1.0, 2.0])
    sent = pickle.dumps(toy.store().metric.at(np.arange(2)))
    (toy.workspace.folder / "metric.py").unlink()  # as on another machine
    assert pickle.loads(sent)(y, y + 1.0) == 1.0


def test_ctrl_c_leaves_nothing_running(toy: Toy) -> None:
    where = ["--competition", "toy", "--root", str(toy.workspace.root), "--cluster", "local:2", "--no-report"]
    command = [sys.executable, "-m", "pipeline", "final", *where, "--model", "mlp", "--set", "epochs=100000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    said = ""
    while "train: " not in said:
        said += process.stderr.readline()
    time.sleep(1.0)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    said += process.communicate(timeout=30)[1]
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "the same command continues" in said
    assert psutil.wait_procs(children, timeout=10)[1] == []
