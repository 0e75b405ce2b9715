"""Which pretrained weights a run reads: they are no part of a bundle, but of a data set that is attached.

Knows configurations, specs and files of weights; must not know what the weights are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.base import weights
from pipeline.base.errors import SpecError
from pipeline.competition.text_embeddings import model_folder
from pipeline.competition.workspace import Workspace
from pipeline.config.run import RunConfig
from pipeline.config.spec import CompetitionSpec

HINT = "Make a private Kaggle dataset of them and attach it: --weights OWNER/NAME, or make kernel WEIGHTS=OWNER/NAME."


@dataclass(frozen=True)
class Weights:
    """The file or folder that a run asks for by this name.

    `files` has the sha256 of what must be in the folder, or of the file under ""; {} if it is not here. A name that
    ends in `*` is of all files that begin so.
    """

    name: str
    files: dict[str, str]


def weights_read(workspace: Workspace, spec: CompetitionSpec, config: RunConfig) -> dict[str, Weights]:
    """The weights by their names. Raises SpecError if two have the same name."""
    found: dict[str, Weights] = {}
    for one in (*_of_texts(workspace, spec), *_of_models(spec, config)):
        if found.setdefault(one.name, one) != one:
            raise SpecError(f"two weights are called {one.name}", where="--weights", hint="Rename one of them.")
    return found


def is_download_wanted(config: RunConfig) -> bool:
    """Whether a part of the run fetches its weights."""
    return any(part.params.get("weights") == weights.HUGGING_FACE for _, part in config.weighted_parts)


def _of_texts(workspace: Workspace, spec: CompetitionSpec) -> Iterator[Weights]:
    folder = model_folder(workspace, spec)
    if folder is not None:
        yield Weights(Path(str(spec.encoder.text_embeddings)).name, weights.contents(folder))


def _of_models(spec: CompetitionSpec, config: RunConfig) -> Iterator[Weights]:
    for _, part in config.weighted_parts:
        given = part.params.get("weights")
        if given is None or given == weights.HUGGING_FACE:
            continue
        path = weights.checkpoint_of(part.model, given, is_regression=spec.task == "regression")
        if path is None:
            yield Weights(Path(given).name or f"{part.model}*", {})
        elif given and Path(given).name != path.name:  # a folder with it
            yield Weights(Path(given).name, {path.name: weights.contents(path)[""]})
        else:
            yield Weights(path.name, weights.contents(path))
