"""Cells of several labels are read as they are written, labels with blanks in them included."""

from __future__ import annotations

import pytest

from pipeline.competition.tables.ranked_labels import join_labels, label_reader

CLASSES = ["dengue", "dengue fever", "zika", "7"]


@pytest.mark.parametrize("labels", [["zika"], ["dengue fever", "zika", "dengue"], ["7", "dengue"]])
def test_what_was_written_is_read(labels: list[str]) -> None:
    assert label_reader(CLASSES)(join_labels(labels)) == labels


@pytest.mark.parametrize("cell", ["", "malaria", "zika zika", "zika,dengue", "zikadengue", "zika  7"])
def test_other_texts_are_not_read(cell: str) -> None:
    assert label_reader(CLASSES)(cell) is None
