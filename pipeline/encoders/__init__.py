"""What is learned from the rows a model may see, and the numbers it turns a table into."""

from pipeline.encoders.columns import PRIOR_ROWS, RARE, CategoryColumn, NumberColumn, TargetMeans
from pipeline.encoders.encoded import FIRST_LEVEL_CODE, MISSING_CODE, UNSEEN_CODE, Encoded, View
from pipeline.encoders.table import SMOOTH_CLIP_AT, Encode, Encodings, TableEncoder, correct_fit_rows, fit_encoder
from pipeline.encoders.texts import TextColumn, fit_text

__all__ = [
    "FIRST_LEVEL_CODE",
    "MISSING_CODE",
    "PRIOR_ROWS",
    "RARE",
    "SMOOTH_CLIP_AT",
    "UNSEEN_CODE",
    "CategoryColumn",
    "Encode",
    "Encoded",
    "Encodings",
    "NumberColumn",
    "TableEncoder",
    "TargetMeans",
    "TextColumn",
    "View",
    "correct_fit_rows",
    "fit_encoder",
    "fit_text",
]
