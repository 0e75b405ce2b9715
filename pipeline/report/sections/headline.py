"""Section `headline`: how good the best run is, what is known of its score, and how it is made again."""

from __future__ import annotations

from pipeline.competition.manifest import FeatureManifest
from pipeline.competition.run_files import how_to_repeat
from pipeline.config.records import Place
from pipeline.config.run_report import RunReport
from pipeline.kaggle.ledger import Entry
from pipeline.kaggle.medals import medal_of
from pipeline.models.registry import MODELS
from pipeline.report import words
from pipeline.report.blocks import Block, Code, Facts, Section, Text, Tile, Tiles
from pipeline.report.collect import Material, honest_score
from pipeline.report.compute.comparison import score_noise


def section(material: Material) -> Section:
    """What one wants to know first; without a run, what the data is."""
    run, store = material.run, material.store
    manifest = store.manifest
    size = Tile(
        "data",
        f"{manifest.n_train_rows:,} × {len(manifest.roles)}",
        f"train rows × columns; {words.count(manifest.n_test_rows, 'test row')}{_extra(manifest)}",
    )
    remarks = [Text(remark, is_quiet=True) for remark in material.remarks]
    if run is None:
        lead = f"No run is finished yet: {words.count(manifest.n_train_rows, 'train row')} are ready."
        command = Code(
            f"make submit COMPETITION={store.workspace.competition}", "makes the first run and its submission"
        )
        return Section("headline", "At a glance", lead, [Tiles([size]), command, *remarks])
    noise = score_noise(run.fold_scores)
    blocks: list[Block] = [Tiles(_tiles(material, run, noise, size)), Facts(_facts(material, run))]
    blocks.append(Code(_command(material, run), "makes this run and its submission again"))
    blocks += remarks
    return Section("headline", "At a glance", _lead(material, run, noise), blocks)


def _extra(manifest: FeatureManifest) -> str:
    return f", {words.count(manifest.n_extra_rows, 'extra row')}" if manifest.n_extra_rows else ""


def _lead(material: Material, run: RunReport, noise: float) -> str:
    metric, n_folds = material.metric, len(run.fold_scores)
    what = "run" if material.runs and run == material.runs[0] else "chosen run"
    told = (
        f"The {'best ' if what == 'run' else ''}{what}, {run.run}, reaches {metric.name} "
        f"{words.score_with_noise(run.cv_score, noise)} on rows it has not seen ({words.count(n_folds, 'fold')}; "
        f"{'greater' if metric.greater_is_better else 'lower'} is better)."
    )
    if run.ensemble is not None:
        told += (
            " Its weights were chosen on these rows: in nested folds it is "
            f"{words.score(run.ensemble.nested_score, noise)}."
        )
    if not material.is_current:
        told += " Features or settings have changed since: it would be trained again."
    return told


def _tiles(material: Material, run: RunReport, noise: float, size: Tile) -> list[Tile]:
    metric = material.metric
    better = "greater is better" if metric.greater_is_better else "lower is better"
    tiles = [
        Tile(f"cv {metric.name}", words.score(run.cv_score, noise), f"± {words.score(noise, noise)}; {better}", True)
    ]
    if run.ensemble is not None:
        tiles.append(Tile("nested", words.score(honest_score(run), noise), "weights chosen on the other folds"))
    entry = _entry(material, run)
    known = [] if entry is None else [("public", entry.public_score), ("private", entry.private_score)]
    for name, value in known:
        if value is not None:
            gap = value - run.cv_score
            tiles.append(Tile(f"{name} score", words.score(value, noise), f"{words.gain(gap, noise)} against cv"))
    if material.place is not None and material.place.rank is not None:
        tiles.append(_place_tile(material.place, material.place.rank))
    if material.repeats is not None:
        found = material.repeats
        tiles.append(
            Tile(
                "on other folds",
                words.score(found.mean, found.sd),
                f"mean of {len(found.repeats) + 1}, sd {words.score(found.sd, found.sd)}",
            )
        )
    return [*tiles, size]


def _place_tile(place: Place, rank: int) -> Tile:
    """The place with the share of teams down to it, the medal it would get, and its day."""
    zone = medal_of(rank, place.n_teams) if place.awards_medals else ""
    told = f"top {100 * rank / place.n_teams:.1f} %{f', {zone} zone' if zone else ''}, on {words.day(place.asked_at)}"
    return Tile("public leaderboard", f"{rank:,} of {place.n_teams:,}", told)


def _entry(material: Material, run: RunReport) -> Entry | None:
    return next((entry for entry in reversed(material.ledger) if entry.run == run.run and entry.is_sent), None)


def _facts(material: Material, run: RunReport) -> list[tuple[str, str]]:
    store, provenance = material.store, material.provenance
    target = ", ".join(store.spec.target)
    task = store.spec.task + (f", {len(store.classes)} classes" if store.classes else "")
    folds = store.spec.folds
    kind = f"{words.count(store.manifest.n_folds, 'fold')}, {folds.kind.replace('_', ' ')}"
    pairs = [
        ("metric", f"{material.metric.name}: {material.metric.definition.replace('`', '')}"),
        ("target", f"{words.of_data(target)} ({task})"),
        ("folds", kind + (f" by {folds.group or folds.time}" if folds.group or folds.time else "")),
        ("model", _model(run)),
    ]
    if provenance is not None:
        path = f"submissions/{store.workspace.competition}/{provenance.submission}"
        final = "average of the fold models" if provenance.final == "average" else "refitted on all train rows"
        pairs.append(("submission", f"{path} ({words.count(provenance.n_rows, 'row')}, {final})"))
    else:
        pairs.append(("submission", "none yet: make submit writes it"))
    pairs.append(("trained", f"{words.day(run.finished_at)} UTC on {run.device}, in {words.seconds(run.elapsed_s)}"))
    return pairs


def _model(run: RunReport) -> str:
    """What the run is: an ensemble, or a model with what it is."""
    parts = [part for _, part in run.config.weighted_parts]
    if len(parts) > 1:
        return run.config.description or f"{words.count(len(parts), 'part')}, averaged"
    description = MODELS[parts[0].model].description
    return f"{parts[0].model}: {description.partition(' (extra')[0]}"


def _command(material: Material, run: RunReport) -> str:
    report = material.folder(run).report.relative_to(material.store.workspace.root)
    told = how_to_repeat(run, report, command="submit")
    return told.split("`")[1]
