"""The page in a real browser: Chromium, without a head, driven by Playwright.

Skipped where one of them is missing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pipeline.kaggle.ledger import Entry, Ledger
from pipeline.report import render
from pipeline.report.blocks import Section, Tabs, Text
from tests.conftest import TINY, toy_in
from tests.report.test_page import hostile
from tests.stages.test_classification import competition

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
SECTIONS = ["headline", "runs", "data", "errors", "drivers", "trust", "provenance"]  # of every competition with a run
MORE = {"regression": ["tuning", "kaggle"], "binary": ["learning"], "multiclass": ["learning"], "hostile": []}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the PATH"),
]


@dataclass
class Opened:
    """A page in the browser, and what happened since it was opened."""

    page: Any
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing was reported, asked for or shown."""
        assert (self.console, self.requests, self.dialogs) == ([], [], [])
        return True


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield launched
        launched.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Opened]]:
    """Opens a file in a window of its own."""
    contexts = []

    def open_file(path: Path, *, size: dict[str, int] = WIDE, scheme: str = "light") -> Opened:
        contexts.append(browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce"))
        found = Opened(contexts[-1].new_page())
        found.page.on("console", lambda one: found.console.append(one.text))
        found.page.on("pageerror", lambda error: found.console.append(str(error)))
        found.page.on("dialog", lambda one: (found.dialogs.append(one.message), one.dismiss()))
        own = path.as_uri()
        found.page.on("request", lambda one: one.url in (own, "data:,") or found.requests.append(one.url))
        found.page.goto(own)
        return found

    yield open_file
    for context in contexts:
        context.close()


LABELS = {"binary": ["no", "yes"], "multiclass": ["low", "mid", "high"]}


@pytest.fixture(scope="session")
def page_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The page of a small competition by its kind, each made once."""

    @cache
    def made(kind: str) -> Path:
        folder = tmp_path_factory.mktemp(kind)
        toy = competition(folder, LABELS[kind]) if kind in LABELS else toy_in(folder)
        if kind == "hostile":
            hostile(toy)
        if kind == "regression":  # with all that a competition may have
            assert toy.run("train", "--model", "ridge").exit_code == 0
            assert toy.run("tune", *TINY, "--trials", "2").exit_code == 0
            for ref, score in enumerate((0.13, 0.12, 0.15), start=1):
                time = f"2026-01-0{ref}T00:00:00+00:00"
                sent = Entry(time, "", "a.csv", "", "", None, score, ref=ref, status="complete", note="<i>mine</i>")
                Ledger(toy.workspace.ledger).put(sent)
        toy.submit("--no-upload")
        assert toy.run("report").exit_code == 0
        return toy.workspace.page

    return made


KINDS = ("regression", "binary", "multiclass")


@pytest.mark.parametrize("kind", [*KINDS, "hostile"])
def test_the_page_opens_without_an_error_or_a_request(
    kind: str, page_of: Callable[[str], Path], opened: Callable[..., Opened]
) -> None:
    found = opened(page_of(kind))
    shown = found.page.locator("main section").evaluate_all("all => all.map(one => one.id)")
    expected = [*SECTIONS, *MORE[kind]]
    assert set(expected) <= set(shown)
    assert "could not be drawn" not in found.page.content()
    for section in expected:
        assert found.page.locator(f"#{section} h2").is_visible()
        assert len(found.page.locator(f"#{section} .lead").inner_text()) > 20
    assert found.is_quiet


def test_a_table_is_sorted_by_its_heads(page_of: Callable[[str], Path], opened: Callable[..., Opened]) -> None:
    found = opened(page_of("regression"))
    table = found.page.locator("#data table[data-sortable]").first
    column = table.locator("thead th").evaluate_all("all => all.findIndex(one => one.classList.contains('n'))")
    head = table.locator("thead th").nth(column)
    read = f"all => all.map(row => row.cells[{column}].dataset.v ?? row.cells[{column}].textContent)"
    orders = {}
    for _ in range(2):
        head.locator("button").focus()
        found.page.keyboard.press("Enter")
        texts = table.locator("tbody tr").evaluate_all(read)
        orders[head.get_attribute("aria-sort")] = [float(text) for text in texts if text not in ("", "–")]
    assert orders["ascending"] == sorted(orders["ascending"])
    assert orders["descending"] == sorted(orders["descending"], reverse=True)
    assert len(orders["ascending"]) > 1
    first = table.locator("thead th button").first
    first.click()
    names = table.locator("tbody tr").evaluate_all("all => all.map(row => row.cells[0].textContent.toLowerCase())")
    assert names == sorted(names)
    assert head.get_attribute("aria-sort") is None
    assert found.is_quiet


def test_the_search_leaves_the_rows_that_hold_the_words(
    page_of: Callable[[str], Path], opened: Callable[..., Opened]
) -> None:
    found = opened(page_of("regression"))
    field = found.page.locator("#data input[type=search]")
    rows = found.page.locator("#data table[data-sortable]").first.locator("tbody tr")
    n_rows = rows.count()
    field.fill("TOWN")
    assert [text.split()[0] for text in rows.filter(visible=True).all_inner_texts()] == ["town"]
    assert found.page.locator("#data [role=status]").inner_text() == f"1 of {n_rows}"
    field.fill("")
    assert rows.filter(visible=True).count() == n_rows


@pytest.mark.parametrize("kind", [*KINDS, "hostile"])
def test_nothing_runs_off_a_narrow_screen(
    kind: str, page_of: Callable[[str], Path], opened: Callable[..., Opened]
) -> None:
    found = opened(page_of(kind), size=NARROW)
    show_everything(found)
    width = "document.documentElement.scrollWidth"
    wide = "[...document.querySelectorAll('main *')].filter(one => one.getBoundingClientRect().right > 391"
    wide += " && !one.closest('.scroll, pre, svg')).map(one => one.outerHTML.slice(0, 200))"
    assert found.page.evaluate(width) <= NARROW["width"], found.page.evaluate(wide)


def test_hostile_texts_stay_texts(page_of: Callable[[str], Path], opened: Callable[..., Opened]) -> None:
    found = opened(page_of("hostile"))
    assert found.page.locator("script").count() == 1
    assert found.page.locator("img, iframe, object, embed, b").count() == 0
    assert found.page.get_by_text("<script>alert(1)</script>").count() > 0
    found.page.locator("#data input[type=search]").fill("<script>alert(1)")
    assert "<script>alert(1)</script>" in found.page.locator("#data tbody tr").filter(visible=True).first.inner_text()
    assert found.is_quiet


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_no_serious_violation(
    kind: str, scheme: str, page_of: Callable[[str], Path], opened: Callable[..., Opened]
) -> None:
    found = opened(page_of(kind), scheme=scheme, size=NARROW if kind == "multiclass" else WIDE)
    show_everything(found)
    assert found.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") == (scheme == "dark")
    assert serious_violations(found) == []


def serious_violations(found: Opened) -> list[str]:
    """What axe-core calls serious or critical, each with the first places."""
    found.page.evaluate(AXE.read_text(encoding="utf-8"))
    violations = found.page.evaluate("axe.run().then(found => found.violations)")
    return [
        f"{one['id']}: {one['help']}: {[(node['target'], node['failureSummary']) for node in one['nodes'][:3]]}"
        for one in violations
        if one["impact"] in ("serious", "critical")
    ]


def test_these_tests_would_see_faults(page_of: Callable[[str], Path], opened: Callable[..., Opened]) -> None:
    found = opened(page_of("binary"))
    found.page.evaluate("document.querySelector('h1').style.color = 'rgba(128, 128, 128, 0.2)'")
    found.page.evaluate("document.querySelector('main').append(new Image())")
    assert {one.split(":")[0] for one in serious_violations(found)} == {"color-contrast", "image-alt"}
    found.page.evaluate("fetch('https://localhost:1/').catch(() => 0)")
    found.page.wait_for_function("true")
    assert found.console
    found.page.evaluate("document.querySelector('main').style.width = '5000px'")
    assert found.page.evaluate("document.documentElement.scrollWidth") > WIDE["width"]


def show_everything(found: Opened) -> None:
    """Open what is folded, and show all tabs at once."""
    found.page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    found.page.evaluate("for (const one of document.querySelectorAll('[role=tabpanel]')) one.hidden = false")


def test_the_tabs_follow_the_arrow_keys(tmp_path: Path, opened: Callable[..., Opened]) -> None:
    tabs = Tabs("kinds", [("one", [Text("the first")]), ("two", [Text("the second")])])
    path = tmp_path / "index.html"
    text = render.page([Section("s", "S", "lead", [tabs])], competition="c", kicker="", is_sample=False)
    path.write_text(text, encoding="utf-8")
    page = opened(path).page
    assert page.get_by_text("the first").is_visible()
    assert not page.get_by_text("the second").is_visible()
    page.get_by_role("tab", name="one").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("tab", name="two").get_attribute("aria-selected") == "true"
    assert page.get_by_text("the second").is_visible()
    assert not page.get_by_text("the first").is_visible()


def test_the_sections_can_be_read_without_the_script(page_of: Callable[[str], Path], browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_of("regression").as_uri())
    assert page.locator("main section").count() >= len(SECTIONS)
    assert all(one.is_visible() for one in page.locator("[role=tabpanel]").all())
    context.close()
