"""Section `data`: every column with its role, its values in train and test and what it tells; the target."""

from __future__ import annotations

import numpy as np

from pipeline.base.target_transforms import transform_target
from pipeline.competition.tables.typed import ColumnRecipe
from pipeline.config.types import NUMERIC
from pipeline.report import words
from pipeline.report.blocks import Block, Cell, Column, Details, Figure, Figures, Section, Table, Text, number_cell
from pipeline.report.charts.bars import bar_list, spark
from pipeline.report.charts.heatmap import image
from pipeline.report.charts.plane import Plane
from pipeline.report.collect import Material
from pipeline.report.compute.columns import (
    MOST_ROWS,
    MOST_ROWS_COUNTED,
    ROWS_OF_ASSOCIATION,
    ColumnView,
    histogram,
)

MOST_CLASSES = 30  # in the figure of the target
MOST_TARGETS = 3
KINDS = {
    "number": "",
    "flag": "true or false, as 1 and 0",
    "category": "texts with few different values",
    "code": "codes written with digits, as categories",
    "ordered": "levels with an order, from the spec",
    "date": "part of a date",
    "text": "texts with many different values",
}


def section(material: Material) -> Section:
    """The columns of the features, and the target."""
    store = material.store
    target = store.own(store.target)
    target = target.reshape(len(target), -1)[:, 0]
    views = material.views
    blocks: list[Block] = [Figures(_target_figures(material)), _table(material, views)]
    if store.spec.encoder.pixels:
        blocks = [Figures([*_target_figures(material), *_mean_images(material, target)]), *blocks[1:]]
    blocks += _notes(material)
    return Section("data", "Data", _lead(material, views), blocks)


def _lead(material: Material, views: list[ColumnView]) -> str:
    manifest = material.store.manifest
    roles = list(manifest.roles.values())
    names = {"number": "number", "category": "category", "ordered": "ordered category", "text": "text"}
    plural = {"category": "categories", "ordered": "ordered categories"}
    kinds = [words.count(roles.count(key), what, plural.get(key, "")) for key, what in names.items() if key in roles]
    told = (
        f"{len(manifest.roles):,} columns ({words.listed(kinds)}) of {manifest.n_train_rows:,} train and "
        f"{manifest.n_test_rows:,} test rows"
    )
    if manifest.n_extra_rows:
        told += f" (and {words.count(manifest.n_extra_rows, 'extra row')} that only train, which are not shown here)"
    best = [view for view in sorted(views, key=lambda view: -np.nan_to_num(view.association)) if view.association > 0]
    if best:
        shown = [f"{words.of_data(view.name, 40)} ({words.percent(view.association)})" for view in best[:3]]
        told += f"; alone, {words.listed(shown)} tell most of the target"
    drifted = [view for view in views if view.has_drifted]
    gone = [view for view in views if view.missing_train > 0.5]
    told += (
        f". {words.count(len(drifted), 'column') if drifted else 'No column'} of test "
        f"differ{'' if len(drifted) > 1 else 's'} from train by more than chance"
    )
    if gone:
        told += f"; {words.count(len(gone), 'column')} {'is' if len(gone) == 1 else 'are'} mostly missing"
    return f"{told}."


def _table(material: Material, views: list[ColumnView]) -> Table:
    source = {name: recipe for recipe in material.store.manifest.recipes for name in recipe.features}
    rows = [_row(view, source.get(view.name)) for view in sorted(views, key=lambda v: -np.nan_to_num(v.association))]
    columns = [
        Column("column"),
        Column("role", help="how models read it, and why"),
        Column(
            "missing",
            is_number=True,
            help="share of the train rows; in brackets that of the test rows where it differs",
        ),
        Column("distinct", is_number=True, help="different values in train"),
        Column("train (bars), test (line)"),
        Column("tells", is_number=True, help="share of the target that the column explains alone, on held-out rows"),
        Column("drift", is_number=True, help="greatest difference of the distributions of train and test, 0 to 1"),
    ]
    n_all, n_rows = len(material.store.manifest.roles), material.store.manifest.n_train_rows
    caption = "Columns"
    if len(views) < n_all:
        caption += f"; {len(views)} of {n_all:,} are shown, evenly spaced"
    if n_rows > MOST_ROWS:
        caption += f"; histograms and drift are of {MOST_ROWS:,} rows sampled from each table"
    if n_rows > ROWS_OF_ASSOCIATION:
        caption += f"; what a column tells is of {ROWS_OF_ASSOCIATION:,} sampled rows"
    if n_rows > MOST_ROWS_COUNTED:
        caption += f"; distinct values are of {MOST_ROWS_COUNTED:,}"
    return Table(caption, columns, rows, is_searchable=True)


def _row(view: ColumnView, recipe: ColumnRecipe | None) -> list[Cell]:
    why = "made by the pipeline" if recipe is None else KINDS[recipe.kind]
    if recipe is not None and recipe.source != view.name:
        why += f" {words.of_data(recipe.source, 60)}"
    if recipe is not None and recipe.missing:
        why += f"; missing: {words.listed([words.of_data(one, 20) for one in recipe.missing], 3)}"
    missing = words.percent(view.missing_train)
    if np.isfinite(view.missing_test) and abs(view.missing_test - view.missing_train) > 0.02:
        missing += f" ({words.percent(view.missing_test)})"
    busiest = (
        ", ".join(
            f"{words.of_data(name, 30)}: {words.percent(float(share))}"
            for name, share in sorted(zip(view.bars, view.train, strict=True), key=lambda pair: -pair[1])[:3]
        )
        if len(view.bars) == len(view.train)
        else "no values"
    )
    picture = spark(view.train, view.test if np.any(view.test) else None, name=f"most frequent: {busiest}")
    return [
        Cell(words.of_data(view.name)),
        Cell(f"{view.role}: {why}" if why else view.role),
        number_cell(missing, view.missing_train, "bad" if view.missing_train > 0.5 else ""),
        number_cell(f"{view.n_distinct:,}", view.n_distinct),
        Cell("", picture=picture, value=""),
        number_cell(words.percent(view.association), view.association),
        number_cell(
            "–" if np.isnan(view.drift) else f"{view.drift:.2f}", view.drift, "bad" if view.has_drifted else "quiet"
        ),
    ]


