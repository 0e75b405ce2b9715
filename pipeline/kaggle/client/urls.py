"""URLs of Kaggle's pages, built from a slug and parsed back into one.

Handles text only; never touches the network.
"""

from __future__ import annotations

import re

COMPETITION_URL = "https://www.kaggle.com/competitions/{slug}"
RULES_URL = "https://www.kaggle.com/competitions/{slug}/rules"
DATASET_URL = "https://www.kaggle.com/datasets/{slug}"
KERNEL_URL = "https://www.kaggle.com/code/{owner}/{slug}"
SETTINGS_URL = "https://www.kaggle.com/settings"


def slug_of(text: str) -> str:
    """Return a competition's slug, given the slug or the URL of any of its pages."""
    found = re.search(r"/(?:competitions|c)/([^/?#]+)", text)
    return found.group(1) if found else re.split(r"[?#]", text)[0].rstrip("/").split("/")[-1]


def is_dataset(slug: str) -> bool:
    """Return whether `slug` names a dataset: `owner/name`."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", slug) is not None


def data_url(slug: str) -> str:
    """Return the page from which the files of a competition or dataset can be downloaded by hand."""
    return DATASET_URL.format(slug=slug) if is_dataset(slug) else f"{COMPETITION_URL.format(slug=slug)}/data"
