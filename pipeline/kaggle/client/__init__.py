"""Kaggle through its official client: credentials, downloads, submissions, notebooks. Every failure is a `KaggleError`.

Imports `kaggle` inside functions only, because its import reads credentials; never shows a secret.
"""
