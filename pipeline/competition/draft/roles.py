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
from pipeline.competition.structure import Keys, TimeOrder, disjoint_keys, time_order
from pipeline.competition.tables.reading import MISSING_MARKERS, as_written, is_text, numbers_of
from pipeline.competition.tables.typed import FLAG_WORDS, MIN_NUMBER_SHARE, date_format_of, parse_dates

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
NAME_SHARE = 0.5  # a text column with more distinct values than this share of its rows holds names
MIN_NAMES = 50
MIN_DATE_SHARE = 0.99
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
    for name in [files.id, *features]:
        if re.sub(r"\d+$", "", name) in series:
            continue
        parts = [files.train.column(name), files.test.column(name)]
        if not any(is_text(part) for part in parts):
            if name != files.id:
                _guess_code(name, parts, roles)
                _guess_key(name, parts, roles)
            continue
        texts = pd.concat([as_written(part) for part in parts], ignore_index=True).dropna()
        if name == files.id:
            prefix = None if _guess_date(name, texts, files, roles) else first_parts(texts)
            if prefix is not None and prefix.nunique() > MIN_NAMES:
                roles.texts[name] = f"compound ids: {prefix.nunique()} distinct first parts in {len(texts)} ids"
        elif len(texts):
            _guess_text(name, parts, texts, files, roles)
        if name != files.id:
            _guess_key(name, parts, roles)
    return roles


def _guess_pixels(features: list[str], files: DraftFiles) -> str | None:
    """Evidence that the features are the pixels of an image: their names, and values that fit into bytes."""
    if len(features) < MIN_SERIES or not all(PIXEL.fullmatch(name) for name in features):
        return None
    highest = 0.0
    for part in (file.column(name) for file in (files.train, files.test) for name in features):
        if is_text(part) or part.isna().any() or part.min() < 0:
            return None
        highest = max(highest, float(part.max()))
    return f"{len(features)} pixels with values from 0 to {highest:g}" if highest <= MAX_PIXEL_VALUE else None


def _guess_text(name: str, parts: list[pd.Series], texts: pd.Series, files: DraftFiles, roles: Roles) -> None:
    is_number = ~np.isnan(numbers_of(texts))
    if is_number.mean() >= MIN_NUMBER_SHARE:
        if not _guess_date(name, texts, files, roles):
            _guess_code(name, parts, roles)
        return
    if texts.isin(list(FLAG_WORDS)).all() or _guess_date(name, texts, files, roles):
        return
    _guess_na(name, files, roles)
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
    prefix: pd.Series = ids.str.extract(r"^(\w+?)_(\d{1,3})$", expand=True)[0]
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


def _guess_date(name: str, texts: pd.Series, files: DraftFiles, roles: Roles) -> bool:
    if (~np.isnan(numbers_of(texts))).any():
        is_compact = bool(texts.str.match(r"^(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])$").all())
        if not is_compact or "date" not in name.lower():
            return False
    elif date_format_of([texts.head(1000)])[1] < MIN_DATE_SHARE:  # saves reading the whole column
        return False
    date_format, share = date_format_of([texts])
    if share < MIN_DATE_SHARE:
        return False
    roles.dates[name] = f"{share:.0%} of the texts are dates, such as {texts.iloc[0]!r}"
    train, test = (parse_dates(table.column(name), date_format).dropna() for table in (files.train, files.test))
    order = time_order(train, test)
    if order is not None:
        roles.times[name] = order
    return True


def _guess_key(name: str, parts: list[pd.Series], roles: Roles) -> None:
    """A key by its values; of numbers also by its name, as measurements and times may have no value in common, too."""
    if name in roles.dates:
        return
    numbers = [pd.Series(numbers_of(part)) for part in parts]
    if all(
        number.notna().sum() >= MIN_NUMBER_SHARE * part.notna().sum()
        for number, part in zip(numbers, parts, strict=True)
    ):
        words = _words(name)
        if not words or (words[-1] not in KEY_WORDS and not set(words) & set(GROUP_WORDS)):
            return
        parts = numbers
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
