"""Tables larger than memory likes: columns in unnamed temporary files, read through memory maps.

Must not know what the columns mean. A file ends with its last reader, or with the process.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from pipeline.base.files import WRITE_HINTS, write_error
from pipeline.base.text import TEXT

MANY_CELLS = 50_000_000  # of a table: from here on its columns are mapped, and its rows are copied in parts

_maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


def is_large(n_rows: int, n_columns: int) -> bool:
    """Whether a table of this size is worth the way over a file."""
    return n_rows * n_columns >= max(1, MANY_CELLS)


def release() -> None:
    """Give back the memory of all that was read through maps; what is needed again is read from the files."""
    for one in list(_maps):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # a system without it; a closed map
            one.madvise(mmap.MADV_DONTNEED)


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a file of numbers and texts, of which one column at a time is in memory."""
    table, file = ds.dataset(path), ColumnFile(path.parent)
    for name in table.schema.names:
        file.add(name, _frame(table.to_table(columns={name: ds.field(name)}))[name])
    return file.frame()


class RowsOf:
    """Some rows of a table, to be read like a frame: a column is copied when it is read, never all of them."""

    def __init__(self, frame: pd.DataFrame, rows: NDArray[np.int64]) -> None:
        self._frame, self._rows = frame, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, name: str) -> pd.Series:
        return self._frame[name].iloc[self._rows]


class ColumnFile:
    """An unnamed file in `folder`, or among the temporary ones if `folder` is read-only.

    Writing raises ArtifactError for a full disk.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder if os.access(folder, os.W_OK) else Path(tempfile.gettempdir())
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - maps outlive it
        weakref.finalize(self, self._file.close)
        self._columns: list[tuple[str, int, np.dtype[Any] | None, int]] = []  # name, start, type of numbers, length

    def add(self, name: str, values: pd.Series) -> None:
        """Write a column of numbers or texts."""
        start, dtype = self._begun(), None
        if isinstance(values.dtype, pd.StringDtype):
            texts = pa.array(values, type=pa.large_string())
            chunks = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
            batch = pa.record_batch([pa.concat_arrays(chunks)], names=["0"])
            self._write_table(batch.schema, [batch])
        else:
            numbers = np.ascontiguousarray(values.to_numpy())
            dtype = numbers.dtype
            with self._full_disk_told():
                self._file.write(numbers.data.cast("B"))
        self._columns.append((name, start, dtype, len(values)))

    def frame(self) -> pd.DataFrame:
        """The columns that were added, mapped."""
        mapped, columns = self._mapped(0), {}
        for name, start, dtype, length in self._columns:
            if dtype is None:
                columns[name] = _frame(pa.ipc.open_stream(mapped.slice(start)).read_all())["0"]
            else:
                columns[name] = pd.Series(np.frombuffer(mapped, dtype, length, start), copy=False)
        return pd.DataFrame(columns, copy=False)

    def table(self, schema: Any, batches: Iterable[Any]) -> pd.DataFrame:
        """Write Arrow's batches of texts one by one, and return them mapped."""
        start = self._begun()
        self._write_table(schema, batches)
        return _frame(pa.ipc.open_stream(self._mapped(start)).read_all())

    def _write_table(self, schema: Any, batches: Iterable[Any]) -> None:
        with self._full_disk_told(), pa.ipc.new_stream(pa.PythonFile(self._file, "w"), schema) as writer:
            for batch in batches:
                writer.write_batch(batch)

    def _begun(self) -> int:
        """Where the next bytes are written: Arrow wants them aligned."""
        start = -(-self._file.seek(0, os.SEEK_END) // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        return self._file.seek(start)

    @contextlib.contextmanager
    def _full_disk_told(self) -> Iterator[None]:
        try:
            yield
            self._file.flush()
        except OSError as error:
            if error.errno not in WRITE_HINTS:  # of what is read meanwhile
                raise
            raise write_error(self._folder / "a temporary file", error) from error

    def _mapped(self, start: int) -> Any:
        """All bytes from `start` on."""
        length = self._file.seek(0, os.SEEK_END) - start
        one = mmap.mmap(self._file.fileno(), length, access=mmap.ACCESS_READ, offset=start)
        _maps.add(one)
        return pa.py_buffer(one)


def _frame(table: Any) -> pd.DataFrame:
    """An Arrow table whose texts are pandas' `str`, without copies of texts."""
    is_text = (pa.types.is_string, pa.types.is_large_string)
    frame: pd.DataFrame = table.to_pandas(types_mapper=lambda kind: TEXT if any(f(kind) for f in is_text) else None)
    return frame
