"""Learners of plain arrays as models: scikit-learn and boosting."""
