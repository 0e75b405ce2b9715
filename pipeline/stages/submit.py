"""Stage `submit`: the last check of a submission, and one clear line on what became of it.

This version uploads nothing: the line says how to do it by hand.
"""

from __future__ import annotations

from pathlib import Path

from pipeline import artifacts, kaggle_client
from pipeline.problems import FeatureStore
from pipeline.progress import say
from pipeline.submission import check_submission
from pipeline.tables import read_table


def submit(store: FeatureStore, submission: Path, *, is_upload_wanted: bool) -> None:
    """Check the file once more and say why it stays here. Raises DataError."""
    frame = read_table(submission, na_is_category=store.spec.label_columns)
    check_submission(store.spec, store.classes, store.sample_submission, frame)
    slug = store.spec.kaggle_slug
    by_hand = f"{kaggle_client.COMPETITION_URL.format(slug=slug)}/submit"
    if artifacts.read_json(submission.with_suffix(".json"))["is_sample"]:
        say("submit: nothing was uploaded: this is SAMPLE DATA, which Kaggle never gets")
    elif not is_upload_wanted:
        say(f"submit: nothing was uploaded (UPLOAD=0); by hand: {by_hand}")
    elif kaggle_client.find_credentials() is None:
        say(
            "submit: nothing was uploaded: no Kaggle credentials were found "
            f"(KAGGLE_API_TOKEN from https://www.kaggle.com/settings); by hand: {by_hand}"
        )
    else:
        say(f"submit: nothing was uploaded: this version does not upload yet; by hand: {by_hand}")
