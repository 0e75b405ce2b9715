"""Pack a run and the project itself into one script that Kaggle can execute, with its metadata.

Knows specs, run configurations and the project's own files; knows nothing of Kaggle's API.
"""

from __future__ import annotations

import base64
import io
import json
import re
import tomllib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

from pipeline.base import files
from pipeline.base.errors import SpecError
from pipeline.competition.workspace import Workspace
from pipeline.config.run import RunConfig
from pipeline.config.spec import CompetitionSpec
from pipeline.kaggle.notebook import script

CODE_FILE, METADATA_FILE = "final_training.py", "kernel-metadata.json"
SUBMISSION_FILE, MANIFEST_FILE = "submission.csv", "manifest.json"  # written by the script
GPU = "NvidiaTeslaT4"  # Kaggle's "GPU T4 x2"
MAX_CHARACTERS = 1_000_000  # Kaggle's limit for a notebook's source
MAX_TITLE = 50
TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # of every file in the archive, so that the same files give the same bytes
DISTRIBUTION = "kaggle-pipeline"
REQUIRED = (
    *("torch", "pandas", "numpy", "scikit-learn", "scipy", "threadpoolctl", "joblib", "pyarrow", "pydantic"),
    *("typer", "rich", "safetensors", "tensorboard"),
)


@dataclass(frozen=True)
class Bundle:
    """A script and its metadata; `id` is the sha256 of everything that determines what it does."""

    id: str
    run: str
    text: str
    metadata: dict[str, Any]

    @property
    def slug(self) -> str:
        """The notebook's name at Kaggle, without its owner."""
        return str(self.metadata["id"]).split("/")[-1]

    def owned_by(self, user: str) -> Bundle:
        """Return the bundle as a notebook of `user`."""
        return replace(self, metadata=self.metadata | {"id": f"{user}/{self.slug}"})

    def write(self, folder: Path) -> Path:
        """Write script and metadata and return the script's path."""
        files.write_text(folder / CODE_FILE, self.text)
        files.write_json(folder / METADATA_FILE, self.metadata)
        return folder / CODE_FILE


def make_bundle(
    workspace: Workspace,
    spec: CompetitionSpec,
    config: RunConfig,
    *,
    packages: Sequence[str] = (),
    wheels: Sequence[str] = (),
    has_internet: bool = False,
) -> Bundle:
    """Return the bundle of a run whose models need `packages` beyond those that every run needs.

    `wheels` are datasets (owner/name) with packages that Kaggle lacks. Raises SpecError.
    """
    facts = {
        "competition": workspace.competition,
        "slug": spec.data_slug,
        "run": config.run_name,
        "train": spec.files.train,
        "test": spec.files.test,
        "requirements": requirements_of(packages),
        "internet": has_internet,
    }
    payload = base64.encodebytes(_archive(workspace, spec, config)).decode()
    notebook = _metadata(workspace.competition, spec, wheels, has_internet)
    template = Path(script.__file__).read_text(encoding="utf-8")
    identity = files.sha256_of_json([template, facts, payload, notebook])
    text = _replaced(template, 'FACTS = "{}"', f"FACTS = {json.dumps({'id': identity, **facts})!r}")
    text = _replaced(text, 'PAYLOAD = ""', f'PAYLOAD = """\n{payload}"""')
    if len(text) > MAX_CHARACTERS:
        what = f"the bundle has {len(text)} characters, Kaggle accepts {MAX_CHARACTERS}"
        hint = "Make a file named in the spec smaller (feature_function, folds.file)."
        raise SpecError(what, where=str(workspace.folder), hint=hint)
    return Bundle(identity, config.run_name, text, notebook)


def requirements_of(packages: Sequence[str]) -> dict[str, str]:
    """Return the packages a final training imports -> the minimum version, "0" if the project states none."""
    pairs = (re.match(r"([\w.-]+)[^;]*?>=([\d.]+)", line) for line in _stated_requirements())
    minimum = {found[1]: found[2] for found in pairs if found}
    return {name: minimum.get(name, "0") for name in (*REQUIRED, *packages)}


def _stated_requirements() -> list[str]:
    """Return the project's dependencies, preferably from a checkout, which may be newer than the installation."""
    project_file = Path(__file__).parents[3] / "pyproject.toml"
    if project_file.is_file():
        project = tomllib.loads(project_file.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == DISTRIBUTION:
            return [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    try:
        return metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []


def _metadata(competition: str, spec: CompetitionSpec, wheels: Sequence[str], has_internet: bool) -> dict[str, Any]:
    """Return `kernel-metadata.json`. Kaggle derives the slug from the title, so the title is derived from the slug."""
    slug = re.sub(r"[^a-z0-9]+", "-", f"final-{competition}".lower())[:MAX_TITLE].strip("-")
    return {
        "id": f"OWNER/{slug}",
        "title": slug.replace("-", " "),
        "code_file": CODE_FILE,
        "language": "python",
        "kernel_type": "script",
        "is_private": True,
        "enable_gpu": True,
        "machine_shape": GPU,
        "enable_internet": has_internet,
        "competition_sources": [] if spec.dataset else [spec.kaggle_slug],
        "dataset_sources": [*([spec.dataset] if spec.dataset else []), *wheels],
        "kernel_sources": [],
        "model_sources": [],
    }


def _archive(workspace: Workspace, spec: CompetitionSpec, config: RunConfig) -> bytes:
    """Return a zip of the package, the spec with the files it names, and the run: same content, same bytes."""
    package = Path(__file__).parents[2]
    contents = {
        f"project/{package.name}/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in package.rglob("*")
        if path.suffix in {".py", ".toml"}
    }
    home = f"work/data/{workspace.competition}"
    contents[f"{home}/{workspace.spec.name}"] = workspace.spec.read_bytes()
    for name in filter(None, (spec.feature_function, spec.folds.file)):
        inside = _inside(workspace, name)
        contents[f"{home}/{inside}"] = (workspace.folder / inside).read_bytes()
    contents["work/run.json"] = json.dumps({"config": config.model_dump(mode="json")}, sort_keys=True).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in sorted(contents.items()):
            archive.writestr(zipfile.ZipInfo(name, TIMESTAMP), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _inside(workspace: Workspace, name: str) -> str:
    """Return `name` as a path relative to the competition's folder. Raises SpecError if it is outside or missing."""
    folder = workspace.folder.resolve()
    path = (folder / name).resolve()
    if not path.is_file():
        raise SpecError(f"names {name!r}, which does not exist", where=str(workspace.spec))
    if not path.is_relative_to(folder):
        what = f"names {name!r}, which is outside {workspace.folder}"
        hint = "Only files beside the spec are sent to Kaggle; move it there."
        raise SpecError(what, where=str(workspace.spec), hint=hint)
    return path.relative_to(folder).as_posix()


def _replaced(text: str, old: str, new: str) -> str:
    """Return the script's text with one of its constants filled in."""
    assert text.count(f"\n{old}\n") == 1, old
    return text.replace(f"\n{old}\n", f"\n{new}\n")
