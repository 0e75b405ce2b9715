"""Stage `submit`: a checked submission -> Kaggle, or one clear line why it stays here."""

from __future__ import annotations

from pathlib import Path

from pipeline import artifacts, kaggle_client
from pipeline.problems import FeatureStore
from pipeline.progress import say
from pipeline.submission import check_submission
from pipeline.tables import read_table


def submit(store: FeatureStore, submission: Path, *, is_upload_wanted: bool) -> None:
    """Check the file once more and upload it where that is possible and wanted. Raises DataError, UploadError."""
    frame = read_table(submission)
    check_submission(store.spec, store.classes, store.sample_submission, frame)
    slug = store.spec.kaggle_slug
    by_hand = f"{kaggle_client.COMPETITION_URL.format(slug=slug)}/submit"
    if artifacts.read_json(submission.with_suffix(".json"))["is_sample"]:
        say("submit: nothing was uploaded: this is SAMPLE DATA, which Kaggle never gets")
    elif not is_upload_wanted:
        say(f"submit: nothing was uploaded (UPLOAD=0); by hand: {by_hand}")
    elif kaggle_client.find_credentials() is None:
        say(
            "submit: nothing was uploaded: no Kaggle credentials were found; set KAGGLE_API_TOKEN "
            f"(https://www.kaggle.com/settings) and run this again, or upload by hand: {by_hand}"
        )
    else:
        kaggle_client.upload(slug, submission)
