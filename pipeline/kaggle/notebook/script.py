"""What Kaggle runs: unpack the project, find the competition's files, train, write the submission and its manifest.

Standard library alone, nothing of the project: its text is sent as one file, with FACTS and PAYLOAD filled in.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

# Filled in by `pipeline.kaggle.notebook`.
FACTS = "{}"
PAYLOAD = ""

# A folder of the same shape stands in for Kaggle's where these name one.
INPUT_VARIABLE, WORKING_VARIABLE = "PIPELINE_KERNEL_INPUT", "PIPELINE_KERNEL_WORKING"
OLDEST_PYTHON = (3, 11)
MAX_DEPTH = 5  # folders under the input folder that are searched
MAY_BE_OLDER = {"torch"}  # too large to be attached; an older one is said, and used
IMAGES = "train-images-idx3-ubyte"


def main(facts: dict[str, Any], payload: str) -> None:
    """Run the bundle. Ends the program with a message and exit code 1 when it cannot."""
    started = time.monotonic()
    if tuple(sys.version_info) < OLDEST_PYTHON:
        raise SystemExit(
            f"Python {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or newer is needed, this is {sys.version.split()[0]}"
        )
    given = Path(os.environ.get(INPUT_VARIABLE, "/kaggle/input"))
    working = Path(os.environ.get(WORKING_VARIABLE, "/kaggle/working"))
    say(f"bundle {facts['id'][:12]}: the run {facts['run']} of {facts['competition']}")
    files = find_files(given, facts)
    say(f"the competition's files: {files}")
    say(describe_gpus())
    with tempfile.TemporaryDirectory(prefix="pipeline-") as temporary:
        folder = Path(temporary)
        unpack(payload, folder)
        install_lacking(facts, given, folder / "packages")
        submission = train(facts, files, folder)
        write_output(facts, submission, working, elapsed_s=time.monotonic() - started)


def say(message: str) -> None:
    """One line of the notebook's log."""
    print(f"kernel: {message}", flush=True)


def find_files(given: Path, facts: dict[str, Any]) -> Path:
    """The folder somewhere under `given` that holds the competition's files; its own name decides between several."""
    found = [folder for folder in walk(given) if holds_files(folder, facts)]
    named = [folder for folder in found if facts["slug"].split("/")[-1] in folder.relative_to(given).parts]
    best = named or found
    if not best:
        seen = ", ".join(sorted(path.name for path in given.iterdir())) if given.is_dir() else "no such folder"
        raise SystemExit(
            f"no folder under {given} holds {facts['train']} and {facts['test']} (there: {seen or 'nothing'}). "
            f"Add the input {facts['slug']} to the notebook; its rules must be accepted."
        )
    if len(best) > 1 and not named:
        raise SystemExit(
            f"several folders hold {facts['train']} and {facts['test']}: {', '.join(map(str, best))}. "
            f"Remove the inputs that are not {facts['slug']}."
        )
    return best[0]


def walk(top: Path) -> Iterator[Path]:
    """`top` and the folders below it, the upper ones first, down to MAX_DEPTH."""
    level = [top] if top.is_dir() else []
    for _ in range(MAX_DEPTH + 1):
        yield from level
        level = sorted(child for folder in level for child in folder.iterdir() if child.is_dir())


def holds_files(folder: Path, facts: dict[str, Any]) -> bool:
    """Whether train and test file, or images, lie in `folder`."""
    if any((folder / f"{IMAGES}{end}").is_file() for end in ("", ".gz")):
        return True
    return all(any((folder / name).is_file() for name in names_of(facts[key])) for key in ("train", "test"))


def names_of(name: str) -> Iterable[str]:
    """A raw file's name as it may also be written."""
    stem = name.removesuffix(".gz").removesuffix(".csv").removesuffix(".parquet")
    return (name, f"{name}.gz", f"{stem}.parquet", f"{stem}.csv", f"{stem}.csv.gz")


