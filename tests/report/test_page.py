"""The page: written by the command, complete in itself, escaped, and never in the way of a submit."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from jinja2 import Environment

from pipeline.config.records import Place
from pipeline.report import build, render
from pipeline.report.blocks import Cell, Column, Section, Table
from pipeline.report.sections.ensemble import alike
from tests.conftest import Toy

HOSTILE = "<script>alert(1)</script>"


def page_of(toy: Toy, *options: str) -> str:
    result = toy.run("report", *options)
    assert result.exit_code == 0, result.output
    assert str(toy.workspace.page) in result.stdout.replace("\n", "")
    return toy.workspace.page.read_text(encoding="utf-8")


def sections_of(page: str) -> list[str]:
    return re.findall(r'<section id="([\w-]+)"', page)


def test_without_a_run_the_page_shows_the_data(toy: Toy) -> None:
    page = page_of(toy)
    assert sections_of(page)[:2] == ["headline", "data"]
    assert "make submit COMPETITION=toy" in page


def test_every_section_of_a_regression_is_drawn(toy: Toy) -> None:
    toy.submit("--no-upload")
    page = page_of(toy)
    assert {"headline", "runs", "data", "errors", "provenance"} <= set(sections_of(page))
    assert "could not be drawn" not in page
    assert toy.only_run().name in page


def test_the_page_asks_nothing_of_the_network(toy: Toy) -> None:
    page = page_of(toy)
    assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', page)
    assert "@import" not in page
    assert "default-src 'none'" in page


@pytest.mark.parametrize(
    ("rank", "awards_medals", "told"),
    [(45, True, "top 15.0 %, silver zone"), (120, True, "top 40.0 %, on"), (45, False, "top 15.0 %, on")],
)
def test_the_headline_has_the_place_on_the_leaderboard(toy: Toy, rank: int, awards_medals: bool, told: str) -> None:
    toy.submit("--no-upload")
    assert "public leaderboard" not in page_of(toy)
    asked_at = "2026-01-02T03:04:05+00:00"
    Place(rank=rank, n_teams=300, awards_medals=awards_medals, asked_at=asked_at).write(toy.workspace.place)
    page = page_of(toy)
    assert f"{rank} of 300" in page
    assert told in page
    Place(rank=None, n_teams=300, awards_medals=True, asked_at=asked_at).write(toy.workspace.place)
    assert "public leaderboard" not in page_of(toy)


def test_the_page_is_about_the_run_that_is_named(toy: Toy) -> None:
    toy.submit("--no-upload")
    assert toy.run("report", "no-such-run").exit_code == 2 or "no-such-run" in toy.run("report", "no-such-run").output
    assert toy.only_run().name in page_of(toy, toy.only_run().name)


def hostile(toy: Toy) -> None:
    """A column, a category, a very long text and a text from right to left, all of which are shown."""

    def change(text: str) -> str:
        from io import StringIO

        frame = pd.read_csv(StringIO(text)).rename(columns={"area": HOSTILE})
        names = ['"quoted" & <b>bold</b>', "<img src=x onerror=alert(2)>", "مرحبا\u202e", "x" * 5000]
        frame["town"] = [names[i % len(names)] for i in range(len(frame))]
        return frame.to_csv(index=False)

    for name in ("train.csv", "test.csv"):
        toy.edit(name, change)


def holds_markup_of_data(page: str) -> bool:
    return HOSTILE in page or "<img src=x" in page or "<b>bold" in page


def test_texts_of_data_are_escaped(toy: Toy) -> None:
    hostile(toy)
    toy.submit("--no-upload")
    page = page_of(toy)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not holds_markup_of_data(page)
    assert "x" * 400 not in page
    assert "\u202e" not in page


def test_without_autoescape_the_page_would_hold_markup_of_data(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile(toy)

    def careless() -> Environment:
        made = whole()
        made.autoescape = False
        return made

    whole = render.environment
    monkeypatch.setattr(render, "environment", careless)
    assert holds_markup_of_data(page_of(toy))


def test_a_section_that_cannot_be_drawn_is_left_out_with_a_word(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> Section:
        raise ValueError("no such thing")

    monkeypatch.setitem(build.SECTIONS, "data", broken)
    page = page_of(toy)
    assert "data" not in sections_of(page)
    assert "The section &#39;data&#39; could not be drawn: ValueError: no such thing" in page


def test_numbers_that_are_missing_sort_last() -> None:
    table = Table("t", [Column("a"), Column("b", is_number=True)], [[Cell("x"), Cell("–", float("nan"))]])
    page = render.page([Section("s", "S", "lead", [table])], competition="c", kicker="", is_sample=False)
    assert 'data-v=""' in page


def test_members_without_errors_have_no_correlation_to_show() -> None:
    assert alike(["a", "b"], np.full((2, 2), np.nan)) == []
    assert len(alike(["a", "b"], np.array([[1.0, 0.5], [0.5, 1.0]]))) == 1
