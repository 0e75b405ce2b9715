"""URLs of Kaggle's pages, built from a slug. Handles text only; never touches the network."""

from __future__ import annotations

COMPETITION_URL = "https://www.kaggle.com/competitions/{slug}"
DATASET_URL = "https://www.kaggle.com/datasets/{slug}"
KERNEL_URL = "https://www.kaggle.com/code/{owner}/{slug}"
SETTINGS_URL = "https://www.kaggle.com/settings"


def page_url(slug: str, page: str = "") -> str:
    """Return a page of a competition, or the only one of a dataset, whose slug is `owner/name`."""
    return DATASET_URL.format(slug=slug) if "/" in slug else COMPETITION_URL.format(slug=slug) + page


def rules_url(slug: str) -> str:
    """Return the page on which the rules are accepted."""
    return page_url(slug, "/rules")


def data_url(slug: str) -> str:
    """Return the page from which the files of a competition or dataset can be downloaded by hand."""
    return page_url(slug, "/data")
