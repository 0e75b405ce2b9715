"""Section `provenance`: the configuration, versions, hashes and times behind the numbers."""

from __future__ import annotations

import platform

from pipeline.base.version import VERSION
from pipeline.config.run import as_toml
from pipeline.report import words
from pipeline.report.blocks import Block, Cell, Code, Column, Details, Facts, Section, Table
from pipeline.report.collect import Material


def section(material: Material) -> Section:
    """Of the run, or of the features if there is none."""
    run, manifest = material.run, material.store.manifest
    versions = run.versions if run is not None else manifest.versions
    pairs = [
        ("pipeline", VERSION),
        ("data", words.of_data(manifest.data)),
        ("features", manifest.fingerprint[:16]),
    ]
    lead = f"Built from {words.count(len(manifest.raw_files), 'raw file')}, whose contents are recorded by sha256."
    blocks: list[Block] = []
    if run is not None:
        commit = run.git_commit or "not in a git repository"
        lead = (
            f"{run.run} was trained at {words.day(run.finished_at)} UTC on {run.device} from "
            f"{words.count(len(manifest.raw_files), 'raw file')}"
            f"{'' if material.is_current else ', whose features have changed since'}; the same command gives "
            "the same bits on a CPU."
        )
        pairs += [
            ("run", run.run),
            ("fingerprint", run.fingerprint[:16]),
            ("folds", run.folds_sha256[:16]),
            ("commit", commit),
        ]
        pairs += [("finished", f"{words.day(run.finished_at)} UTC"), ("seconds", f"{run.elapsed_s:,.1f}")]
        provenance = material.provenance
        if provenance is not None:
            pairs += [
                ("submission sha256", provenance.sha256[:16]),
                ("submission made", f"{words.day(provenance.made_at)} UTC"),
            ]
        blocks.append(Details("Configuration, with all defaults", [Code(as_toml(run.config.model_dump(mode="json")))]))
    pairs += [("this machine", f"{platform.system()} {platform.machine()}, Python {platform.python_version()}")]
    files = [
        [Cell(words.of_data(name)), Cell(f"{file.bytes:,}", float(file.bytes)), Cell(file.sha256[:16])]
        for name, file in sorted(manifest.raw_files.items())
    ]
    table = Table("Raw files", [Column("file"), Column("bytes", is_number=True), Column("sha256")], files)
    packages = [[Cell(name), Cell(version)] for name, version in sorted(versions.items())]
    blocks += [table, Table("Versions", [Column("package"), Column("version")], packages)]
    return Section("provenance", "Provenance", lead, [Facts(pairs), *blocks])
