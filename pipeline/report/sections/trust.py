"""Section `trust`: the data checks as sentences with their evidence, and the columns that differ."""

from __future__ import annotations

from pipeline.report import words
from pipeline.report.blocks import Block, Cell, Column, Finding, Findings, Section, Table, Text, number_cell
from pipeline.report.charts.bars import spark
from pipeline.report.collect import Material
from pipeline.scoring.data_check import known_trust

MOST_COLUMNS = 20


def section(material: Material) -> Section | None:
    """None if the data was never checked."""
    trust = known_trust(material.store) or (material.run.trust if material.run is not None else None)
    if trust is None:
        return None
    looks = [one for one in trust.findings if one.mark == "look"]
    told = f"{words.count(len(trust.findings), 'check')} of the data: "
    told += "none asks for a look" if not looks else f"{len(looks)} ask{'s' if len(looks) == 1 else ''} for a look"
    shift = "cannot tell" if trust.adversarial_auc < 0.6 else "can tell"
    told += (
        f"; a model {shift} test rows from train rows (AUC {words.score(trust.adversarial_auc, 0.05)}, 0.5 is chance)."
    )
    findings = [
        Finding(one.mark, words.of_data(f"{one.text[:1].upper()}{one.text[1:]}.", 900)) for one in trust.findings
    ]
    findings.sort(key=lambda one: one.mark != "look")
    checked = Text(
        f"Checked: {trust.n_rows:,} rows of each table at most, {words.count(trust.n_columns, 'column')}; "
        "repeated rows are "
        "searched in all. `python -m pipeline check` looks at more rows.".replace("`", ""),
        is_quiet=True,
    )
    return Section("trust", "Trust", told, [Findings(findings), *_drifted(material), checked])


def _drifted(material: Material) -> list[Block]:
    """The columns whose distribution in test differs from that in train by more than chance."""
    drifted = sorted((view for view in material.views if view.has_drifted), key=lambda view: -view.drift)
    if not drifted:
        return []
    rows = [
        [
            Cell(words.of_data(view.name)),
            Cell("", picture=spark(view.train, view.test, name="train as bars, test as a line"), value=""),
            number_cell(f"{view.drift:.2f}", view.drift),
            number_cell(f"{view.drift_noise:.2f}", view.drift_noise),
            number_cell(words.percent(view.association), view.association),
        ]
        for view in drifted[:MOST_COLUMNS]
    ]
    columns = [
        Column("column"),
        Column("train (bars), test (line)"),
        Column("drift", is_number=True, help="greatest difference of the distributions, 0 to 1"),
        Column("chance", is_number=True, help="what equal distributions reach"),
        Column("tells", is_number=True, help="share of the target that the column explains alone"),
    ]
    more = "" if len(drifted) <= MOST_COLUMNS else f", the first {MOST_COLUMNS} of {len(drifted)}"
    return [Table(f"Columns in which test differs from train{more}", columns, rows)]
