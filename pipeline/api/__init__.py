"""The Python API: a competition as one object with a method per stage, and scikit-learn estimators."""
