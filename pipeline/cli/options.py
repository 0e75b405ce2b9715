"""Options that several commands have, their texts for `--help`, and the panels in which it shows the commands."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from pipeline.base import names
from pipeline.config.presets import preset_names

PREPARE, TRAIN, RESULTS, KAGGLE = "Prepare", "Train and submit", "Results", "Kaggle"  # panels of `--help`


def _number(value: float | None) -> float | None:
    """Refuse NaN, which is in every range."""
    if value is not None and math.isnan(value):
        raise typer.BadParameter("nan is not a number.")
    return value


HOUSE_PRICES = "house-prices"
SLUG = "The competition's Kaggle slug or URL, or the name of its folder under data/."
Competition = Annotated[
    str, typer.Option("--competition", "-c", envvar="COMPETITION", callback=names.competition_slug, help=SLUG)
]
Root = Annotated[Path, typer.Option(help="The folder that holds data/ and submissions/.")]
PRESETS = (
    f"{', '.join(preset_names())}, best, tuned or a .toml file; auto: tuned if up to date, otherwise fast. "
    "Without a model or settings, fast is a race of many models in `submit` and `final`, and one network elsewhere."
)
Preset = Annotated[str, typer.Option("--preset", "-p", help=PRESETS)]
MODEL = "Replaces the preset's model, e.g. ridge, random_forest, catboost."
ModelName = Annotated[str | None, typer.Option("--model", "-m", help=MODEL)]
Device = Annotated[str, typer.Option(help="auto, cuda, mps or cpu.")]
SETTINGS = "Changes a setting of the preset, e.g. lr=0.01, seeds=2, features.log1p_skewed=1. Repeatable."
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help=SETTINGS)]
Workers = Annotated[int, typer.Option(help="Worker threads; 0: one per core.", min=0, max=1024)]
CLUSTER = "Fits run on the workers of a Dask scheduler, tcp://host:8786, or on local:4 processes (extra: cluster)."
Cluster = Annotated[str | None, typer.Option(help=CLUSTER)]
MINUTES = "Training time, earlier calls included; default: 10 for preset best, about one for fast."
Minutes = Annotated[float | None, typer.Option(help=MINUTES, min=0.1, max=20_160, callback=_number)]
PRUNE = "Presets best and fast: smallest ensemble weight."
Prune = Annotated[float | None, typer.Option(help=PRUNE, min=0.0, max=0.5, callback=_number)]
Upload = Annotated[bool, typer.Option("--upload/--no-upload", help="Send the submission to Kaggle.")]
Report = Annotated[bool, typer.Option("--report/--no-report", help="Write the page about the competition at the end.")]
Yes = Annotated[bool, typer.Option("--yes", help="Upload even if it takes the last submission of the day.")]
AGAIN = "Upload even if an earlier upload may have arrived, or if Kaggle failed to score it."
Again = Annotated[bool, typer.Option("--again", help=AGAIN)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
RunName = Annotated[str, typer.Argument(help="The name of a finished run (see `runs`).")]
