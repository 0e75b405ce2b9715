"""The seam to Kaggle: whether there are credentials, and the place where the `kaggle` package will be called.

Never imports `kaggle` at module level (its import talks to the network) and never shows a secret.
"""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import DataError

COMPETITION_URL = "https://www.kaggle.com/competitions/{slug}"


def find_credentials() -> str | None:
    """Where Kaggle credentials were found, as words without the secret; None when there are none."""
    if os.environ.get("KAGGLE_API_TOKEN"):
        return "the variable KAGGLE_API_TOKEN"
    if os.environ.get("KAGGLE_USERNAME") and os.environ.get("KAGGLE_KEY"):
        return "the variables KAGGLE_USERNAME and KAGGLE_KEY"
    home = Path.home() / ".kaggle"
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kaggle"
    given = os.environ.get("KAGGLE_CONFIG_DIR")
    folder = Path(given) if given else home if home.is_dir() else config
    candidates = [home / "access_token", home / "access_token.txt", folder / "kaggle.json", home / "credentials.json"]
    return next((str(path) for path in candidates if path.is_file()), None)


def download(slug: str, folder: Path) -> None:
    """Download a competition's files into `folder`. Raises DataError: this version fetches nothing."""
    raise DataError(
        f"this version does not download from Kaggle yet; nothing was written to {folder}",
        where=slug,
        hint=f"Download the files from {COMPETITION_URL.format(slug=slug)}/data and unpack them there.",
    )
