"""A file is sent at most once, whatever fails, and the ledger records the outcome."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pipeline.base import files
from pipeline.config.records import Provenance, RawSource
from pipeline.kaggle.ledger import Entry, Ledger
from pipeline.kaggle.upload import SETTLE_S, SubmissionFile
from tests.conftest import TINY, Toy
from tests.kaggle.conftest import FakeClock
from tests.kaggle.late import LATE_CASES, LateCase
from tests.kaggle.server import TOKEN, Fault, KaggleServer


def submit(toy: Toy, *options: str, code: int = 0) -> str:
    """Run `submit`, expect the exit code `code`, and return its output."""
    result = toy.run("submit", *TINY, *options)
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout + result.stderr


def only_entry(toy: Toy) -> Entry:
    (entry,) = Ledger(toy.workspace.ledger).entries()
    return entry


def unsent_entry(toy: Toy, clock: FakeClock, *, age_s: float = 0.0) -> Entry:
    """Add the ledger entry that a run leaves if it is killed while sending the file."""
    provenance = Provenance.read(toy.submission().with_suffix(".json"))
    sha256 = files.sha256_of(toy.submission())
    submission = SubmissionFile("toy", toy.submission(), sha256, provenance.run, "log_rmse", provenance.cv_score)
    clock.time -= age_s
    entry = Ledger(toy.workspace.ledger).put(submission.entry())
    clock.time += age_s
    return entry


def test_the_score_of_a_submission_is_in_the_ledger(kaggle: KaggleServer, finished: Toy) -> None:
    said = submit(finished)
    assert "public score 0.12345" in said
    (submission,) = kaggle.submissions
    assert submission["content"] == finished.submission().read_bytes()
    entry = only_entry(finished)
    provenance = Provenance.read(finished.submission().with_suffix(".json"))
    assert entry.sha256 == files.sha256_of(finished.submission())
    assert (entry.run, entry.cv_score) == (provenance.run, provenance.cv_score)
    assert (entry.ref, entry.public_score, entry.private_score, entry.status) == (1000, 0.12345, None, "complete")
    assert submission["description"] == f"sha:{entry.sha256[:12]} run:{entry.run} cv={entry.cv_score:.5f}"


def test_the_same_content_is_not_sent_again_and_needs_no_network(kaggle: KaggleServer, finished: Toy) -> None:
    submit(finished)
    n_requests = len(kaggle.requests)
    assert "not sent again" in submit(finished)
    assert len(kaggle.requests) == n_requests


def test_the_same_content_is_found_at_kaggle_without_a_ledger(kaggle: KaggleServer, finished: Toy) -> None:
    submit(finished)
    finished.workspace.ledger.unlink()
    kaggle.submissions += [{**kaggle.submissions[0], "ref": 2000 + i, "description": "other"} for i in range(50)]
    assert "Kaggle already has this file (ref 1000)" in submit(finished)
    assert kaggle.names().count("CreateSubmission") == 1
    assert only_entry(finished).public_score == 0.12345


def test_a_submission_whose_response_was_lost_is_found_by_its_tag(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.fault("CreateSubmission", Fault(drops=True, is_after=True))
    assert "public score 0.12345" in submit(finished)
    assert len(kaggle.submissions) == 1


def test_the_next_run_looks_up_a_submission_whose_response_was_lost(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.fault("CreateSubmission", Fault(drops=True, is_after=True))
    kaggle.fault("ListSubmissions", Fault(drops=True, skip=1))
    assert "sends nothing twice" in submit(finished, code=3)
    assert only_entry(finished).status == "sending"
    kaggle.faults.clear()
    assert "interrupted while sending" in submit(finished)
    assert len(kaggle.submissions) == 1
    assert only_entry(finished).status == "complete"


@pytest.mark.parametrize("age_s", [0.0, 3600.0, 90_000.0])
def test_a_submission_in_doubt_is_sent_only_with_again(
    kaggle: KaggleServer, finished: Toy, clock: FakeClock, age_s: float
) -> None:
    unsent_entry(finished, clock, age_s=age_s)
    assert "`submit --again`" in submit(finished, code=3)
    assert clock.slept == (SETTLE_S if age_s == 0 else 0)
    assert "CreateSubmission" not in kaggle.names()
    assert only_entry(finished).status == "sending"
    submit(finished, "--again")
    assert len(kaggle.submissions) == 1
    assert [entry.status for entry in Ledger(finished.workspace.ledger).entries()] == ["sending", "complete"]
    assert "not sent again" in submit(finished, "--again")
    assert len(kaggle.submissions) == 1


@pytest.mark.parametrize("case", LATE_CASES[7::25], ids=str)
def test_no_submission_is_sent_twice_or_missing_however_late_kaggle_records_it(
    kaggle: KaggleServer, tmp_path: Path, case: LateCase
) -> None:
    assert case.run(kaggle, tmp_path, 1).total() == 0


@pytest.mark.parametrize(
    ("is_counted", "words"), [(True, "from 0 to 1, so it probably arrived"), (False, "is still 0")]
)
def test_kaggles_count_of_the_day_is_a_witness(
    kaggle: KaggleServer, finished: Toy, is_counted: bool, words: str
) -> None:
    kaggle.fault("CreateSubmission", Fault(drops=True, is_after=is_counted))
    kaggle.show_delay_s = 1000.0
    assert words in submit(finished, code=3)
    assert words in submit(finished, code=3)
    assert kaggle.names().count("CreateSubmission") == 1


def test_a_ref_that_kaggle_does_not_know_is_lost_and_sent_again_on_request(
    kaggle: KaggleServer, finished: Toy, clock: FakeClock
) -> None:
    kaggle.fault("CreateSubmission", Fault(status=200, body={"message": "Successfully submitted", "ref": 77}))
    assert "gave the submission the ref 77 but does not show it" in submit(finished, code=3)
    assert (only_entry(finished).ref, only_entry(finished).status) == (77, "lost")
    kaggle.faults.clear()
    clock.sleep(100_000.0)
    assert "sends it again" in submit(finished, code=3)
    assert kaggle.submissions == []
    assert "public score" in submit(finished, "--again")
    assert [entry.status for entry in Ledger(finished.workspace.ledger).entries()] == ["lost", "complete"]
    assert len(kaggle.submissions) == 1


def test_a_lost_ref_that_kaggle_shows_later_is_not_sent_again(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.record_delay_s = 3000.0
    submit(finished, code=3)
    assert only_entry(finished).status == "lost"
    kaggle.record_delay_s = 0.0
    kaggle.submissions, kaggle.late = kaggle.late, []
    kaggle.submissions[0]["shown_at"] = 0.0
    submit(finished)
    assert kaggle.names().count("CreateSubmission") == 1
    assert (only_entry(finished).ref, only_entry(finished).status) == (1000, "complete")


def test_a_ref_that_kaggle_counts_but_does_not_show_is_not_lost(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.show_delay_s = 10_000.0
    assert "from 0 to 1: run the same command later" in submit(finished, code=3)
    assert only_entry(finished).status == "pending"


def test_a_submission_that_arrives_late_is_not_sent_again(
    kaggle: KaggleServer, finished: Toy, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = unsent_entry(finished, clock)
    kaggle.blobs["late"] = finished.submission().read_bytes()

    def arrive_while_waiting(seconds: float) -> None:
        clock.sleep(seconds)
        if not kaggle.submissions:
            body = {"competitionName": "toy", "blobFileTokens": "late", "submissionDescription": entry.description}
            kaggle.CreateSubmission(body)

    from pipeline.kaggle.client import calls

    monkeypatch.setattr(calls.Clock, "sleep", staticmethod(arrive_while_waiting))
    submit(finished)
    assert len(kaggle.submissions) == 1
    assert "CreateSubmission" not in kaggle.names()


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_submit_killed_around_the_request_is_resolved(kaggle: KaggleServer, finished: Toy, moment: str) -> None:
    """The process exits just before the request, or after the request but before its response is read."""
    path = finished.submission()
    script = f"""
