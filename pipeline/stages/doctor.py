"""Stage `doctor`: check this machine, the credentials and Kaggle, and say how to fix what is wrong."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from pipeline.base.cluster import Cluster
from pipeline.base.errors import KaggleError, PipelineError
from pipeline.competition.workspace import Workspace
from pipeline.config.spec import load_spec
from pipeline.kaggle.client.credentials import credential_warnings, found_credentials
from pipeline.kaggle.client.session import KaggleSession, client_version
from pipeline.kaggle.client.urls import SETTINGS_URL, rules_url

Mark = Literal["ok", "note", "warning", "problem"]
PACKAGES = ("torch", "pandas", "scikit-learn", "optuna", "pyarrow", "numpy")


@dataclass(frozen=True)
class Diagnosis:
    """One line of the report."""

    mark: Mark
    text: str


def examine(workspace: Workspace, cluster: str | None = None) -> Iterator[Diagnosis]:
    """Yield findings about the machine, a cluster, the credentials, Kaggle and the competition."""
    slug = load_spec(workspace.spec).kaggle_slug if workspace.spec.exists() else workspace.competition
    yield from _machine()
    if cluster is not None:
        yield _cluster(cluster)
    yield from _credentials()
    if not found_credentials():
        yield Diagnosis(
            "note",
            f"Kaggle: not checked, no credentials. Create a token at {SETTINGS_URL} and store it in "
            "~/.kaggle/access_token (chmod 600). Only downloads and uploads need it.",
        )
        return
    try:
        session = KaggleSession.connect()
        yield Diagnosis("ok", f"Kaggle: logged in as {session.user or 'unknown'} by {_method(session.method)}")
        yield from _competition(session, slug)
    except KaggleError as error:
        yield Diagnosis("problem", error.message.replace("\n", "  "))


def _machine() -> Iterator[Diagnosis]:
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            yield Diagnosis("problem", f"the package {name} is not installed; run `make setup`")
    yield Diagnosis("ok", f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Diagnosis("ok", f"packages: {', '.join(versions)}")
    try:
        import torch
    except ImportError as error:
        yield Diagnosis("problem", f"torch cannot be imported: {error}")
        return
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(index)
            yield Diagnosis(
                "ok", f"GPU {index}: {facts.name}, {facts.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
            )
    else:
        yield Diagnosis("note", "GPU: none found by torch; everything runs on the CPU")


def _cluster(address: str) -> Diagnosis:
    try:
        workers = Cluster(address)
    except PipelineError as error:
        return Diagnosis("problem", error.message.replace("\n", "  "))
    with closing(workers):
        return Diagnosis("ok", f"{workers.describe()}, of the same versions as here")


def _credentials() -> Iterator[Diagnosis]:
    version = client_version()
    yield Diagnosis("problem" if version == "not installed" else "ok", f"kaggle client: {version}")
    found = found_credentials()
    for rank, credential in enumerate(found, start=1):
        used = " (this one is used)" if rank == 1 else ""
        yield Diagnosis("ok", f"credentials {rank}: {credential.kind} from {credential.source}{used}")
    for warning in credential_warnings():
        yield Diagnosis("warning", warning)


def _competition(session: KaggleSession, slug: str) -> Iterator[Diagnosis]:
    competition = session.competition(slug)
    deadline = f", deadline {competition.deadline:%Y-%m-%d %H:%M} UTC" if competition.deadline else ""
    yield Diagnosis("ok", f"{slug}: {competition.title}, metric {competition.metric or 'unknown'}{deadline}")
    if competition.has_entered:
        yield Diagnosis("ok", f"{slug}: the rules are accepted")
    else:
        rules = rules_url(slug)
        yield Diagnosis(
            "problem", f"{slug}: the rules have not been accepted; accept them once in the browser: {rules}"
        )
    if competition.is_code_only:
        yield Diagnosis("note", f"{slug}: accepts notebooks only; use `make kernel COMPETITION={slug}`")
    if competition.is_closed:
        yield Diagnosis("problem", f"{slug}: accepts no submissions")
    limits = session.limits(slug)
    yield Diagnosis(
        "ok" if limits.n_left else "note", f"{slug}: {limits.n_left} submissions left ({limits.n_today} today)"
    )


def _method(name: str) -> str:
    """`AuthMethod.ACCESS_TOKEN` -> `access token`."""
    return name.rsplit(".", 1)[-1].lower().replace("_", " ") or "an unknown method"