def describe_gpus() -> str:
    """One line on the GPUs; training takes the first."""
    if shutil.which("nvidia-smi") is None:
        return "no GPU: training on the CPU"
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout.splitlines()
    names = [re.sub(r" \(UUID.*", "", line) for line in listed if line.startswith("GPU")]
    if not names:
        return "no GPU: training on the CPU"
    return "; ".join(names) + ("; one of them is used" if len(names) > 1 else "")


def unpack(payload: str, folder: Path) -> None:
    """The project into `project/`, the competition's spec and the run into `work/`."""
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(payload))) as archive:
        archive.extractall(folder)  # zipfile keeps names inside the folder


def lacking(requirements: dict[str, str]) -> dict[str, str]:
    """Packages that are absent or older than required -> the version that is there, "" when there is none."""
    found = {}
    for name, least in requirements.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = ""
            continue
        if numbers(version) < numbers(least):
            if name in MAY_BE_OLDER:
                say(f"{name} {version} is older than {least}, with which the project is tested; going on")
            else:
                found[name] = version
    return found


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version."""
    parts = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in parts.group().split(".")) if parts else ()


def install_lacking(facts: dict[str, Any], given: Path, target: Path) -> None:
    """Put the packages that are lacking into `target`: from wheels under `given`, or over the network if it is on."""
    absent = lacking(facts["requirements"])
    if not absent:
        return
    wanted = [f"{name}>={facts['requirements'][name]}" for name in absent]
    told = ", ".join(f"{name} {version or '(absent)'}" for name, version in absent.items())
    wheels = [folder for folder in walk(given) if any(folder.glob("*.whl"))]
    if not wheels and not facts["internet"]:
        raise SystemExit(f"too old or absent here: {told}.\n{how_to_attach(wanted, facts)}")
    places = [option for folder in wheels for option in ("--find-links", str(folder))]
    source = ["--no-index", *places] if wheels else []
    say(f"too old or absent here: {told}; installing from {', '.join(map(str, wheels)) or 'the network'}")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *source]
    if subprocess.run([*command, "--target", str(target), *wanted], check=False).returncode:
        raise SystemExit(f"pip could not install {', '.join(wanted)}.\n{how_to_attach(wanted, facts)}")


def how_to_attach(wanted: list[str], facts: dict[str, Any]) -> str:
    """What to do about packages that are lacking."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    quoted = " ".join(f"'{one}'" for one in wanted)
    return (
        f"On your machine: pip download --only-binary=:all: --platform manylinux_2_28_x86_64 --python-version {python} "
        f"-d wheels {quoted}\nThen make a Kaggle data set of the folder (https://www.kaggle.com/datasets/new) and "
        f"attach it: python -m pipeline kernel --competition {facts['competition']} --wheels OWNER/NAME\n"
        "Where the competition allows it, --internet does without."
    )


def train(facts: dict[str, Any], files: Path, folder: Path) -> Path:
    """Features, k-fold and final training by the project's own command line; the submission it wrote."""
    work = folder / "work"
    competition = str(facts["competition"])
    given = folder / "given"
    given.mkdir()
    (given / competition).symlink_to(files.resolve(), target_is_directory=True)
    paths = [str(folder / "project"), str(folder / "packages"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONUNBUFFERED": "1",
        "PIPELINE_DATA_DIR": str(given),
    }
    command = [sys.executable, "-m", "pipeline", "final", "--competition", competition, "--root", str(work)]
    done = subprocess.run([*command, "--preset", str(work / "run.json")], env=environment, cwd=work, check=False)
    submission = work / "submissions" / competition / f"{facts['run']}.csv"
    if done.returncode or not submission.is_file():
        raise SystemExit(f"training ended with exit code {done.returncode}; its last lines above say why")
    return submission


def write_output(facts: dict[str, Any], submission: Path, working: Path, *, elapsed_s: float) -> None:
    """`submission.csv` and, written last, `manifest.json`, which names its sha256."""
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
