"""Kaggle's web addresses: made from a slug, and read back into one.

Knows text alone; never talks to the network.
"""

from __future__ import annotations

import re

COMPETITION_URL = "https://www.kaggle.com/competitions/{slug}"
RULES_URL = "https://www.kaggle.com/competitions/{slug}/rules"
DATASET_URL = "https://www.kaggle.com/datasets/{slug}"
KERNEL_URL = "https://www.kaggle.com/code/{owner}/{slug}"
SETTINGS_URL = "https://www.kaggle.com/settings"


def slug_of(given: str) -> str:
    """A competition's slug from itself or from any of its pages' addresses."""
    found = re.search(r"/(?:competitions|c)/([^/?#]+)", given)
    return found.group(1) if found else re.split(r"[?#]", given)[0].rstrip("/").split("/")[-1]


def is_dataset(slug: str) -> bool:
    """Whether `slug` names a data set: `owner/name`."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", slug) is not None


def data_url(slug: str) -> str:
    """The page on which the files of a competition or data set can be downloaded by hand."""
    return DATASET_URL.format(slug=slug) if is_dataset(slug) else f"{COMPETITION_URL.format(slug=slug)}/data"
