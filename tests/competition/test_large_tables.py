"""Large files and tables, of which a part at a time is in memory, give what small ones give."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.base import files, mapped
from pipeline.base.errors import DataError
from pipeline.competition.tables import formats
from pipeline.competition.tables.deciding import decide_recipe
from pipeline.competition.tables.reading import RawTable, read_raw
from pipeline.competition.tables.text_tables import BLOCK
from pipeline.competition.tables.typed import type_new_rows
from pipeline.config.run import FeatureSteps
from pipeline.config.sections import Columns
from pipeline.encoders import table
from pipeline.encoders.table import fit_encoder

ROWS = [f'{i},{i / 7:.5f},"shop, {i % 5}",2021-01-{1 + i % 28:02d},{"NA" if i % 9 == 0 else i % 3}' for i in range(999)]
TEXT = "id,price,shop,seen,kind\n" + "\n".join(ROWS)
FAULTS = {
    "ragged": TEXT + "\n1,2\n",
    "open quote": TEXT + '\n1,2,"x',
    "binary": TEXT + "\n1,2,\0,2021-01-01,1\n",
    "twice": "id,id\n1,2\n",
    "web page": "<!doctype html>\n" + TEXT,
}


@pytest.fixture
def all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "LARGE_FILE", 1)
    monkeypatch.setattr(mapped, "MANY_CELLS", 1)
    monkeypatch.setattr(table, "ROWS_AT_ONCE", 100)


def written(folder: Path, content: str | bytes, name: str = "train.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def both(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[RawTable, RawTable]:
    small = read_raw(path)
    monkeypatch.setattr(formats, "LARGE_FILE", 1)
    return small, read_raw(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.csv", TEXT),
        ("train.csv", b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode()),
        ("train.csv", TEXT.replace(",", ";").encode("utf-16")),
        ("train.csv", (TEXT + "\n5,1,K\u00f6ln,2021-01-01,1").encode("cp1252")),
        ("train.csv", (TEXT + "\n5,1,K\u00f6ln \x81,2021-01-01,1").encode("latin-1")),
        ("train.tsv", TEXT.replace(",", "\t").encode()),
        ("train.csv.gz", gzip.compress(TEXT.encode())),
        ("train.csv", TEXT + "\n,,,,\n7,7,7,7,7\n"),
    ],
)
def test_a_large_file_is_read_as_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str | bytes
) -> None:
    small, large = both(written(tmp_path, content, name), monkeypatch)
    pd.testing.assert_frame_equal(small.frame, large.frame)
    assert small.notes == large.notes
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_large_file_has_the_same_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    path, messages = written(tmp_path, FAULTS[fault]), []
    for large_file in (formats.LARGE_FILE, 1):
        monkeypatch.setattr(formats, "LARGE_FILE", large_file)
        with pytest.raises(DataError) as raised:
            read_raw(path)
        messages.append(str(raised.value))
    assert messages[0] == messages[1]


def test_a_file_of_several_blocks_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "K\u00f6ln" * 2_000
    n_rows = 3 * BLOCK // len(line.encode())
    content = "a,b\n" + "\n".join(f"{i},{line}" for i in range(n_rows))
    for encoding in ("utf-8", "cp1252"):
        small, large = both(written(tmp_path, content.encode(encoding)), monkeypatch)
        pd.testing.assert_frame_equal(small.frame, large.frame)
        assert len(large.frame) == n_rows
        monkeypatch.undo()


def test_columns_are_decided_and_typed_alike(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path, spec = written(tmp_path, TEXT), Columns(dates=["seen"])
    typed = []
    for _ in range(2):
        raw = read_raw(path)
        decided = [decide_recipe(name, [raw], spec) for name in raw.frame.columns]
        typed.append((decided, type_new_rows(raw, [recipe for recipe, _ in decided])))
        request.getfixturevalue("all_are_large")
    assert typed[0][0] == typed[1][0]
    pd.testing.assert_frame_equal(typed[0][1], typed[1][1])


@pytest.mark.usefixtures("all_are_large")
def test_rows_that_are_taken_keep_their_numbers(tmp_path: Path) -> None:
    raw = read_raw(written(tmp_path, TEXT))
    kept = raw.taken(raw.frame["kind"].to_numpy() == "NA")
    assert kept.frame["id"].tolist() == [str(i) for i in range(0, 999, 9)]
    assert kept.where(None, 1).endswith("row 10")


@pytest.mark.usefixtures("all_are_large")
def test_a_large_parquet_file_is_mapped(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "a": [1.5, np.nan, 2.0],
            "a.b": pd.Series(["x", None, "y"], dtype="str"),
            "": [1, 2, 3],
            "is": [True, False, True],
        }
    )
    files.write_parquet(tmp_path / "t.parquet", frame)
    found = files.read_parquet(tmp_path / "t.parquet")
    mapped.release()
    pd.testing.assert_frame_equal(found, frame)


def test_parts_of_a_table_are_encoded_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=300), "c": pd.Series(rng.choice(["a", "b", "c"], 300), dtype="str")})
    rows = np.flatnonzero(rng.random(300) < 0.7)
    for view in ("ordinal", "onehot"):
        whole = fit_encoder(view, FeatureSteps(), {"x": "number", "c": "category"}, {}, frame.iloc[rows])
        monkeypatch.setattr(table, "ROWS_AT_ONCE", 40)
        lazy = fit_encoder(
            view,
            FeatureSteps(),
            {"x": "number", "c": "category"},
            {},
            mapped.RowsOf(frame, rows),  # type: ignore[arg-type]
        )
        assert lazy == whole
        np.testing.assert_array_equal(whole.values_of(frame, rows), whole.transform(frame.iloc[rows]).values)
