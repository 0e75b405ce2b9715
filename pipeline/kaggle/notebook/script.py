"""The script Kaggle runs: unpack the project, find the competition's files, train, write submission and manifest.

Uses only the standard library and imports nothing of the project: it is sent as one file with FACTS and PAYLOAD filled
in.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

# Filled in by `pipeline.kaggle.notebook.bundle`.
FACTS = "{}"
PAYLOAD = ""

# Variables that replace Kaggle's folders by others of the same layout.
INPUT_VARIABLE, WORKING_VARIABLE = "PIPELINE_KERNEL_INPUT", "PIPELINE_KERNEL_WORKING"
OLDEST_PYTHON = (3, 11)
MAX_DEPTH = 5  # levels of folders to search below the input folder
MAY_BE_OLDER = {"torch"}  # too large to attach; an older version is reported and used
IMAGES = "train-images-idx3-ubyte"


def main(facts: dict[str, Any], payload: str) -> None:
    """Run the bundle. Exits with a message and code 1 if it cannot."""
    started = time.monotonic()
    if tuple(sys.version_info) < OLDEST_PYTHON:
        raise SystemExit(
            f"Python {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or newer is needed, this is {sys.version.split()[0]}"
        )
    inputs = Path(os.environ.get(INPUT_VARIABLE, "/kaggle/input"))
    working = Path(os.environ.get(WORKING_VARIABLE, "/kaggle/working"))
    say(f"bundle {facts['id'][:12]}: run {facts['run']} of {facts['competition']}")
    files = find_files(inputs, facts)
    say(f"the competition's files: {files}")
    gpus = gpu_names()
    say(describe(gpus, facts))
    with tempfile.TemporaryDirectory(prefix="pipeline-") as temporary:
        folder = Path(temporary)
        with zipfile.ZipFile(io.BytesIO(lzma.decompress(base64.b64decode(payload)))) as archive:
            archive.extractall(folder)  # `project/` is the package; `work/` has the spec and the run
        find_weights(facts, inputs, folder / "weights")
        install_missing(facts, inputs, folder / "packages")
        submission = train(facts, files, folder, len(gpus))
        write_output(facts, submission, working, elapsed_s=time.monotonic() - started)


def say(message: str) -> None:
    """Print one line to the notebook's log."""
    print(f"kernel: {message}", flush=True)


def find_files(inputs: Path, facts: dict[str, Any]) -> Path:
    """Return the folder below `inputs` with the competition's files; among several, the one named after it."""
    found = [folder for folder in walk(inputs) if holds_files(folder, facts)]
    named = [folder for folder in found if facts["slug"].split("/")[-1] in folder.relative_to(inputs).parts]
    best = named or found
    if not best:
        seen = ", ".join(sorted(path.name for path in inputs.iterdir())) if inputs.is_dir() else "no such folder"
        raise SystemExit(
            f"no folder below {inputs} contains {' and '.join(facts['files'])} (found: {seen or 'nothing'}). "
            f"Add the input {facts['slug']} to the notebook; you must have accepted its rules."
        )
    if len(best) > 1 and not named:
        raise SystemExit(
            f"several folders contain {' and '.join(facts['files'])}: {', '.join(map(str, best))}. "
            f"Remove the inputs other than {facts['slug']}."
        )
    return best[0]


def walk(top: Path) -> Iterator[Path]:
    """Yield `top` and the folders below it, level by level, down to MAX_DEPTH."""
    level = [top] if top.is_dir() else []
    for _ in range(MAX_DEPTH + 1):
        yield from level
        level = sorted(child for folder in level for child in folder.iterdir() if child.is_dir())


def holds_files(folder: Path, facts: dict[str, Any]) -> bool:
    """Return whether `folder` contains all raw files under one of their names, or images."""
    if any((folder / f"{IMAGES}{end}").is_file() for end in ("", ".gz")):
        return True
    return all(any((folder / name).is_file() for name in names) for names in facts["files"].values())


def gpu_names() -> list[str]:
    """Return the names of the GPUs."""
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout.splitlines()
    return [re.sub(r" \(UUID.*", "", line) for line in listed if line.startswith("GPU")]


def describe(gpus: list[str], facts: dict[str, Any]) -> str:
    """Describe the GPUs in one line, and how many of them train."""
    if not gpus:
        return "no GPU: training on the CPU"
    n_used = min(len(gpus), facts["processes"])
    return "; ".join(gpus) + (f"; {n_used} of {len(gpus)} train" if len(gpus) > 1 else "")


def missing_packages(requirements: dict[str, str]) -> dict[str, str]:
    """Return the packages that are missing or older than required -> the installed version, "" if missing."""
    found = {}
    for name, minimum in requirements.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = ""
            continue
        if numbers(version) < numbers(minimum):
            if name in MAY_BE_OLDER:
                say(f"{name} {version} is older than {minimum}, the oldest version tested; continuing")
            else:
                found[name] = version
    return found


def numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version."""
    parts = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in parts.group().split(".")) if parts else ()


def install_missing(facts: dict[str, Any], inputs: Path, target: Path) -> None:
    """Install missing packages into `target`, from wheels below `inputs` or, if allowed, from the internet."""
    missing = missing_packages(facts["requirements"])
    if not missing:
        return
    wanted = [f"{name}>={facts['requirements'][name]}" for name in missing]
    found = ", ".join(f"{name} {version or '(missing)'}" for name, version in missing.items())
    problem = f"missing or too old: {found}"
    wheels = [folder for folder in walk(inputs) if any(folder.glob("*.whl"))]
    if not wheels and not facts["internet"]:
        raise SystemExit(f"{problem}.\n{how_to_attach(wanted, facts)}")
    places = [option for folder in wheels for option in ("--find-links", str(folder))]
    source = ["--no-index", *places] if wheels else []
    say(f"{problem}; installing from {', '.join(map(str, wheels)) or 'the internet'}")
    # an environment of its own: pip counts what the image has, replaces nothing of it and installs only what is lacking
    environment = target.with_name("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *source, *wanted]
    here = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    if subprocess.run(command, env=here, check=False).returncode:
        raise SystemExit(f"pip could not install {', '.join(wanted)}.\n{how_to_attach(wanted, facts)}")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    target.symlink_to(environment / "lib" / version / "site-packages", target_is_directory=True)


def find_weights(facts: dict[str, Any], inputs: Path, links: Path) -> None:
    """Link the pretrained weights that the run reads into `links`, whatever their folders below `inputs` are called."""
    links.mkdir()
    for name, contents in facts["weights"].items():
        found = [place for place in places_of(name, contents, inputs) if holds(place, contents)]
        if not found:
            files = ", ".join(f"{file or name} (sha256 {sha[:12]})" for file, sha in list(contents.items())[:4]) or name
            raise SystemExit(
                f"no input has the weights {name}: {files}.\nMake a Kaggle dataset of them "
                f"(https://www.kaggle.com/datasets/new) and attach it: python -m pipeline kernel --competition "
                f"{facts['competition']} --weights OWNER/NAME"
            )
        for place in {place.name: place for place in found}.values() if name.endswith("*") else found[:1]:
            say(f"weights {name}: {place}")
            link = links / (place.name if name.endswith("*") else name)
            link.symlink_to(place.resolve(), target_is_directory=place.is_dir())


def places_of(name: str, contents: dict[str, str], inputs: Path) -> Iterator[Path]:
    """Yield what may be the weights: all folders, or what has their name if they are a file or not known."""
    for folder in walk(inputs):
        if contents and "" not in contents:
            yield folder
        elif name.endswith("*"):
            yield from sorted(path for path in folder.glob(name) if path.is_file())
        elif (folder / name).exists():
            yield folder / name


def holds(place: Path, contents: dict[str, str]) -> bool:
    """Return whether the file, or the files in the folder, have the contents."""
    if not all((place / name).is_file() for name in contents):
        return False
    return all(hashlib.sha256((place / name).read_bytes()).hexdigest() == sha for name, sha in contents.items())


def how_to_attach(wanted: list[str], facts: dict[str, Any]) -> str:
    """Explain how to provide missing packages."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    quoted = " ".join(f"'{one}'" for one in wanted)
    return (
        f"On your machine: pip download --only-binary=:all: --platform manylinux_2_28_x86_64 --python-version {python} "
        f"-d wheels {quoted}\nThen create a Kaggle dataset from the folder (https://www.kaggle.com/datasets/new) and "
        f"attach it: python -m pipeline kernel --competition {facts['competition']} --wheels OWNER/NAME\n"
        "With --wheels auto it does that by itself.\n"
        "If the competition allows internet access, use --internet instead."
    )


def train(facts: dict[str, Any], files: Path, folder: Path, n_gpus: int) -> Path:
    """Run features, k-fold and final training through the project's command line; return the submission it wrote."""
    work = folder / "work"
    competition = str(facts["competition"])
    data = folder / "data"
    data.mkdir()
    (data / competition).symlink_to(files.resolve(), target_is_directory=True)
    paths = [str(folder / "project"), str(folder / "packages"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONUNBUFFERED": "1",
        "PIPELINE_DATA_DIR": str(data),
        "PIPELINE_WEIGHTS": str(folder / "weights"),
    }
    where = ["--competition", competition, "--root", str(work)]
    command = [sys.executable, "-m", "pipeline", "final", *where, "--preset", str(work / facts["preset"])]
    n_processes = min(n_gpus, facts["processes"])
    if n_processes > 1:
        subprocess.run([sys.executable, "-m", "pipeline", "features", *where], env=environment, cwd=work, check=False)
        share(command, environment, work, n_processes)
        environment["PIPELINE_SHARE"] = f"/{n_processes}"
    done = subprocess.run(command, env=environment, cwd=work, check=False)
    submission = work / "submissions" / competition / f"{facts['run']}.csv"
    if done.returncode or not submission.is_file():
        raise SystemExit(f"training failed with exit code {done.returncode}; see its last lines above")
    return submission


def share(command: list[str], environment: dict[str, str], work: Path, n_processes: int) -> None:
    """Train a share of the run on each GPU. What a process leaves undone, the last one trains."""
    n_workers = max(1, (os.cpu_count() or 1) // n_processes)
    running = []
    for number in range(n_processes):
        own = {"CUDA_VISIBLE_DEVICES": str(number), "PIPELINE_SHARE": f"{number}/{n_processes}"}
        options = [*command, "--workers", str(n_workers)]
        running.append(subprocess.Popen(options, env=environment | own, cwd=work))
    for number, process in enumerate(running):
        if process.wait():
            say(f"the process on GPU {number} ended with exit code {process.returncode}; another trains its share")


def write_output(facts: dict[str, Any], submission: Path, working: Path, *, elapsed_s: float) -> None:
    """Write `submission.csv`, then `manifest.json` with its sha256."""
    working.mkdir(parents=True, exist_ok=True)
    content = submission.read_bytes()
    (working / "submission.csv").write_bytes(content)
    manifest = {
        "format": 1,
        "bundle": facts["id"],
        "files": {"submission.csv": {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}},
        "provenance": json.loads(submission.with_suffix(".json").read_text(encoding="utf-8")),
        "elapsed_s": round(elapsed_s, 1),
    }
    (working / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    say(f"wrote {working / 'submission.csv'} and its manifest in {elapsed_s:.0f} s")


if __name__ == "__main__":
    main(json.loads(FACTS), PAYLOAD)