import os, sys
from kagglesdk import kaggle_env
for name in kaggle_env._env_to_endpoint:
    kaggle_env._env_to_endpoint[name] = {kaggle.url!r}
from pipeline.kaggle.client.session import KaggleSession
create = KaggleSession.create_submission
def dies(*args):
    if {moment!r} == "after":
        create(*args)
    os._exit(9)
KaggleSession.create_submission = dies
from pathlib import Path
from pipeline.kaggle.upload import SubmissionFile, send_once
from pipeline.kaggle.ledger import Ledger
submission = SubmissionFile("toy", Path({str(path)!r}), {files.sha256_of(path)!r}, "a-run", "log_rmse", 0.5)
send_once(KaggleSession.connect(), Ledger(Path({str(finished.workspace.ledger)!r})), submission,
        may_use_last_slot=False, wait_s=0.0)
"""
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert killed.returncode == 9, killed.stderr
    assert only_entry(finished).status == "sending"
    assert len(kaggle.submissions) == (moment == "after")
    submit(finished, code=0 if moment == "after" else 3)
    submit(finished, "--again")
    assert len(kaggle.submissions) == 1
    assert Ledger(finished.workspace.ledger).entries()[-1].status == "complete"


@pytest.mark.parametrize("reads_only", [0, 1, 200])
def test_a_cut_upload_uses_no_slot_and_leaves_no_entry(kaggle: KaggleServer, finished: Toy, reads_only: int) -> None:
    kaggle.fault("upload", Fault(reads_only=reads_only))
    submit(finished, code=3)
    assert kaggle.submissions == []
    assert not finished.workspace.ledger.exists()


def test_no_upload_and_no_credentials_never_touch_the_network(
    kaggle: KaggleServer, finished: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(finished, "--no-upload")
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    assert "https://www.kaggle.com/settings" in submit(finished)
    assert kaggle.requests == []


def test_sample_data_never_touches_the_network(kaggle: KaggleServer, finished: Toy) -> None:
    RawSource.read(finished.workspace.source).updated(is_sample=True).write(finished.workspace.source)
    provenance = Provenance.read(finished.submission().with_suffix(".json"))
    provenance.updated(is_sample=True).write(finished.submission().with_suffix(".json"))
    from pipeline.stages.submit import submit as submit_file

    submit_file(finished.store(), finished.submission(), is_upload_wanted=True)
    assert kaggle.requests == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"userHasEntered": False}, "https://www.kaggle.com/competitions/toy/rules"),
        ({"isKernelsSubmissionsOnly": True}, "make kernel COMPETITION=toy"),
        ({"submissionsDisabled": True}, "takes no submissions"),
    ],
)
def test_a_submission_kaggle_would_refuse_is_not_uploaded(
    kaggle: KaggleServer, finished: Toy, change: dict[str, bool], words: str
) -> None:
    kaggle.competition |= change
    assert words in submit(finished, code=3)
    assert not {"StartSubmissionUpload", "upload", "CreateSubmission"} & set(kaggle.names())
    assert not finished.workspace.ledger.exists()


def test_a_late_submission_is_reported(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.competition["deadline"] = "2020-01-01T00:00:00.000Z"
    assert "late submission" in submit(finished)


def test_no_slot_left_is_refused_before_the_upload(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.daily_limit = 0
    assert "no submissions left today" in submit(finished, code=3)
    assert "upload" not in kaggle.names()


def test_the_last_slot_of_the_day_needs_confirmation(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.daily_limit = 1
    assert "YES=1" in submit(finished, code=3)
    assert kaggle.submissions == []
    submit(finished, "--yes")
    assert len(kaggle.submissions) == 1


def test_slots_are_counted_if_kaggle_does_not_report_them(
    kaggle: KaggleServer, finished: Toy, clock: FakeClock
) -> None:
    from tests.kaggle.server import status

    kaggle.fault("GetSubmissionLimits", status(404, "Not found"))
    today = pd.Timestamp(clock.time, unit="s").strftime("%Y-%m-%dT01:02:03.000Z")
    old = {"ref": 1, "description": "", "content": b"", "date": today, "n_polls": 9}
    kaggle.submissions = [{**old, "ref": i + 1} for i in range(4)]
    assert "last submission of the day" in submit(finished, code=3)
    submit(finished, "--yes")


def test_a_limit_reported_only_after_the_upload_leaves_no_entry(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.fault("GetSubmissionLimits", Fault(status=200, body={"numToday": 2, "numAllowedNow": 3}))
    kaggle.daily_limit = 0
    assert "accepts no more submissions today" in submit(finished, code=3)
    assert Ledger(finished.workspace.ledger).entries() == []


def test_kaggles_reason_for_not_scoring_a_file_is_shown(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.final_status, kaggle.error_text = "ERROR", "Submission must have 20 rows"
    for _ in range(2):
        assert "Submission must have 20 rows" in submit(finished, code=3)
    assert len(kaggle.submissions) == 1
    assert only_entry(finished).status == "error"


def test_a_file_that_kaggle_failed_to_score_is_sent_again_on_request(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.final_status = "ERROR"
    assert "--again" in submit(finished, code=3)
    kaggle.submissions[0]["final_status"] = "ERROR"
    kaggle.final_status = "COMPLETE"
    submit(finished, "--again")
    assert [one["ref"] for one in kaggle.submissions] == [1000, 1001]
    entries = Ledger(finished.workspace.ledger).entries()
    assert [(entry.ref, entry.status) for entry in entries] == [(1000, "error"), (1001, "complete")]
    assert "not sent again" in submit(finished)


def test_an_answer_lost_at_the_second_attempt_is_not_taken_for_the_first(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.final_status = "ERROR"
    submit(finished, code=3)
    kaggle.submissions[0]["final_status"] = "ERROR"
    kaggle.final_status = "COMPLETE"
    kaggle.fault("CreateSubmission", Fault(drops=True, is_after=True))
    submit(finished, "--again")
    entries = Ledger(finished.workspace.ledger).entries()
    assert [(entry.ref, entry.status) for entry in entries] == [(1000, "error"), (1001, "complete")]


@pytest.mark.slow
def test_the_next_run_fetches_a_slow_score(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.n_polls_pending = 10**6
    assert "not scored yet" in submit(finished)
    assert only_entry(finished).status == "pending"
    kaggle.n_polls_pending = 0
    assert "public score 0.12345" in submit(finished)
    assert len(kaggle.submissions) == 1


def test_a_complete_submission_can_have_no_score(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.score = ""
    assert "no public score" in submit(finished)
    assert only_entry(finished).public_score is None


def test_an_invalid_submission_is_not_sent(kaggle: KaggleServer, finished: Toy) -> None:
    from pipeline.base.errors import DataError
    from pipeline.stages.submit import submit as submit_file

    path = finished.submission()
    path.write_text(path.read_text().replace("\n66,", "\n999,"))
    with pytest.raises(DataError, match="contains '999'"):
        submit_file(finished.store(), path, is_upload_wanted=True)
    assert kaggle.requests == []


@pytest.mark.usefixtures("kaggle")
def test_no_secret_is_ever_shown(finished: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERBOSE", "1")
    assert TOKEN not in submit(finished)
    assert all(TOKEN not in path.read_text(errors="replace") for path in finished.workspace.submissions.iterdir())


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("complete", "whatever", "status: Input should be 'sending', 'pending', "),
        ("+00:00", "", "time: "),
        ("2027-01-15T", "15.01.2027 ", "time: "),
        (",1000,", ",a thousand,", "ref: "),
    ],
)
def test_nothing_is_sent_if_the_ledger_cannot_be_read(
    kaggle: KaggleServer, finished: Toy, old: str, new: str, words: str
) -> None:
    submit(finished)
    text = finished.workspace.ledger.read_text()
    assert old in text
    finished.workspace.ledger.write_text(text.replace(old, new))
    assert words in submit(finished, code=2)
    assert len(kaggle.submissions) == 1


def test_the_ledger_is_in_order_of_time_and_an_attempt_becomes_its_submission(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.csv")
    first = Entry("2026-01-01T00:00:00+00:00", "a,b", "a.csv", "1" * 64, "rmse", 0.1 + 0.2)
    second = Entry("2026-01-02T00:00:00+00:00", "b", "b.csv", "2" * 64, "rmse", 1e-17, 0.5, 0.25, 7, "complete")
    ledger.put(second)
    ledger.put(first)
    assert ledger.entries() == [first, second]
    assert ledger.find("1" * 64) is None
    sent = ledger.put(replace(first, ref=8, status="pending"))
    assert ledger.entries() == [sent, second]
    assert ledger.find("1" * 64) == sent
    ledger.drop(first)  # only an attempt without a ref
    again = ledger.put(replace(first, time="2026-01-03T00:00:00+00:00"))
    assert ledger.entries() == [sent, second, again]
    ledger.drop(again)
    assert ledger.entries() == [sent, second]


def test_a_ledger_of_an_earlier_version_is_read_and_gets_the_new_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ledger.csv"
    columns = "time,run,file,sha256,metric,cv_score,public_score,private_score,ref,status"
    row = f"2026-01-01T00:00:00+00:00,a,a.csv,{'1' * 64},rmse,0.5,,,,sending"
    path.write_text(f"\ufeff{columns}\n{row}\n", encoding="utf-8")
    (old,) = Ledger(path).entries()
    assert (old.status, old.n_today, old.note) == ("sending", None, "")
    assert path.read_text(encoding="utf-8").count(",n_today") == 0
    Ledger(path).put(replace(old, ref=3, status="complete", public_score=0.25))
    assert "adds the columns n_today, note, submitted_by" in capsys.readouterr().err
    assert [(entry.ref, entry.cv_score) for entry in Ledger(path).entries()] == [(3, 0.5)]


def test_another_metric_than_kaggles_is_not_uploaded_unless_the_spec_says_that_it_is_known(
    kaggle: KaggleServer, finished: Toy
) -> None:
    kaggle.competition["evaluationMetric"] = "Mean Absolute Error"
    said = submit(finished, code=2)
    assert "Kaggle scores by 'Mean Absolute Error' (mae), the spec by 'log_rmse'" in said
    assert "StartSubmissionUpload" not in kaggle.names()
    finished.edit_spec('metric = "log_rmse"', 'metric = "log_rmse"\nkaggle_metric = "Mean Absolute Error"')
    assert "public score 0.12345" in submit(finished)
