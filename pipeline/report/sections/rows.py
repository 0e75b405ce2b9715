"""Rows of the train table as the rows of a table on the page, with the columns that matter.

Knows material; must not know why a row is shown.
"""

from __future__ import annotations

import numpy as np

from pipeline.config.types import NUMERIC
from pipeline.report import words
from pipeline.report.blocks import Cell, Column
from pipeline.report.charts.heatmap import image
from pipeline.report.collect import Material

MOST_COLUMNS = 6


def telling_columns(material: Material, most: int = MOST_COLUMNS) -> list[str]:
    """The columns that matter most: by what the run's models found important, else in the order of the table."""
    names = [str(name) for name in material.store.train.columns]
    if material.store.spec.encoder.pixels:
        return []
    totals: dict[str, float] = {}
    by_length = sorted(names, key=len, reverse=True)
    for part in [] if material.run is None else material.run.parts:
        for encoded, share in part.feature_importance.items():
            raw = next(
                (name for name in by_length if encoded == name or encoded.startswith((f"{name}=", f"{name}_"))), None
            )
            if raw is not None and np.isfinite(share):
                totals[raw] = totals.get(raw, 0.0) + share
    if not totals:
        totals = {view.name: view.association for view in material.views if np.isfinite(view.association)}
    ranked = sorted(totals, key=lambda name: -totals[name])
    return [*ranked, *(name for name in names if name not in totals)][:most]


def row_columns(material: Material, names: list[str]) -> list[Column]:
    """The heads of `row_cells`."""
    picture = [Column("picture")] if material.store.spec.encoder.pixels else []
    return picture + [
        Column(words.of_data(name, 40), is_number=material.store.manifest.roles[name] in NUMERIC) for name in names
    ]


def row_cells(material: Material, row: int, names: list[str]) -> list[Cell]:
    """The values of a train row; the picture of a row of pixels."""
    store = material.store
    cells = []
    if store.spec.encoder.pixels:
        pixels = store.train.iloc[row][[name for name, role in store.manifest.roles.items() if role == "number"]]
        cells.append(Cell("", picture=image(pixels.to_numpy(dtype=np.float64), name=f"picture of row {row + 1}")))
    for name in names:
        value = store.train[name].iloc[row]
        is_number = store.manifest.roles[name] in NUMERIC
        cells.append(Cell(words.cell(float(value)), float(value)) if is_number else Cell(words.cell(value)))
    return cells


def row_id(material: Material, row: int) -> Cell:
    """The id of a train row."""
    return Cell(words.of_data(material.store.train_rows["id"].iloc[row], 60))
