"""Pack a run and the project itself into one script that Kaggle can execute, with its metadata.

Knows specs, run configurations and the project's own files; knows nothing of Kaggle's API.
"""

from __future__ import annotations

import base64
import io
import json
import lzma
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
from pipeline.base.user_code import files_of
from pipeline.competition.dependencies import run_name
from pipeline.competition.tables.formats import alternatives
from pipeline.competition.workspace import Workspace
from pipeline.config.run import RunConfig
from pipeline.config.run_report import PLAN_FILE, EnsemblePlan
from pipeline.config.spec import CompetitionSpec
from pipeline.kaggle.notebook import script
from pipeline.kaggle.notebook.pretrained import weights_read

CODE_FILE, METADATA_FILE = "final_training.py", "kernel-metadata.json"
SUBMISSION_FILE, MANIFEST_FILE = "submission.csv", "manifest.json"  # written by the script
GPU = "NvidiaTeslaT4"  # Kaggle's "GPU T4 x2"
MAX_CHARACTERS = 1_000_000  # Kaggle's limit for a notebook's source
NO_ACCELERATOR = "none"
MIN_TITLE, MAX_TITLE = 5, 50
TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # of every file in the archive, so that the same files give the same bytes
DISTRIBUTION = "kaggle-pipeline"
BUNDLED = {"skops": ("__init__.py", "_version.py", "io/", "utils/")}  # not in Kaggle's image, small, without C
REQUIRED = (
    *("torch", "pandas", "numpy", "scikit-learn", "scipy", "threadpoolctl", "joblib", "pyarrow", "pydantic"),
    *("typer", "rich", "safetensors", "tensorboard"),
)


@dataclass(frozen=True)
class Options:
    """How the notebook runs. `wheels` and `weights` are datasets (owner/name) with packages and pretrained weights."""

    wheels: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    has_internet: bool = False
    accelerator: str = GPU
    timeout_h: float | None = None  # None: Kaggle's own limit
    title: str | None = None  # None: `final <competition>`


DEFAULT_OPTIONS = Options()


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

    @property
    def name(self) -> str:
        """The notebook's name at Kaggle, `owner/slug`."""
        return str(self.metadata["id"])

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
    trained: RunConfig | EnsemblePlan,
    *,
    packages: Sequence[str] = (),
    n_processes: int = 1,
    options: Options = DEFAULT_OPTIONS,
) -> Bundle:
    """Return the bundle of a run, or of the members of an ensemble.

    Its models need `packages` beyond those that every run needs, and gain from `n_processes` with a GPU each. Raises
    SpecError.
    """
    if spec.extra_rows and spec.dataset is None:
        what = f"the notebook would not find {spec.extra_rows[0].file}, which is no file of the competition"
        hint = 'Submit the CSV made here, or put all raw files in a dataset at Kaggle: dataset = "OWNER/NAME".'
        raise SpecError(what, where="[[extra_rows]]", hint=hint)
    run = trained.run if isinstance(trained, EnsemblePlan) else run_name(workspace, spec, trained)
    config = trained.config if isinstance(trained, EnsemblePlan) else trained
    pretrained = weights_read(workspace, spec, config)
    facts = {
        "competition": workspace.competition,
        "slug": spec.data_slug,
        "run": run,
        "preset": _preset_file(trained)[0],
        "files": {name: alternatives(name) for key, name in spec.raw_names.items() if key != "sample_submission"},
        "processes": n_processes,
        "requirements": requirements_of(packages),
        "internet": options.has_internet,
        "weights": {name: one.files for name, one in pretrained.items()},
    }
    payload = base64.encodebytes(_archive(workspace, spec, trained, packages)).decode()
    notebook = _metadata(workspace.competition, spec, options)
    template = Path(script.__file__).read_text(encoding="utf-8")
    identity = files.sha256_of_json([template, facts, payload, notebook])
    text = _replaced(template, 'FACTS = "{}"', f"FACTS = {json.dumps({'id': identity, **facts})!r}")
    text = _replaced(text, 'PAYLOAD = ""', f'PAYLOAD = """\n{payload}"""')
    if len(text) > MAX_CHARACTERS:
        what = f"the bundle has {len(text)} characters, Kaggle accepts {MAX_CHARACTERS}"
        hint = "Make a file named in the spec smaller (feature_function, folds.file)."
        raise SpecError(what, where=str(workspace.folder), hint=hint)
    return Bundle(identity, run, text, notebook)


def requirements_of(packages: Sequence[str]) -> dict[str, str]:
    """Return the packages a final training imports -> the minimum version, "0" if the project states none."""
    pairs = (re.match(r"([\w.-]+)[^;]*?>=([\d.]+)", line) for line in _stated_requirements())
    minimum = {found[1]: found[2] for found in pairs if found}
    return {name: minimum.get(name, "0") for name in (*REQUIRED, *packages) if name not in BUNDLED}


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


