"""A Kaggle competition pipeline: from a competition's name to a scored submission."""

__version__ = "0.1.0"
