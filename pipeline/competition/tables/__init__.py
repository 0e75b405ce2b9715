"""Raw files -> checked, typed frames; new rows typed the same way.

Must not know: encoders, folds' assignment, models, or where artifacts lie.
"""

from pipeline.competition.tables.loading import CompetitionTables, NewRows, load_tables, new_rows
from pipeline.competition.tables.reading import MISSING_MARKERS, RawTable, find_raw, read_raw, read_table
from pipeline.competition.tables.typed import ColumnRecipe, type_new_rows

__all__ = [
    "MISSING_MARKERS",
    "ColumnRecipe",
    "CompetitionTables",
    "NewRows",
    "RawTable",
    "find_raw",
    "load_tables",
    "new_rows",
    "read_raw",
    "read_table",
    "type_new_rows",
]
