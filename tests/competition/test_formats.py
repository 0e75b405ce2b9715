"""Laws of formats: one table reads alike however it is written, and what was guessed about a file is said."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from pipeline.base.errors import DataError
from pipeline.competition.tables.formats import alternatives, is_table, table_name
from pipeline.competition.tables.reading import find_raw, read_head, read_header, read_raw

TEXT = 'id,name,size\n007,"Smith, J",1.10\n8,,12345678901234567890\n9,Zoë | ü,3\n'
CELLS = [["007", "Smith, J", "1.10"], ["8", "", "12345678901234567890"], ["9", "Zoë | ü", "3"]]
SEMICOLON = "id;name;size\n007;Smith, J;1.10\n8;;12345678901234567890\n9;Zoë | ü;3\n"
JSON = (
    '{"id": "007", "name": "Smith, J", "size": 1.10}\n\n{"id": 8, "size": 12345678901234567890}\n'
    '{"id": 9, "name": "Zoë | ü", "size": 3}\n'
)


def zip_of(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


FILES: dict[str, bytes] = {
    "t.csv": TEXT.encode(),
    "bom/t.csv": b"\xef\xbb\xbf" + TEXT.encode(),
    "wide/t.csv": TEXT.encode("utf-16"),
    "big/t.csv": b"\xfe\xff" + TEXT.encode("utf-16-be"),
    "windows/t.csv": TEXT.replace("\n", "\r\n").encode("cp1252"),
    "semicolon/t.csv": SEMICOLON.encode(),
    "t.tsv": SEMICOLON.replace(";", "\t").encode(),
    "tab/t.csv": SEMICOLON.replace(";", "\t").encode(),
    "t.txt": SEMICOLON.replace(";", "\t").encode(),
    "bar/t.csv": TEXT.replace(",", "|").replace('"Smith| J"', "Smith, J").replace("Zoë | ü", '"Zoë | ü"').encode(),
    "t.csv.gz": gzip.compress(TEXT.encode()),
    "t.csv.zst": pa.compress(TEXT.encode(), codec="zstd", asbytes=True),
    "t.csv.zip": zip_of({"t.csv": TEXT.encode(), "__MACOSX/._t.csv": b"\0"}),
    "t.zip": zip_of({"folder/other.tsv": SEMICOLON.replace(";", "\t").encode()}),
    "t.jsonl": JSON.encode(),
    "t.ndjson": JSON.encode(),
    "zipped/t.jsonl.gz": gzip.compress(JSON.encode()),
}


@pytest.mark.parametrize("name", FILES)
def test_a_table_reads_alike_however_it_is_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / Path(name).name
    path.write_bytes(FILES[name])
    assert is_table(path)
    assert find_raw(tmp_path, "t.csv") == path
    assert read_header(path) == ["id", "name", "size"]
    raw = read_raw(path)
    assert raw.frame.to_numpy().tolist() == CELLS
    assert raw.frame.columns.tolist() == ["id", "name", "size"]


@pytest.mark.parametrize("n_bytes", [22, 30, 1 << 20])
@pytest.mark.parametrize("name", FILES)
def test_the_first_rows_are_the_same_without_the_rest(
    tmp_path: Path, name: str, n_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / Path(name).name
    path.write_bytes(FILES[name])
    monkeypatch.setattr("pipeline.competition.tables.reading.HEADER_BYTES", n_bytes)
    assert read_head(path, 1).to_numpy().tolist() == CELLS[:1]


def test_the_first_rows_of_a_long_file_are_read_without_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + '1,"two\nlines"\n' * 200_000 + "a row of one field\n")
    assert read_head(path, 2).to_numpy().tolist() == [["1", "two\nlines"]] * 2
    with pytest.raises(DataError, match="has 1 fields"):
        read_raw(path)


def test_parquet_in_a_zip_is_read(tmp_path: Path) -> None:
    file = io.BytesIO()
    pd.DataFrame({"a": [1, 2]}).to_parquet(file)
    (tmp_path / "t.parquet.zip").write_bytes(zip_of({"t.parquet": file.getvalue()}))
    assert read_raw(tmp_path / "t.parquet.zip").frame["a"].tolist() == [1, 2]
    assert read_header(tmp_path / "t.parquet.zip") == ["a"]


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("a;b\n1;2\n", "t.csv: the cells are separated by semicolons"),
        ("a\tb\n1\t2\n", "t.csv: the cells are separated by tabs"),
        ("a,b\n1,2\n,\n3,4\n,\n", "t.csv: 2 rows have only empty cells; they are left out"),
    ],
)
def test_what_is_odd_about_a_file_is_said(tmp_path: Path, content: str, note: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    assert read_raw(tmp_path / "t.csv").notes == [note]


def test_messages_name_rows_of_the_file_when_some_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n,\n1,2\n,\n3,4\n")
    raw = read_raw(tmp_path / "t.csv")
    assert raw.frame["a"].tolist() == ["1", "3"]
    assert raw.where("a", 1).endswith("column 'a', row 4")


@pytest.mark.parametrize(
    "content", ["id,text\n1,a;b\n2,c;d\n", "id\n1\n2\n", 'a,b\n"x;y\nz",1\n', "a;b\n1;2;3\n", "a|b,c\n1|2,3\n"]
)
def test_a_comma_is_the_separator_unless_another_fits(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    assert read_raw(tmp_path / "t.csv").notes == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv.zip", zip_of({"a.csv": b"a\n1\n", "b.csv": b"a\n1\n"}), "contains 2 files"),
        ("t.csv.zip", b"PK\x03\x04broken", "not a complete zip file"),
        ("t.csv.zst", pa.compress(TEXT.encode() * 9, codec="zstd", asbytes=True)[:-9], "not a complete zstd file"),
        ("t.csv", pa.compress(TEXT.encode(), codec="zstd", asbytes=True), "Rename it to end in .csv.zst"),
        ("t.jsonl", b'{"a": 1}\n{"a": \n', "line 2 is not JSON"),
        ("t.jsonl", b"[1, 2]\n", "line 1 is not an object"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        read_raw(tmp_path / name)
    assert said in error.value.message
    assert name in error.value.message


def test_json_values_keep_their_text(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"a": true, "b": null, "c": [1, "x"], "d": 1e3}\n')
    assert read_raw(tmp_path / "t.jsonl").frame.iloc[0].tolist() == ["True", "", '["1", "x"]', "1e3"]


def test_names_of_tables(tmp_path: Path) -> None:
    for name in ("notes.md", "model.bin", "source.json", ".csv"):
        assert table_name(name) is None
    (tmp_path / "two.zip").write_bytes(zip_of({"a.csv": b"a\n1\n", "b.csv": b"a\n1\n"}))
    (tmp_path / "images.zip").write_bytes(zip_of({"1.png": b"x"}))
    assert not is_table(tmp_path / "two.zip")
    assert not is_table(tmp_path / "images.zip")
    assert alternatives("train.csv")[:3] == ["train.csv", "train.csv.gz", "train.csv.zst"]
    assert {"train.parquet", "train.tsv", "train.jsonl", "train.zip"} <= set(alternatives("train.csv"))
