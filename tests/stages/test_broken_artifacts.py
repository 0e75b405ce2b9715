"""A broken artifact is made again where that is safe, left out of a list, and never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.competition.workspace import Workspace
from pipeline.config.run_report import RunReport
from tests.conftest import TINY, Toy


def _without(key: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        raw = json.loads(path.read_text())
        del raw[key]
        path.write_text(json.dumps(raw))

    return change


BREAKAGES: dict[str, Callable[[Path], None]] = {
    "empty": lambda path: path.write_text("") and None,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:50]) and None,
    "older": _without("format"),
    "a key is gone": _without("fingerprint"),
}
every_breakage = pytest.mark.parametrize("damage", BREAKAGES.values(), ids=BREAKAGES)


@every_breakage
def test_a_run_with_a_broken_report_is_left_out_of_lists_and_made_again(
    toy: Toy, damage: Callable[[Path], None]
) -> None:
    assert toy.run("train", *TINY).exit_code == 0
    broken = toy.only_run()
    score = RunReport.read(broken.report).cv_score
    assert toy.run("train", *TINY, "--set", "lr=0.02").exit_code == 0
    (other,) = {path.name for path in toy.workspace.runs.iterdir()} - {broken.name}
    damage(broken.report)
    listed = toy.run("runs")
    assert listed.exit_code == 0, listed.output
    assert other in listed.stdout
    assert broken.name not in listed.stdout
    assert f"{broken.name}/report.json" in "".join(listed.stderr.split())
    assert "the run is skipped" in " ".join(listed.stderr.split())
    compared = toy.run("compare", other, broken.name)
    assert compared.exit_code == 2
    assert "Delete the folder" in " ".join(compared.stderr.split())
    assert toy.run("train", *TINY).exit_code == 0
    assert RunReport.read(broken.report).cv_score == score


@every_breakage
def test_broken_features_are_made_again(toy: Toy, damage: Callable[[Path], None]) -> None:
    assert toy.run("features").exit_code == 0
    whole = toy.workspace.manifest.read_bytes()
    damage(toy.workspace.manifest)
    again = toy.run("features")
    assert again.exit_code == 0, again.output
    assert "the features are built again" in " ".join(again.stderr.split())
    assert toy.workspace.manifest.read_bytes() == whole


@every_breakage
def test_a_submission_with_a_broken_record_is_made_again(toy: Toy, damage: Callable[[Path], None]) -> None:
    toy.submit("--no-upload")
    content, record = toy.submission().read_bytes(), toy.submission().with_suffix(".json")
    damage(record)
    said = toy.submit("--no-upload")
    assert "the submission is written again" in " ".join(said.stderr.split())
    assert toy.submission().read_bytes() == content


def test_a_broken_record_of_raw_files_is_refused(toy: Toy) -> None:
    assert toy.run("data").exit_code == 0
    toy.workspace.source.write_text("{}")
    refused = toy.run("features")
    assert refused.exit_code == 2
    said = " ".join(refused.stderr.split())
    assert "is not a record of raw files of this version: it has no key 'format'" in said
    assert "Delete the folder" in said


def test_a_broken_result_of_tuning_is_not_used(toy: Toy) -> None:
    best = toy.workspace.tuning("mlp") / "best.json"
    best.parent.mkdir(parents=True)
    best.write_text("{")
    assert toy.run("features").exit_code == 0
    trained = toy.run("train", *TINY)
    assert trained.exit_code == 0, trained.output
    assert "it is not used" in " ".join(trained.stderr.split())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("{", "is not a complete JSON file"),
        ("{}", "missing key 'config'"),
        ('{"config": {"preset": "mine"}}', "missing key 'model'"),
    ],
)
def test_a_broken_saved_preset_is_refused(toy: Toy, tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "mine.json"
    if content is not None:
        path.write_text(content)
    refused = toy.run("train", "--preset", str(path))
    assert refused.exit_code == 2
    assert words in " ".join(refused.stderr.split())


def test_the_configuration_of_a_report_can_be_trained_again(toy: Toy) -> None:
    assert toy.run("train", *TINY).exit_code == 0
    run = toy.only_run()
    again = toy.run("train", "--preset", str(run.report), "--workers", "1")
    assert again.exit_code == 0, again.output
    assert f"{run.name} is finished" in " ".join(again.stderr.split())


@pytest.mark.parametrize("name", ["model/weights.safetensors", "model/model.json"])
def test_a_changed_file_of_a_run_is_refused_and_the_advice_leads_on(toy: Toy, tmp_path: Path, name: str) -> None:
    toy.submit("--no-upload")
    run, submission = toy.only_run(), toy.submission().read_bytes()
    rows = str(toy.workspace.raw / "test.csv")
    predicted = tmp_path / "p.csv"
    assert toy.run("predict", run.name, rows, "-o", str(predicted)).exit_code == 0
    wanted = predicted.read_bytes()
    content = bytearray((run.path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (run.path / name).write_bytes(content)
    refused = toy.run("predict", run.name, rows, "-o", str(predicted))
    assert refused.exit_code == 2
    said = " ".join(refused.stderr.split())
    assert "was changed after it was written" in said
    assert f"train --preset {run.report} -c toy` makes it again" in said
    again = toy.run("train", "--preset", str(run.report), "--workers", "1", "--device", "cpu")
    assert again.exit_code == 0, again.output
    assert f"{run.name} is trained again" in " ".join(again.stderr.split())
    assert toy.run("predict", run.name, rows, "-o", str(predicted)).exit_code == 0
    assert predicted.read_bytes() == wanted
    toy.submit("--no-upload")
    assert toy.submission().read_bytes() == submission


@pytest.mark.parametrize("name", ["oof.parquet", "test.parquet", "history.parquet"])
def test_a_run_with_a_changed_table_is_trained_again(toy: Toy, name: str) -> None:
    assert toy.run("train", *TINY).exit_code == 0
    path = toy.only_run().path / name
    whole = path.read_bytes()
    path.write_bytes(whole.replace(whole[10:20], whole[10:20][::-1], 1))
    again = toy.run("train", *TINY)
    assert again.exit_code == 0, again.output
    assert f"{name} was changed after it was written" in " ".join(again.stderr.split())
    assert path.read_bytes() == whole or name == "history.parquet"  # which holds times


def test_a_broken_refit_is_made_again(toy: Toy) -> None:
    refit = [*TINY, "--set", "final=refit"]
    assert toy.run("final", *refit).exit_code == 0
    submission = toy.submission().read_bytes()
    weights = toy.only_run().final_model / "weights.safetensors"
    whole = weights.read_bytes()
    for damaged in (b"", whole[:-8], whole[:-1] + b"?"):
        weights.write_bytes(damaged)
        refused = toy.run("predict", toy.only_run().name, str(toy.workspace.raw / "test.csv"))
        assert refused.exit_code == 2, refused.output
        again = toy.run("final", *refit)
        assert again.exit_code == 0, again.output
        assert weights.read_bytes() == whole
        assert toy.submission().read_bytes() == submission


def test_a_run_that_is_trained_again_is_refitted_again(toy: Toy) -> None:
    """Otherwise `predict` would use the fold models, and not the model that was submitted."""
    refit = [*TINY, "--set", "final=refit"]
    assert toy.run("final", *refit).exit_code == 0
    run = toy.only_run()
    models = {path.name: path.read_bytes() for path in run.final_model.iterdir()}
    run.oof.write_bytes(b"")
    assert toy.run("final", *refit).exit_code == 0
    assert {path.name: path.read_bytes() for path in run.final_model.iterdir()} == models


def test_a_run_of_an_older_version_is_trained_again_and_one_of_a_newer_version_is_kept(toy: Toy) -> None:
    assert toy.run("train", *TINY).exit_code == 0
    report = toy.only_run().report
    raw = json.loads(report.read_text())
    report.write_text(json.dumps(raw | {"format": raw["format"] + 1}))
    kept = report.read_bytes()
    refused = toy.run("train", *TINY)
    assert refused.exit_code == 2
    assert "was made by a newer version of this program" in " ".join(refused.stderr.split())
    assert "Update the program" in refused.stderr
    assert report.read_bytes() == kept
    assert toy.run("runs").exit_code == 0
    report.write_text(json.dumps(raw | {"format": raw["format"] - 1}))
    again = toy.run("train", *TINY)
    assert again.exit_code == 0, again.output
    said = " ".join(again.stderr.split())
    assert "was made by an older version of this program" in said
    assert "the run is trained again" in said


def test_a_changed_solution_scores_nothing(tmp_path: Path) -> None:
    toy = Toy(Workspace(tmp_path, "spiral"))
    assert toy.run("submit", "--model", "baseline").exit_code == 0
    assert toy.run("score", str(toy.submission())).exit_code == 0
    toy.workspace.solution.write_text(toy.workspace.solution.read_text().replace(",a", ",b"))
    refused = toy.run("score", str(toy.submission()))
    assert refused.exit_code == 2
    assert "was changed after it was made" in " ".join(refused.stderr.split())
