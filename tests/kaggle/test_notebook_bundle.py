"""The script Kaggle runs writes the same submission as here, given only folders laid out like Kaggle's."""

from __future__ import annotations

import ast
import base64
import io
import json
import lzma
import os
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

from pipeline.base import files
from pipeline.base.errors import SpecError
from pipeline.config.records import Provenance
from pipeline.config.spec import load_spec
from pipeline.kaggle.notebook import bundle as bundle_module
from pipeline.kaggle.notebook import script
from pipeline.kaggle.notebook.bundle import Bundle, make_bundle, requirements_of
from pipeline.kaggle.notebook.run import OutputManifest
from pipeline.models.registry import packages_of
from pipeline.models.run_configuration import load_run_config
from tests.conftest import TINY, Toy

SAME_RUN = [value for value in TINY[:6] if value != "--set"]
FEATURES = "def add_features(frame):\n    return frame.assign(area_squared=frame['area'] ** 2)\n"


@dataclass
class Kaggle:
    """A folder laid out like Kaggle's."""

    root: Path

    @property
    def given(self) -> Path:
        return self.root / "input"

    @property
    def working(self) -> Path:
        return self.root / "working"

    def add(self, toy: Toy, place: str = "competitions/toy") -> Path:
        """Add the competition's files as an input and return its folder."""
        folder = self.given / place
        folder.mkdir(parents=True)
        for path in toy.workspace.raw.glob("*.csv"):
            (folder / path.name).write_bytes(path.read_bytes())
        return folder

    def add_gpus(self, number: int) -> None:
        """Add a command that lists GPUs; torch still finds none."""
        folder = self.root / "bin"
        folder.mkdir()
        lines = "\n".join(f"echo 'GPU {i}: Tesla T4 (UUID: GPU-{i})'" for i in range(number))
        (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{lines}\n")
        (folder / "nvidia-smi").chmod(0o755)

    def run(self, text: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
        """Run the script in a process without project, credentials or network."""
        path = self.root / "script.py"
        path.write_text(text)
        dead = "http://127.0.0.1:9"
        places = os.pathsep.join([str(self.root / "bin"), os.environ["PATH"]])
        environment = {"PATH": places, "HOME": str(self.root), "http_proxy": dead, "https_proxy": dead}
        environment |= {script.INPUT_VARIABLE: str(self.given), script.WORKING_VARIABLE: str(self.working)}
        done = subprocess.run(
            [python, str(path)], capture_output=True, text=True, env=environment, cwd=self.root, timeout=300
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done


@pytest.fixture
def kaggle(tmp_path: Path) -> Kaggle:
    (tmp_path / "kaggle" / "input").mkdir(parents=True)
    return Kaggle(tmp_path / "kaggle")


def bundle_of(toy: Toy, *overrides: str) -> Bundle:
    config = load_run_config("fast", overrides=[*SAME_RUN, *overrides])
    return make_bundle(toy.workspace, load_spec(toy.workspace.spec), config)


def archive_of(bundle: Bundle) -> zipfile.ZipFile:
    """Return the archive that the script extracts."""
    payload = bundle.text.split('PAYLOAD = """')[1].split('"""')[0]
    return zipfile.ZipFile(io.BytesIO(lzma.decompress(base64.b64decode(payload))))


def facts_of(toy: Toy) -> dict[str, object]:
    (facts,) = [
        ast.literal_eval(node.value)
        for node in ast.parse(bundle_of(toy).text).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FACTS"
    ]
    found: dict[str, object] = json.loads(facts)
    return found


METRIC = """
from helper import POWER


def score(solution, submission, row_id_column_name):
    return ((solution["price"] - submission["price"]).abs() ** POWER).mean()
"""


@pytest.mark.slow
def test_the_script_writes_the_same_submission_as_here(toy: Toy, kaggle: Kaggle) -> None:
    (toy.workspace.folder / "feature_function.py").write_text(FEATURES)
    folds = "\n".join(["id,fold", *(f"{i},{i % 3}" for i in range(1, 65))])
    (toy.workspace.folder / "folds.csv").write_text(folds)
    toy.edit_spec('kind = "shuffled"\nnumber = 4', 'kind = "file"\nfile = "folds.csv"')
    toy.edit_spec('id = "id"', 'id = "id"\nfeature_function = "feature_function.py"')
    toy.edit_spec('metric = "log_rmse"', 'metric = "metric.py:score"')
    (toy.workspace.folder / "metric.py").write_text(METRIC)
    (toy.workspace.folder / "helper.py").write_text("POWER = 2\n")
    toy.submit("--set", "dropout=0.2")
    given = kaggle.add(toy)
    (kaggle.given / "elsewhere").mkdir()
    done = kaggle.run(bundle_of(toy, "dropout=0.2").text)
    assert done.returncode == 0, done.stderr
    assert str(given) in done.stdout
    written = kaggle.working / "submission.csv"
    assert written.read_bytes() == toy.submission().read_bytes()
    assert sorted(path.name for path in kaggle.working.iterdir()) == ["manifest.json", "submission.csv"]
    manifest = OutputManifest.read(kaggle.working / "manifest.json")
    assert manifest.files["submission.csv"].sha256 == files.sha256_of(written)
    here = Provenance.read(toy.submission().with_suffix(".json"))
    same = {"run", "metric", "cv_score", "config", "raw_files", "sha256"}
    assert manifest.provenance.model_dump(include=same) == here.model_dump(include=same)


def test_equal_runs_have_equal_bundles_and_others_differ(toy: Toy) -> None:
    first = bundle_of(toy)
    assert bundle_of(toy).text == first.text
    assert bundle_of(toy, "lr=0.5").id != first.id
    toy.edit_spec('"code"', '"code", "year"')
    assert bundle_of(toy).id != first.id


def test_no_data_and_no_secret_is_in_the_bundle(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_hidden")
    (toy.workspace.folder / "kaggle.json").write_text("{}")
    toy.submit("--no-upload")
    bundle = bundle_of(toy)
    assert "KGAT_hidden" not in bundle.text
    with archive_of(bundle) as archive:
        names = archive.namelist()
    assert {name for name in names if name.startswith("work/")} == {"work/data/toy/competition.toml", "work/run.json"}
    assert all(name.startswith("project/pipeline/") for name in names if not name.startswith("work/"))


@pytest.mark.parametrize("preset", ["fast", "seed-linear", "parts"])
def test_the_bundle_contains_the_run(toy: Toy, preset: str) -> None:
    path = toy.workspace.root / "parts.toml"
    path.write_text('model = "mlp"\nseeds = 2\n[[parts]]\nmodel = "linear"\nweight = 2\n[[parts]]\nmodel = "ridge"\n')
    config = load_run_config(str(path) if preset == "parts" else preset)
    bundle = make_bundle(toy.workspace, load_spec(toy.workspace.spec), config)
    with archive_of(bundle) as archive:
        archive.extract("work/run.json", toy.workspace.root)
    assert load_run_config(str(toy.workspace.root / "work" / "run.json")) == config
    assert bundle.run == config.run_name


def test_a_file_outside_the_competitions_folder_is_not_sent(toy: Toy) -> None:
    (toy.workspace.root / "secret.py").write_text("")
    toy.edit_spec('id = "id"', 'id = "id"\nfeature_function = "../../secret.py"')
    with pytest.raises(SpecError, match="which is outside"):
        bundle_of(toy)
    toy.edit_spec("../../secret.py", "absent.py")
    with pytest.raises(SpecError, match="does not exist"):
        bundle_of(toy)


def test_a_bundle_that_is_too_large_is_refused(toy: Toy) -> None:
    lines = "".join(f"# {hash((i, 'salt'))}\n" for i in range(80_000))
    (toy.workspace.folder / "feature_function.py").write_text(lines)
    toy.edit_spec('id = "id"', 'id = "id"\nfeature_function = "feature_function.py"')
    with pytest.raises(SpecError, match="Kaggle accepts 1000000"):
        bundle_of(toy)


def test_title_and_slug_are_the_same_name(toy: Toy) -> None:
    metadata = bundle_of(toy).owned_by("ada").metadata
    assert metadata["id"] == f"ada/{metadata['title'].replace(' ', '-')}"
    assert 5 <= len(metadata["title"]) <= 50
    assert metadata["enable_internet"] is False


def test_the_error_about_missing_files_lists_the_inputs(toy: Toy, kaggle: Kaggle) -> None:
    (kaggle.given / "wheels").mkdir()
    done = kaggle.run(bundle_of(toy).text)
    assert done.returncode == 1
    assert "(found: wheels). Add the input toy" in done.stderr
    assert not kaggle.working.exists()


def test_among_several_folders_the_one_named_after_the_competition_is_used(toy: Toy, kaggle: Kaggle) -> None:
    facts = facts_of(toy)
    kaggle.add(toy, "mine/a")
    kaggle.add(toy, "mine/b")
    with pytest.raises(SystemExit, match="several folders"):
        script.find_files(kaggle.given, facts)
    named = kaggle.add(toy, "toy/files")
    assert script.find_files(kaggle.given, facts) == named


@pytest.mark.parametrize("names", [("train.csv.gz", "test.csv"), ("train.parquet", "test.parquet")])
def test_files_are_found_in_every_form_the_pipeline_reads(toy: Toy, kaggle: Kaggle, names: tuple[str, str]) -> None:
    for name in names:
        (kaggle.given / name).touch()
    assert script.find_files(kaggle.given, facts_of(toy)) == kaggle.given


def test_missing_packages_are_named_with_the_remedy(toy: Toy, kaggle: Kaggle, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"pandas": "2.2.3", "torch": "2.0", "numpy": "2.10.0"}
    monkeypatch.setattr(script.metadata, "version", lambda name: installed[name])
    requirements = {"pandas": "3.0", "torch": "2.11", "numpy": "2.9"}
    assert script.missing_packages(requirements) == {"pandas": "2.2.3"}
    facts = facts_of(toy) | {"requirements": requirements}
    with pytest.raises(SystemExit, match=r"pandas 2\.2\.3") as raised:
        script.install_missing(facts, kaggle.given, kaggle.root / "packages")
    assert "pip download" in str(raised.value)
    assert "'pandas>=3.0'" in str(raised.value)
    assert "kernel --competition toy --wheels" in str(raised.value)


@pytest.mark.slow
def test_missing_packages_are_installed_from_attached_wheels(
    toy: Toy, kaggle: Kaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = kaggle.given / "my-wheels"
    wheels.mkdir()
    info = "toy_package-2.0.dist-info"
    with zipfile.ZipFile(wheels / "toy_package-2.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("toy_package.py", "VALUE = 7\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: toy-package\nVersion: 2.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    target = kaggle.root / "packages"
    script.install_missing(facts_of(toy) | {"requirements": {"toy-package": "1.5"}}, kaggle.given, target)
    assert (target / "toy_package.py").exists()
    monkeypatch.setattr(script.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1))
    with pytest.raises(SystemExit, match="pip could not install other-package"):
        script.install_missing(facts_of(toy) | {"requirements": {"other-package": "1"}}, kaggle.given, target)


def test_the_bundle_of_a_forest_contains_the_package_that_stores_it(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_run_config("fast", model="random_forest")
    assert "skops" not in requirements_of(packages_of(config))
    spec = load_spec(toy.workspace.spec)
    with archive_of(make_bundle(toy.workspace, spec, config, packages=packages_of(config))) as archive:
        archive.extractall(tmp_path / "forest")
    project = tmp_path / "forest" / "project"
    assert list(project.glob("skops-*.dist-info/**/LICENSE*"))
    code = "import skops.io; print(skops.io.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(project)}, capture_output=True, text=True
    )
    assert done.stdout.startswith(str(project)), done.stderr
    assert not any(path.name == "tests" for path in project.rglob("*"))
    with archive_of(bundle_of(toy)) as archive:
        assert not any("skops" in name.split("/")[1] for name in archive.namelist() if name.startswith("project/"))

    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(bundle_module.metadata, "files", absent)
    with pytest.raises(SpecError, match="skops, which is sent with this model, is not installed"):
        make_bundle(toy.workspace, spec, config, packages=["skops"])


def test_the_requirements_are_the_projects() -> None:
    stated = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    lines = [*stated["dependencies"], *stated["optional-dependencies"]["boosting"]]
    asked = requirements_of(packages_of(load_run_config("fast", model="lightgbm")))
    assert "lightgbm" in asked
    assert not {"lightgbm", "skops"} & requirements_of(packages_of(load_run_config("fast"))).keys()
    assert all(any(line.startswith(f"{name}>={least}") for line in lines) for name, least in asked.items())


def test_the_script_needs_only_the_standard_library() -> None:
    tree = ast.parse(Path(script.__file__).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names
