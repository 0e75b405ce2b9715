"""Packages that Kaggle's image lacks: downloaded as wheels, kept in a private dataset of the user's.

Knows pip and a Kaggle session; must not know what a run needs the packages for.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from itertools import chain, repeat
from pathlib import Path

from pipeline.base import files
from pipeline.base.errors import KaggleError, SpecError
from pipeline.base.progress import say
from pipeline.kaggle.client import calls, datasets
from pipeline.kaggle.client.calls import Clock
from pipeline.kaggle.client.errors import MAY_HAVE_SUCCEEDED
from pipeline.kaggle.client.session import KaggleSession
from pipeline.kaggle.client.urls import DATASET_URL
from pipeline.kaggle.notebook.script import numbers

AUTO = "auto"  # in place of a dataset
IMAGE = Path(__file__).with_name("image.txt")  # the packages of Kaggle's image
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
PYTHON = "3.12"  # of Kaggle's image
NOT_SENT = re.compile(r"torch$|triton$|nvidia-|cuda-")  # gigabytes, of which the image has its own
MARK = "Wheels for notebooks of kaggle-pipeline; made and updated by it."  # the description of its datasets
MAX_NAME = 50
POLL_DELAYS_S = (3.0, 5.0, 10.0)
WAIT_S = 900.0


def lacking(requirements: Mapping[str, str], logs: Iterable[str] = ()) -> dict[str, str]:
    """Return the requirements (name -> minimum version) that Kaggle's image does not meet.

    Those that `logs` of earlier runs call missing or too old are among them, whatever the list of the image says.
    """
    image = dict(line.split("==") for line in IMAGE.read_text(encoding="utf-8").splitlines() if "==" in line)
    image = {_normal(name): version for name, version in image.items()}
    reported = {name for log in logs for name in _reported(log)}
    return {
        name: minimum
        for name, minimum in requirements.items()
        if name != "torch"
        and (name in reported or name not in image or numbers(image[_normal(name)]) < numbers(minimum))
    }


def provide(session: KaggleSession, competition: str, wanted: Mapping[str, str], folder: Path) -> str | None:
    """Make or update the private dataset with wheels of `wanted`, wait until Kaggle has it ready, return its name.

    Returns None if nothing is wanted. `folder` keeps the wheels. Raises SpecError, KaggleError.
    """
    if not wanted:
        say("kernel: Kaggle's image has every package that the run needs; no dataset of wheels is needed")
        return None
    name = f"{session.user}/{f'wheels-{competition}'.lower()[:MAX_NAME].strip('-')}"
    wheels = download(wanted, folder)
    there = datasets.find_dataset(session, name)
    if there is not None:  # an earlier call may have been interrupted while Kaggle prepared it
        wait_until_ready(session, name)
        there = datasets.find_dataset(session, name)
    if there is not None and there.description.strip() != MARK:
        what = "you have a dataset of this name that this project did not make; it is not changed"
        hint = (
            f"Rename it, or attach a dataset of wheels yourself: --wheels OWNER/NAME. {DATASET_URL.format(slug=name)}"
        )
        raise KaggleError(what, kind="name taken", where=name, hint=hint)
    local = {wheel.name: wheel.stat().st_size for wheel in wheels}
    if there is not None and there.files == local:
        say(f"kernel: {name} has the wheels already")
    else:
        _send(session, name, wheels, local, is_new=there is None)
    wait_until_ready(session, name)
    return name


def download(wanted: Mapping[str, str], folder: Path) -> list[Path]:
    """Download wheels for Kaggle's Python, with the dependencies its image lacks. Raises SpecError."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pins = [line for line in IMAGE.read_text(encoding="utf-8").splitlines() if _name_in(line) not in wanted]
    constraints = folder / "constraints.txt"
    files.write_text(constraints, "\n".join(pins) + "\n")
    where = [option for platform in PLATFORMS for option in ("--platform", platform)]
    requirements = [f"{name}>={minimum}" for name, minimum in wanted.items()]
    say(f"kernel: downloading wheels of {', '.join(requirements)} for Python {PYTHON}")
    options = ["--quiet", "--disable-pip-version-check", "--only-binary=:all:", *where, "--python-version", PYTHON]
    options += ["-c", str(constraints)]
    report = folder / "report.json"
    pip = [sys.executable, "-m", "pip"]
    nowhere = ["--target", str(folder / "nowhere")]  # pip asks for it where the platform is another
    resolve = [*pip, "install", "--dry-run", "--ignore-installed", "--report", str(report), *nowhere]
    _ask([*resolve, *options, *requirements])
    found = json.loads(report.read_text(encoding="utf-8"))["install"]
    in_image = {_name_in(line) for line in pins}
    pairs = [(_normal(one["metadata"]["name"]), one["metadata"]["version"]) for one in found]
    lacking = [f"{name}=={version}" for name, version in pairs if name not in in_image and not NOT_SENT.match(name)]
    _ask([*pip, "download", "--no-deps", "-d", str(folder), *options, *lacking])
    for path in (constraints, report):
        path.unlink()
    return sorted(folder.glob("*.whl"))


def _ask(command: list[str]) -> None:
    """Run pip. Raises SpecError."""
    done = _run(command)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        what = f"pip could not download the wheels: {lines[-1].removeprefix('ERROR: ')}"
        raise SpecError(what, where="--wheels auto", hint="Attach a dataset of your own: --wheels OWNER/NAME.")


def wait_until_ready(session: KaggleSession, name: str) -> None:
    """Wait until Kaggle has prepared the dataset's newest version. Raises KaggleError."""
    end = Clock.now() + WAIT_S
    for delay in chain(POLL_DELAYS_S, repeat(POLL_DELAYS_S[-1])):
        status = datasets.status_of(session, name)
        if status == datasets.READY:
            return
        if status in datasets.FAILED or Clock.now() >= end:
            what = f"the dataset of wheels is not usable: Kaggle reports {status!r}"
            hint = f"See {DATASET_URL.format(slug=name)}, then run the same command again."
            raise KaggleError(what, kind="dataset not ready", where=name, hint=hint)
        Clock.sleep(delay)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _send(session: KaggleSession, name: str, wheels: list[Path], local: datasets.Files, *, is_new: bool) -> None:
    """Upload the wheels and make the dataset or its next version; if the answer is lost, ask Kaggle."""
    say(f"kernel: uploading {len(wheels)} wheels ({sum(local.values()) / 1e6:.1f} MB) to the private dataset {name}")
    tokens = [datasets.upload(session, wheel) for wheel in wheels]

    def find() -> bool | None:
        there = datasets.find_dataset(session, name)
        return True if there is not None and there.files == local else None

    try:
        if is_new:
            datasets.create(session, name, name.partition("/")[2].replace("-", " "), MARK, tokens)
        else:
            datasets.add_version(session, name, MARK, ", ".join(sorted(local)), tokens)
    except KaggleError as error:
        if error.kind not in MAY_HAVE_SUCCEEDED:
            raise
        calls.recover(error, "kernel", "dataset", find)


def _reported(log: str) -> list[str]:
    """Return the packages that a run's log calls missing or too old."""
    found = re.findall(r"missing or too old: (.*?)(?:[.;]\s*$|; installing|\n|$)", log, re.MULTILINE)
    return [one.split()[0] for line in found for one in line.split(", ") if one.split()]


def _name_in(line: str) -> str:
    return _normal(line.partition("==")[0])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
