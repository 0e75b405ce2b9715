"""What must be the same in this process and in a worker on another machine, so that a fit has the same result there.

Knows packages; must not know how workers are reached.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

WHOLE = ("pipeline", "pipeline's code", "python")  # compared as they are; of packages, the first number


@cache
def own_versions() -> dict[str, str]:
    """The versions in this process."""
    return _versions()()


def portable_versions() -> Callable[[], dict[str, str]]:
    """A function that tells the versions of the process it is sent to, which may lack this module, or the package."""
    return _versions()


def difference(other: Mapping[str, str], own: Mapping[str, str]) -> str:
    """Say what a worker has that this process has not; "" if nothing matters."""
    named = [
        f"{name} {other.get(name, 'not installed')} instead of {version}"
        for name, version in own.items()
        if name != "pipeline's code" and _part(name, other.get(name)) != _part(name, version)
    ]
    if not named and other.get("pipeline's code") != own.get("pipeline's code"):
        named = [f"other code of pipeline {own.get('pipeline')}"]
    return ", ".join(named)


def _part(name: str, version: str | None) -> str | None:
    return version if version is None or name in WHOLE else version.partition(".")[0]


def _versions() -> Callable[[], dict[str, str]]:
    def versions() -> dict[str, str]:  # inside a function, so that it is sent as it stands and not by its name
        import hashlib
        import importlib
        import platform
        from importlib import metadata
        from pathlib import Path

        found = {"python": ".".join(platform.python_version_tuple()[:2])}
        for name in ("numpy", "pandas", "torch", "scikit-learn", "lightgbm", "xgboost", "catboost"):
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        try:
            found["pipeline"] = importlib.import_module("pipeline.base.version").VERSION
        except ImportError:
            return found
        folder = Path(importlib.import_module("pipeline").__file__ or "").parent
        code = hashlib.sha256()
        for path in sorted(folder.rglob("*.py")):
            code.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
        return found | {"pipeline's code": code.hexdigest()}

    return versions