def _metadata(competition: str, spec: CompetitionSpec, options: Options) -> dict[str, Any]:
    """Return `kernel-metadata.json`. Kaggle derives the slug from the title, so the title is derived from the slug."""
    slug = slug_of_title(options.title or f"final-{competition}")
    _check_accelerator(options.accelerator)
    return {
        "id": f"OWNER/{slug}",
        "title": slug.replace("-", " "),
        "code_file": CODE_FILE,
        "language": "python",
        "kernel_type": "script",
        "is_private": True,
        "enable_gpu": options.accelerator != NO_ACCELERATOR,
        "machine_shape": "" if options.accelerator == NO_ACCELERATOR else options.accelerator,
        "enable_internet": options.has_internet,
        "competition_sources": [] if spec.dataset else [spec.kaggle_slug],
        "dataset_sources": [*([spec.dataset] if spec.dataset else []), *options.wheels, *options.weights],
        "kernel_sources": [],
        "model_sources": [],
    } | ({} if options.timeout_h is None else {"session_timeout_seconds": round(3600 * options.timeout_h)})


def slug_of_title(title: str) -> str:
    """Return the name that Kaggle gives a notebook with this title. Raises SpecError if it is too short."""
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower())[:MAX_TITLE].strip("-")
    if len(slug) < MIN_TITLE:
        what = f"the title {title!r} is too short: Kaggle asks for {MIN_TITLE} letters or digits"
        raise SpecError(what, where="--title")
    return slug


def _check_accelerator(name: str) -> None:
    """Raise SpecError for a machine that no run can use. Which of the others there are depends on the account."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", name):
        what, hint = f"{name!r} is not a machine's name", f"For example {GPU}, NvidiaL4 or {NO_ACCELERATOR}."
    elif "P100" in name:
        what, hint = "Kaggle has retired the P100", f"Use {GPU}."
    elif name.lower().startswith("tpu"):
        what, hint = "the models do not train on TPUs", f"Use {GPU} or {NO_ACCELERATOR}."
    else:
        return
    raise SpecError(what, where="--accelerator", hint=hint)


def _preset_file(trained: RunConfig | EnsemblePlan) -> tuple[str, dict[str, Any]]:
    """Return the name and content of the file that tells the notebook what to train."""
    if isinstance(trained, EnsemblePlan):
        return PLAN_FILE, trained.model_dump(mode="json")
    return "run.json", {"config": trained.model_dump(mode="json")}


def _archive(
    workspace: Workspace, spec: CompetitionSpec, trained: RunConfig | EnsemblePlan, packages: Sequence[str]
) -> bytes:
    """Return the package, the spec with the files it names, and the run: same content, same bytes.

    It is a zip whose files are compressed together (LZMA), to a third of what each for itself would take.
    """
    package = Path(__file__).parents[2]
    contents = {
        f"project/{package.name}/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in package.rglob("*")
        if path.suffix in {".py", ".toml"}
    }
    for name in BUNDLED.keys() & set(packages):
        contents |= {f"project/{path}": content for path, content in _installed(name).items()}
    home = f"work/data/{workspace.competition}"
    contents[f"{home}/{workspace.spec.name}"] = workspace.spec.read_bytes()
    for inside in _files_of_spec(workspace, spec):
        contents[f"{home}/{inside}"] = (workspace.folder / inside).read_bytes()
    preset, settings = _preset_file(trained)
    contents[f"work/{preset}"] = json.dumps(settings, sort_keys=True).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(contents.items()):
            archive.writestr(zipfile.ZipInfo(name, TIMESTAMP), content)
    return lzma.compress(buffer.getvalue(), preset=9)


def _files_of_spec(workspace: Workspace, spec: CompetitionSpec) -> list[str]:
    """The files that the spec names, and those beside them that its Python files import."""
    names = filter(None, (spec.feature_function, spec.metric_file, spec.folds.file))
    inside = {name: (workspace.folder / _inside(workspace, name)).resolve() for name in names}
    paths = [path for one in inside.values() for path in (files_of(one) if one.suffix == ".py" else [one])]
    return [path.relative_to(workspace.folder.resolve()).as_posix() for path in paths]


def _installed(name: str) -> dict[str, bytes]:
    """Return the modules of an installed package that a run imports, and its licence. Raises SpecError."""
    try:
        installed = metadata.files(name) or []
    except metadata.PackageNotFoundError:
        hint = f"Run `make setup` or `pip install {name}`."
        raise SpecError(f"the package {name}, which is sent with this model, is not installed", hint=hint) from None
    wanted = tuple(f"{name}/{part}" for part in BUNDLED[name])
    return {
        path.as_posix(): Path(str(path.locate())).read_bytes()
        for path in installed
        if (path.suffix == ".py" and path.as_posix().startswith(wanted) and "tests" not in path.parts)
        or (".dist-info" in path.parts[0] and path.name.startswith(("LICENSE", "METADATA")))
    }


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