def _target_figures(material: Material) -> list[Figure]:
    store = material.store
    targets = store.own(store.target)
    targets = targets.reshape(len(targets), -1)
    figures = []
    for j, name in enumerate(store.spec.target[:MOST_TARGETS]):
        values = targets[:, j]
        figures += [_class_figure(material, name, values)] if store.classes else _number_figures(material, name, values)
    return figures


def _class_figure(material: Material, name: str, codes: np.ndarray) -> Figure:
    classes = material.store.classes
    counts = np.bincount(codes[np.isfinite(codes)].astype(np.int64), minlength=len(classes))
    order = (
        np.arange(len(classes)) if len(classes) <= MOST_CLASSES else np.argsort(-counts, kind="stable")[:MOST_CLASSES]
    )
    shares = counts / max(1, counts.sum())
    svg = bar_list(
        [words.of_data(classes[i], 60) for i in order],
        shares[order].tolist(),
        shown=[words.percent(float(shares[i])) for i in order],
        name=f"share of the train rows by class of {name}",
    )
    rare, common = int(counts.argmin()), int(counts.argmax())
    told = words.of_data(classes[rare], 60), words.count(int(counts[rare]), "row")
    caption = (
        f"{words.of_data(classes[common], 60)} is the most frequent class "
        f"({words.percent(float(shares[common]))} of the train "
        f"rows: what is right without a model), {told[0]} the rarest ({told[1]})."
    )
    if counts[rare] == counts[common]:
        caption = f"Each class has {told[1]}."
    if len(order) < len(classes):
        caption += f" {len(order)} of {len(classes)} classes are drawn."
    return Figure(svg, f"Target {words.of_data(name, 60)}", caption)


def _number_figures(material: Material, name: str, values: np.ndarray) -> list[Figure]:
    transform = material.store.spec.target_transform
    figures = [_histogram(f"Target {words.of_data(name, 60)}", words.of_data(name, 40), values)]
    if transform in ("log", "log1p") and (values > (0 if transform == "log" else -1)).all():
        changed = transform_target(transform, values)
        label = f"{transform}({words.of_data(name, 40)})"
        figures.append(_histogram(f"… as models learn it: {transform}", label, changed))
    return figures


def _histogram(title: str, label: str, values: np.ndarray) -> Figure:
    edges, counts = histogram(values, 40)
    plane = Plane(edges, np.append(counts, 0), x_label=label, y_label="train rows", height=220, margin_y=0.02)
    titles = [f"{a:,.5g} to {b:,.5g}: {n:,.0f} rows" for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)]
    plane.columns(edges, counts, titles=titles)
    median, finite = float(np.nanmedian(values)), values[np.isfinite(values)]
    plane.rule(x=median, name=f"median {words.amount(median)}")
    spread = float(finite.std()) or 1.0
    skew = float(np.mean((finite - finite.mean()) ** 3)) / spread**3
    shape = "about symmetric" if abs(skew) < 0.5 else f"skewed to the {'right' if skew > 0 else 'left'} ({skew:.1f})"
    low, high = (words.amount(float(np.quantile(finite, q))) for q in (0.05, 0.95))
    return Figure(
        plane.svg(f"histogram of {label}"),
        title,
        f"{shape[0].upper()}{shape[1:]}; nine of ten rows lie between {low} and {high}.",
    )


def _mean_images(material: Material, target: np.ndarray) -> list[Figure]:
    """The mean picture of the rows of each class."""
    from markupsafe import Markup

    store = material.store
    numbers = [name for name, role in store.manifest.roles.items() if role in NUMERIC]
    if round(len(numbers) ** 0.5) ** 2 != len(numbers) or not store.classes:
        return []
    rows = np.random.default_rng(0).permutation(len(target))[:10_000]
    pixels, codes = store.train[numbers].iloc[rows].to_numpy(dtype=np.float64), target[rows]
    parts = []
    for code, label in enumerate(store.classes[:20]):
        if (codes == code).any():
            told = f"class {words.of_data(label, 40)}"
            picture = image(pixels[codes == code].mean(axis=0), name=f"mean picture of {told}")
            parts.append(
                Markup('<span class="thumb">{}<small>{}</small></span>').format(picture, words.of_data(label, 20))
            )
    gallery = Markup('<div class="thumbs">{}</div>').format(Markup("").join(parts))
    return [Figure(gallery, "The mean picture of each class", "What the rows of a class have in common.")]


def _notes(material: Material) -> list[Block]:
    manifest = material.store.manifest
    blocks: list[Block] = []
    if manifest.left_out:
        rows = [
            [Cell(words.of_data(name)), Cell(words.of_data(why))] for name, why in list(manifest.left_out.items())[:500]
        ]
        table = Table("Columns that are not features", [Column("column"), Column("why")], rows)
        blocks.append(Details(f"{words.count(len(manifest.left_out), 'column')} left out", [table]))
    if manifest.notes:
        notes = [Text(words.of_data(note, 600)) for note in manifest.notes[:200]]
        blocks.append(Details(f"What was read and converted: {words.count(len(manifest.notes), 'note')}", notes))
    return blocks
