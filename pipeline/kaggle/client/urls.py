"""URLs of Kaggle's pages, built from a slug. Handles text only; never touches the network."""

from __future__ import annotations

COMPETITION_URL = "https://www.kaggle.com/competitions/{slug}"
RULES_URL = "https://www.kaggle.com/competitions/{slug}/rules"
DATASET_URL = "https://www.kaggle.com/datasets/{slug}"
KERNEL_URL = "https://www.kaggle.com/code/{owner}/{slug}"
SETTINGS_URL = "https://www.kaggle.com/settings"


def data_url(slug: str) -> str:
    """Return the page from which the files of a competition or dataset can be downloaded by hand."""
    return DATASET_URL.format(slug=slug) if "/" in slug else f"{COMPETITION_URL.format(slug=slug)}/data"
