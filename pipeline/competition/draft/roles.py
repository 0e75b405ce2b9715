"""What the feature columns are: codes, ordered categories, dates, texts; and how test relates to train in time.

Must not know: targets, or how the spec is written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from pipeline.base.text import TEXT
from pipeline.competition.draft.files import DraftFiles
from pipeline.competition.draft.scales import ordered_levels
from pipeline.competition.far_markers import far_marker
from pipeline.competition.structure import Keys, TimeOrder, disjoint_keys, time_order
from pipeline.competition.tables.dates import date_format_of, number_format_of, parse_dates
from pipeline.competition.tables.deciding import decide_recipe
from pipeline.competition.tables.markers import are_markers
from pipeline.competition.tables.reading import MISSING_MARKERS, as_written, is_text, numbers_of
from pipeline.competition.tables.typed import ColumnRecipe
from pipeline.config.sections import Columns

MAX_CODES = 25
CODE_WORDS = (
    "class", "type", "kind", "code", "category", "cluster", "group", "season", "weather", "zone", "region", "district",
    "country", "state", "city", "store", "shop", "department", "sector", "brand", "colour", "color",
)  # fmt: skip
GROUP_WORDS = (
    "patient", "subject", "user", "customer", "client", "person", "group", "product", "prod", "batch", "session",
    "well", "site", "station", "store", "shop", "device", "sensor", "machine", "engine", "household", "family",
)  # fmt: skip
KEY_WORDS = ("id", "code")  # keys of other tables: categories even if there are many
MIN_CODED = 3  # features, if all are codes
MIN_GAP, MIN_REPEATS = 20, 10  # distance between the values of a code on average; rows of each
NAME_SHARE = 0.5  # a text column with more distinct values than this share of its rows holds names
MIN_NAMES = 50
MIN_DATE_SHARE = 0.99
MIN_DATE_DIGITS, MAX_DATE_LENGTH = 3, 40
N_HEAD = 1000  # cells that are looked at before a whole column
DATE_WORDS = (
    "date", "dates", "day", "time", "datetime", "timestamp", "ts", "epoch", "unix", "utc", "at", "on", "created",
    "updated", "month", "yearmonth", "ym", "ymd", "yyyymm", "yyyymmdd", "period", "dt", "since",
)  # fmt: skip
PIXEL = re.compile(r"(?i).*pi?x(el)?s?\D*\d+(\D+\d+)?|\d+x\d+")
MAX_PIXEL_VALUE = 255
MIN_SERIES = 20  # this many columns pixel_0, pixel_1, ... are one measurement; they are not inspected one by one


@dataclass
class Roles:
    """Guesses by key of [columns]: column -> evidence, or for `ordered` its levels."""

    categories: dict[str, str] = field(default_factory=dict)
    ordered: dict[str, list[str]] = field(default_factory=dict)
    dates: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    na_is_category: dict[str, str] = field(default_factory=dict)
    pixels: str | None = None  # evidence that all columns are pixels
    remarks: list[str] = field(default_factory=list)
    times: dict[str, TimeOrder] = field(default_factory=dict)  # date column -> where test lies
    keys: dict[str, Keys] = field(default_factory=dict)  # column whose values train and test do not share


def guess_roles(files: DraftFiles, target: list[str]) -> Roles:
    """Guess the roles of the feature columns, and of the id if it is a date or compound."""
    features = [name for name in files.shared_columns if name not in target]
    roles = Roles(pixels=_guess_pixels(features, files))
    stems = pd.Series([re.sub(r"\d+$", "", name) for name in features if re.search(r"\d$", name)], dtype=TEXT)
    counts = stems.value_counts()
    series = set(counts[counts >= MIN_SERIES].index)
    tables = [files.train, files.test]
    for name in [files.id, *features]:
        if re.sub(r"\d+$", "", name) in series:
            continue
        if name == files.id:
            _guess_id(name, files, roles)
            continue
        recipe, notes = decide_recipe(name, tables, Columns())
        parts = [recipe.cells(table) for table in tables]
        if not _guess_date(name, parts, files, roles):
            if recipe.kind == "number":
                _guess_code(name, parts, roles)
                marker = far_marker(np.concatenate([recipe.notation.read(part) for part in parts]))
                roles.remarks += [] if marker is None else [f"{name!r}: {marker.told}; if missing: {marker.key(name)}"]
            elif recipe.kind == "category" and parts[0].notna().any():
                _guess_text(name, parts, files, roles)
            if name not in roles.texts:  # texts are read as they are
                roles.remarks += [f"guessed: {note}" for note in notes]
        _guess_key(name, recipe, parts, roles)
    roles.categories |= _all_codes(features, files, roles)
    return roles


def _all_codes(features: list[str], files: DraftFiles, roles: Roles) -> dict[str, str]:
    """Codes that only the whole table shows: each feature is a sparse, often repeated number, and one is called a code.

    A single column of such numbers may be a quantity, such as an area in pixels.
    """
    called = [name for name in features if {*_words(name)[-1:]} & {*KEY_WORDS, *CODE_WORDS}]
    if len(features) < MIN_CODED or not called:
        return {}
    found: dict[str, str] = {}
    for name in features:
        numbers = np.concatenate([numbers_of(table.column(name)) for table in (files.train, files.test)])
        if np.isnan(numbers).any() or (numbers != np.round(numbers)).any():
            return {}
        values = np.unique(numbers)
        span = values[-1] - values[0] + 1
        if not MIN_NAMES < len(values) <= min(span / MIN_GAP, len(numbers) / MIN_REPEATS):
            return {}
        found[name] = f"{len(values)} distinct whole numbers, {span / len(values):.0f} apart on average"
    why = f"; so are all {len(features)} features, of which {called[0]!r} is called a code"
    return {name: evidence + why for name, evidence in found.items() if name not in roles.categories}


def _guess_id(name: str, files: DraftFiles, roles: Roles) -> None:
    """The id is a feature, too, if it is a date or compound."""
    parts = [files.train.column(name), files.test.column(name)]
    if not any(is_text(part) for part in parts) or _guess_date(name, parts, files, roles):
        return
    texts = _texts(parts)
    prefix = first_parts(texts)
    if prefix is not None and prefix.nunique() > MIN_NAMES:
        roles.texts[name] = f"compound ids: {prefix.nunique()} distinct first parts in {len(texts)} ids"


def _texts(parts: list[pd.Series]) -> pd.Series:
    return pd.concat([as_written(part) for part in parts], ignore_index=True).dropna()


def _guess_pixels(features: list[str], files: DraftFiles) -> str | None:
    """Evidence that the features are the pixels of an image: their names, and values that fit into bytes."""
    if len(features) < MIN_SERIES or not all(PIXEL.fullmatch(name) for name in features):
        return None
    highest = 0.0
    for part in (file.column(name) for file in (files.train, files.test) for name in features):
        values = numbers_of(part)
        if np.isnan(values).any() or (values != np.round(values)).any() or values.min() < 0:
            return None
        highest = max(highest, float(values.max()))
    return f"{len(features)} pixels with values from 0 to {highest:g}" if highest <= MAX_PIXEL_VALUE else None


def _guess_text(name: str, parts: list[pd.Series], files: DraftFiles, roles: Roles) -> None:
    _guess_na(name, files, roles)
    texts = _texts(parts)
    values = sorted(texts.unique())
    levels = ordered_levels(values)
    if levels:
        roles.ordered[name] = ["NA", *levels] if name in roles.na_is_category else levels
    elif len(values) > MIN_NAMES and len(values) > NAME_SHARE * len(texts):
        roles.texts[name] = f"text, {len(values)} distinct in {len(texts)} cells, such as {texts.iloc[0]!r}"
        pieces = _compound(texts)
        roles.texts[name] += f"; compound ({pieces})" if pieces else ""


def first_parts(ids: pd.Series) -> pd.Series | None:
    """`0001` of each id `0001_01`, if all ids have this form and some share their first part; else None."""
    form = r"^(\w+?)_(\d{1,3})$"
    if not ids.head(N_HEAD).str.match(form).eq(True).all():  # saves reading the whole column
        return None
    prefix: pd.Series = ids.str.extract(form, expand=True)[0]
    return prefix if prefix.notna().all() and prefix.nunique() < len(ids) else None


def _compound(texts: pd.Series) -> str:
    """`3 parts between '/'` if nearly all texts split alike and some part repeats; else empty."""
    for delimiter in ("/", "-", "_", "|", ":"):
        n_parts = texts.str.count(re.escape(delimiter)) + 1
        usual = int(n_parts.mode().iloc[0])
        if usual > 1 and (n_parts == usual).mean() >= 0.95:
            pieces = texts[n_parts == usual].str.split(delimiter, expand=True)
            if pieces.nunique().min() <= NAME_SHARE * len(texts):
                return f"{usual} parts between {delimiter!r}"
    return ""


def _guess_na(name: str, files: DraftFiles, roles: Roles) -> None:
    """The text NA in a column with empty cells is a value: a file has only one way to mark a missing cell."""
    cells = pd.concat([as_written(table.frame[name]) for table in (files.train, files.test)], ignore_index=True)
    n_na, n_empty, n_none = (int((cells == text).sum()) for text in ("NA", "", "None"))
    if n_na and n_empty:
        roles.na_is_category[name] = f"{n_na} cells read NA, {n_empty} are empty"
    elif n_none and (cells.isin(MISSING_MARKERS - {"None"})).any():
        roles.remarks.append(
            f"{name!r} has cells that read None and others that are missing; all are read as missing unless "
            "na_is_category lists the column"
        )


def _guess_date(name: str, parts: list[pd.Series], files: DraftFiles, roles: Roles) -> bool:
    known = [part[~are_markers(part, of_dates=True)] if is_text(part) else part for part in parts]
    first = next((text for part in known for text in as_written(part.dropna().head(1))), None)
    if first is None:
        return False
    if all(not is_text(part) or not np.isnan(numbers_of(part.dropna().head(10))).any() for part in known):
        is_called_date = any(word in DATE_WORDS or word.endswith(("date", "time", "stamp")) for word in _words(name))
        formats = [number_format_of(known)] if is_called_date else []
    else:
        is_likely = sum(sign.isdigit() for sign in first) >= MIN_DATE_DIGITS and len(first) <= MAX_DATE_LENGTH
        few = [part.dropna().head(N_HEAD) for part in known]  # saves reading the whole column
        date_format, share = date_format_of(few) if is_likely else ("", 0.0)
        formats = [date_format] if share >= MIN_DATE_SHARE else []
    if not any(formats):
        return False
    recipe, notes = decide_recipe(name, [files.train, files.test], Columns(dates=[name]))
    train, test = (parse_dates(part, recipe.date_format) for part in parts)
    n_known = sum(int(part.notna().sum()) for part in known)
    share = float(train.notna().sum() + test.notna().sum()) / max(n_known, 1)
    if share < MIN_DATE_SHARE:
        return False
    why = "; ".join(note.removeprefix(f"{name}: ") for note in notes)
    roles.dates[name] = why or f"{share:.0%} of the texts are dates, such as {first!r}"
    order = time_order(train.dropna(), test.dropna())
    if order is not None:
        roles.times[name] = order
    return True


def _guess_key(name: str, recipe: ColumnRecipe, parts: list[pd.Series], roles: Roles) -> None:
    """A key by its values; of numbers also by its name, as measurements and times may have no value in common, too."""
    if name in roles.dates:
        return
    if recipe.kind == "number":
        words = _words(name)
        if not recipe.notation.is_plain:
            return
        if not words or (words[-1] not in KEY_WORDS and not set(words) & set(GROUP_WORDS)):
            return
        parts = [pd.Series(numbers_of(part)) for part in parts]
    keys = disjoint_keys(*parts)
    if keys is not None:
        roles.keys[name] = keys


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def _guess_code(name: str, parts: list[pd.Series], roles: Roles) -> None:
    numbers = np.concatenate([numbers_of(part) for part in parts])
    numbers = numbers[~np.isnan(numbers)]
    if len(numbers) == 0 or (numbers != np.round(numbers)).any():
        return
    n_values = len(np.unique(numbers))
    words = _words(name)
    hints = [hint for word in words for hint in CODE_WORDS if word == hint or (len(hint) > 3 and word.endswith(hint))]
    if hints and 3 <= n_values <= MAX_CODES:
        roles.categories[name] = f"{n_values} distinct whole numbers, and the name contains {hints[0]!r}"
    elif words and words[-1] in KEY_WORDS and 3 <= n_values <= len(numbers) / 20:
        roles.categories[name] = f"{n_values} distinct whole numbers, and the name ends in {words[-1]!r}"
