"""The recipe of each column: as the spec says, or told from its values; and what the user is told of it.

A sample of the cells rules out most kinds, so that whole columns are read only as what they probably are.
Must not know: targets, ids, or what is learned from the values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from pipeline.base.arrays import FloatArray
from pipeline.base.text import TEXT
from pipeline.competition.tables.dates import DATE_PARTS, TOLD, date_format_of, parse_dates
from pipeline.competition.tables.markers import DATE_MARKERS, MARKERS
from pipeline.competition.tables.notations import PLAIN, find_notation
from pipeline.competition.tables.reading import RawTable, as_written, is_text, numbers_of
from pipeline.competition.tables.typed import FLAG_WORDS, ColumnRecipe
from pipeline.config.sections import Columns

MIN_NUMBER_SHARE = 0.95  # a column with at least this share of numbers is numeric; other texts in it are mistakes
MOST_STRAYS = 50  # distinct texts among numbers or dates; a column with more holds codes or texts
N_SAMPLED = 500  # cells of each table
MAX_DIGITS = 15  # of a whole number that float64 holds; longer ones are keys

Decided = tuple[ColumnRecipe, list[str]]


def decide_recipe(name: str, tables: list[RawTable], columns: Columns) -> Decided:
    """The recipe of one column, and what was converted: set by the spec, or told from its values in all `tables`.

    The first table is the one to learn from.
    """
    keeps_na, missing = name in columns.na_is_category, list(columns.missing.get(name, []))
    recipe = ColumnRecipe(name, "category", [name], na_is_category=keeps_na, missing=missing)
    if name in columns.dates:
        return _as_date(recipe, tables)
    if name in columns.texts:
        return replace(recipe, kind="text"), []
    if name in columns.ordered:
        levels = list(columns.ordered[name])
        return replace(recipe, kind="ordered", levels=levels, is_stripped=all(x == x.strip() for x in levels)), []
    if name in columns.categories:
        return replace(recipe, kind="code"), []
    return (recipe, []) if keeps_na else _by_values(recipe, tables)


def numbers_in(cells: pd.Series) -> tuple[FloatArray, str] | None:
    """The cells as numbers, and what was converted ("" for plain numbers); None unless nearly all are numbers."""
    least = MIN_NUMBER_SHARE * int(cells.notna().sum())
    numbers = numbers_of(cells)
    if np.count_nonzero(~np.isnan(numbers)) >= least > 0:
        return numbers, ""
    notation = find_notation(_sampled([cells])) if least > 0 and is_text(cells) else None
    if notation is None:
        return None
    numbers = notation.read(cells)
    is_read = ~np.isnan(numbers)
    if np.count_nonzero(is_read) < least:
        return None
    return numbers, f"texts such as {next(iter(cells[is_read].head(1)))!r} are {notation.told}"


def _by_values(recipe: ColumnRecipe, tables: list[RawTable]) -> Decided:
    parts = [recipe.cells(table) for table in tables]
    if not any(is_text(part) for part in parts) or not any(part.notna().any() for part in parts):
        return replace(recipe, kind="number"), []
    sample = _sampled(parts)
    texts = {text: count for text, count in sample.items() if text.strip().lower() not in MARKERS}
    if FLAG_WORDS.keys() & texts.keys() and texts.keys() <= FLAG_WORDS.keys() | {"0", "1", "0.0", "1.0"}:
        flag = _as_flag(recipe, parts)
        if flag is not None:
            return flag, []
    numbers = numbers_of(pd.Series(list(texts), dtype=TEXT))
    n_numbers = sum(count for count, number in zip(texts.values(), numbers, strict=True) if not np.isnan(number))
    if texts and n_numbers >= 0.5 * sum(texts.values()):
        decided = None if _are_keys(texts) else _as_numbers(replace(recipe, kind="number"), parts, tables)
    else:
        notation = find_notation(texts) if texts else None
        numeric = None if notation is None else replace(recipe, kind="number", notation=notation)
        decided = None if numeric is None else _as_numbers(numeric, parts, tables)
    return decided or _as_category(recipe, sample)


def _as_flag(recipe: ColumnRecipe, parts: list[pd.Series]) -> ColumnRecipe | None:
    """A flag, if all cells are True, False, 0, 1 or markers, and some are words."""
    words = [pd.Series(part.dropna().unique(), dtype=TEXT) for part in parts if is_text(part)]
    texts = pd.concat(words, ignore_index=True)
    is_word, is_marker = texts.isin(list(FLAG_WORDS)), texts.str.strip().str.lower().isin(MARKERS)
    is_number = np.isin(numbers_of(texts), (0.0, 1.0))
    return replace(recipe, kind="flag") if is_word.any() and (is_word | is_marker | is_number).all() else None


def _are_keys(texts: Mapping[str, int]) -> bool:
    """Whether these are digits that mean no quantity: leading zeros, or more digits than a number holds."""
    digits = {text: count for text, count in texts.items() if text.isdecimal()}
    if any(text[0] == "0" and len(text) > 1 for text in digits):
        return len(digits) == len(texts)
    n_long = sum(count for text, count in digits.items() if len(text) > MAX_DIGITS)
    return n_long > 0.5 * sum(texts.values())


def _as_category(recipe: ColumnRecipe, sample: Mapping[str, int]) -> Decided:
    """A category, in which blanks around the levels do not count if some levels differ by nothing else."""
    bare = {text.strip() for text in sample}
    if len(bare) == len(sample) and "" not in bare:
        return recipe, []
    note = f"{recipe.source}: blanks around its texts are left out; they would tell equal ones apart"
    return replace(recipe, is_stripped=True), [note]


def _as_numbers(recipe: ColumnRecipe, parts: list[pd.Series], tables: list[RawTable]) -> Decided | None:
    """A number column, if nearly all cells are numbers; None if not."""
    values = [recipe.notation.read(part) for part in parts]
    others = [part[part.notna().to_numpy() & np.isnan(v)] for part, v in zip(parts, values, strict=True)]
    n_read = sum(int((~np.isnan(v)).sum()) for v in values)
    decided = _with_strays(recipe, others, tables, n_read, MARKERS)
    if decided is None or recipe.notation == PLAIN:
        return decided
    example = next(t for part, v in zip(parts, values, strict=True) for t in part[~np.isnan(v)].head(1))
    recipe, notes = decided
    return recipe, [f"{recipe.source}: texts such as {example!r} are {recipe.notation.told}", *notes]


def _as_date(recipe: ColumnRecipe, tables: list[RawTable]) -> Decided:
    parts = [recipe.cells(table) for table in tables]
    known = [part[~part.str.strip().str.lower().isin(DATE_MARKERS)] if is_text(part) else part for part in parts]
    date_format, _ = date_format_of(known)
    stem = date_stem(recipe.source, {str(column) for table in tables for column in table.frame.columns})
    times = [parse_dates(part, date_format) for part in parts]
    train = times[0].dropna()
    has_part = {"minute": train.dt.minute.nunique() > 1, "second": train.dt.second.nunique() > 1}
    features = [f"{stem}_{part}" for part in DATE_PARTS if has_part.get(part, True)]
    recipe = replace(recipe, kind="date", features=features, date_format=date_format)
    others = [part[(part.notna() & time.isna()).to_numpy()] for part, time in zip(parts, times, strict=True)]
    decided = _with_strays(recipe, others, tables, sum(int(t.notna().sum()) for t in times), DATE_MARKERS)
    recipe, notes = decided or (recipe, [])
    if date_format != "ISO8601":
        example = next((text for part in known for text in part.dropna().head(1)), "")
        order = {"%m": ", the month first", "%d": ", the day first", "%y": ", the year first"}.get(date_format[:2], "")
        told = TOLD.get(date_format, f"{date_format}{order if date_format[3:4] != 'b' else ''}")
        notes = [f"{recipe.source}: dates such as {str(example)!r} are read as {told}", *notes]
    if stem != recipe.source:
        notes += [f"{recipe.source}: its parts are called {features[0]!r} and so on, as other columns have those names"]
    return recipe, notes


def date_stem(name: str, taken: set[str]) -> str:
    """What the features of a date begin with: its name, or more if another column is called like one of them."""
    stem = name
    while any(f"{stem}_{part}" in taken for part in DATE_PARTS) or (stem != name and stem in taken):
        stem += "_date"
    return stem


def _with_strays(
    recipe: ColumnRecipe, others: list[pd.Series], tables: list[RawTable], n_read: int, markers: Iterable[str]
) -> Decided | None:
    """The recipe with the texts among its values as missing, and what is told of them; None if they are too many."""
    counts = {
        table.path.name: Counter(str(text) for text in other.tolist())
        for table, other in zip(tables, others, strict=True)
        if len(other)
    }
    if not counts:
        return recipe, []
    marks, strays = list[str](), list[str]()
    for text in dict.fromkeys(text for count in counts.values() for text in count):
        (marks if text.strip().lower() in markers else strays).append(text)
    n_strays = sum(count[text] for count in counts.values() for text in strays)
    if n_read == 0 or n_read < MIN_NUMBER_SHARE * (n_read + n_strays) or len(strays) > MOST_STRAYS:
        return None
    what = "dates" if recipe.kind == "date" else "numbers"
    told = [f"{_counted(texts, counts)}{why}" for texts, why in ((marks, ""), (strays, f": not {what}")) if texts]
    notes = [f"{recipe.source}: cells read as missing: {'; '.join(told)}"]
    return replace(recipe, missing=[*recipe.missing, *strays]), notes


def _counted(texts: list[str], counts: Mapping[str, Counter[str]]) -> str:
    """`'?' (36 in train.csv, 12 in test.csv)` for the first few texts."""
    shown = []
    for text in texts[:5]:
        places = [f"{count[text]} in {name}" for name, count in counts.items() if count[text]]
        shown.append(f"{text!r} ({', '.join(places)})")
    return ", ".join(shown) + (f" and {len(texts) - 5} more" if len(texts) > 5 else "")


def _sampled(parts: list[pd.Series]) -> Counter[str]:
    """Some cells as text, from everywhere in the column, with their counts."""
    found: Counter[str] = Counter()
    for part in parts:
        present = part.dropna() if len(part) <= N_SAMPLED else part.iloc[:: len(part) // N_SAMPLED].dropna()
        present = present if len(present) else part.dropna().head(N_SAMPLED)
        found.update(as_written(present).tolist())
    return found
