"""Kaggle through its official client: credentials, reading, downloading, sending; every failure is a `KaggleError`.

Imports `kaggle` inside functions alone (its import reads credentials); never shows a secret.
"""

from pipeline.kaggle.client.addresses import COMPETITION_URL, RULES_URL, SETTINGS_URL, data_url, is_dataset, slug_of
from pipeline.kaggle.client.answers import Competition, LeaderboardRow, Limits, RemoteFile, SubmissionStatus
from pipeline.kaggle.client.credentials import Credential, credential_warnings, find_credentials, found_credentials
from pipeline.kaggle.client.download import download_files
from pipeline.kaggle.client.session import KaggleSession, OutputName, client_version

__all__ = [
    "COMPETITION_URL",
    "RULES_URL",
    "SETTINGS_URL",
    "Competition",
    "Credential",
    "KaggleSession",
    "LeaderboardRow",
    "Limits",
    "OutputName",
    "RemoteFile",
    "SubmissionStatus",
    "client_version",
    "credential_warnings",
    "data_url",
    "download_files",
    "find_credentials",
    "found_credentials",
    "is_dataset",
    "slug_of",
]
