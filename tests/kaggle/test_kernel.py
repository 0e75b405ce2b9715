"""A bundle is pushed at most once, only its own version is followed, and only its own output is submitted."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipeline.base import files
from pipeline.config.records import Provenance
from pipeline.kaggle.ledger import Ledger
from pipeline.kaggle.notebook import run
from tests.conftest import Toy
from tests.kaggle.conftest import SAME_RUN, FakeClock, run_notebooks
from tests.kaggle.server import TOKEN, Fault, KaggleServer, page, status

NAME = "ada/final-toy"
OTHER_BUNDLE = """FACTS = '{"id": "%s"}'""" % ("0" * 64)


@pytest.fixture
def kaggle(kaggle: KaggleServer, finished: Toy) -> KaggleServer:
    """Make the fake Kaggle run notebooks."""
    run_notebooks(kaggle, finished)
    return kaggle


def kernel(toy: Toy, *options: str, code: int = 0) -> str:
    """Run `kernel`, expect the exit code `code`, and return its output."""
    result = toy.run("kernel", *SAME_RUN, *options)
    assert result.exit_code == code, (result.output, result.exception)
    assert TOKEN not in result.output
    return result.stdout + result.stderr


def versions(server: KaggleServer) -> list[dict[str, object]]:
    found: list[dict[str, object]] = server.kernels.get(NAME, {"versions": []})["versions"]
    return found


def fetched(toy: Toy) -> list[Path]:
    return sorted(toy.workspace.submissions.glob("*-kernel-*.csv"))


def test_a_notebook_is_pushed_followed_fetched_checked_and_its_output_submitted(
    kaggle: KaggleServer, finished: Toy
) -> None:
    local = finished.submission()
    kaggle.kernel_status = ["QUEUED", "RUNNING", "RUNNING", "COMPLETE"]
    kaggle.kernel_log = [{"stream_name": "stderr", "time": 1.5, "data": "train: \x1b[1mepoch 1\n"}]
    said = kernel(finished)
    assert "public score 0.12345" in said
    assert "train: epoch 1" in said
    assert (finished.workspace.kernels / "v1" / "log.txt").read_text() == "train: epoch 1\n"
    (version,) = versions(kaggle)
    request = version["request"]
    assert isinstance(request, dict)
    assert {key: request.get(key) for key in ("newTitle", "machineShape", "enableInternet", "isPrivate")} == {
        "newTitle": "final toy",
        "machineShape": "NvidiaTeslaT4",
        "enableInternet": False,
        "isPrivate": True,
    }
    assert request["competitionDataSources"] == ["toy"]
    assert request["text"] == (finished.workspace.kernels / "final_training.py").read_text()
    assert TOKEN not in request["text"]
    (path,) = fetched(finished)
    assert path.read_bytes() == local.read_bytes()
    provenance = Provenance.read(path.with_suffix(".json"))
    assert provenance.sha256 == files.sha256_of(path)
    assert provenance.kernel is not None
    assert (provenance.kernel.owner, provenance.kernel.version) == ("ada", 1)
    (entry,) = Ledger(finished.workspace.ledger).entries()
    assert (entry.file, entry.public_score) == (path.name, 0.12345)
    assert kaggle.submissions[0]["content"] == local.read_bytes()


def test_the_same_command_again_needs_no_network(kaggle: KaggleServer, finished: Toy) -> None:
    kernel(finished)
    n_requests = len(kaggle.requests)
    assert "not sent again" in kernel(finished)
    assert len(kaggle.requests) == n_requests


def test_an_older_complete_version_is_not_used(kaggle: KaggleServer, finished: Toy) -> None:
    old = {"submission.csv": b"old", "manifest.json": b"{}"}
    kaggle.add_kernel_version(NAME, {"text": OTHER_BUNDLE}, old, status=["COMPLETE"])
    kaggle.fault("GetKernelSessionStatus", status(404, "Not found", times=2))  # of a version just pushed
    kernel(finished)
    labels = {one.body["versionLabel"] for one in kaggle.requests if "versionLabel" in one.body}
    assert labels == {"v2"}
    assert fetched(finished)[0].name.endswith("-kernel-v2.csv")


def test_a_newer_version_of_other_code_is_not_used(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.fault("GetKernelSessionStatus", status(401, "Unauthorized access"))
    kernel(finished, code=3)
    kaggle.faults.clear()
    kaggle.add_kernel_version(NAME, {"text": "a newer one"}, {"submission.csv": b"new"}, status=["ERROR"])
    assert "continuing with ada/final-toy version 1" in kernel(finished)
    assert len(kaggle.submissions) == 1


def test_a_refused_push_is_explained_and_leaves_nothing_to_follow(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.kernel_error = "Maximum weekly GPU quota of 30.00 hours reached."
    assert "Maximum weekly GPU quota" in kernel(finished, code=3)
    assert not list(finished.workspace.kernels.glob("state-*"))
    kaggle.kernel_error = ""
    kernel(finished)
    assert len(versions(kaggle)) == len(kaggle.submissions) == 1


def test_an_input_that_kaggle_leaves_out_is_an_error(kaggle: KaggleServer, finished: Toy) -> None:
    answer = {"ref": f"/code/{NAME}", "versionNumber": 1, "invalidCompetitionSources": ["toy"]}
    kaggle.fault("SaveKernel", Fault(status=200, body=answer, is_after=True, times=1))
    assert "left out inputs of ada/final-toy version 1: competition toy" in kernel(finished, code=3)
    kernel(finished)
    assert len(versions(kaggle)) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("word", "words"), [("ERROR", "failed: out of memory"), ("CANCEL_ACKNOWLEDGED", "cancelled")])
def test_a_failed_run_shows_its_log_and_the_next_command_pushes_again(
    kaggle: KaggleServer, finished: Toy, word: str, words: str
) -> None:
    kaggle.kernel_status, kaggle.error_text = ["RUNNING", word], "out of memory"
    kaggle.kernel_log = [{"data": "line one\n"}, {"data": "missing or too old: pandas 2.2\n"}]
    said = kernel(finished, code=3)
    assert words in said
    assert "missing or too old: pandas 2.2" in said.split("the end of its log")[1]
    assert kaggle.submissions == fetched(finished) == []
    kaggle.kernel_status = ["COMPLETE"]
    assert "pushed ada/final-toy version 2" in kernel(finished)
    assert len(versions(kaggle)) == 2


def test_an_output_of_another_bundle_is_refused(kaggle: KaggleServer, finished: Toy) -> None:
    good = kaggle.run_kernel
    kaggle.run_kernel = lambda text: good(re.sub(r'"id": "\w+"', '"id": "other"', text))
    assert "from another bundle, other" in kernel(finished, code=3)
    assert fetched(finished) == kaggle.submissions == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"submission.csv": None}, "the output has no submission.csv"),
        ({"manifest.json": None, "submission.csv": None}, "no manifest.json and no submission.csv"),
        ({"submission.csv": b"id,price\n65,1\n"}, "it was changed"),
        ({"submission.csv": b"x" * (1 << 21)}, "more than a submission can need"),
        ({"manifest.json": b"[1, 2]"}, "did not write this manifest.json"),
        ({"manifest.json": b'{"bundle": NaN}'}, "did not write this manifest.json"),
    ],
)
def test_an_output_that_does_not_match_is_neither_kept_nor_sent(
    kaggle: KaggleServer, finished: Toy, change: dict[str, bytes | None], words: str
) -> None:
    good = kaggle.run_kernel
    kaggle.run_kernel = lambda text: {
        name: content for name, content in (good(text) | change).items() if content is not None
    }
    assert words in kernel(finished, code=3)
    assert fetched(finished) == kaggle.submissions == []
    kaggle.run_kernel = good
    assert words in kernel(finished, code=3)
    assert len(versions(kaggle)) == 1
    kernel(finished, "--again")
    assert (len(versions(kaggle)), len(kaggle.submissions)) == (2, 1)


def test_an_output_that_is_not_a_submission_is_not_sent(kaggle: KaggleServer, finished: Toy) -> None:
    path = finished.submission()
    path.write_text(path.read_text().replace("\n66,", "\n999,"))
    run_notebooks(kaggle, finished)
    assert "contains '999'" in kernel(finished, code=3)
    assert fetched(finished) == kaggle.submissions == []


def test_other_files_of_the_output_are_ignored(kaggle: KaggleServer, finished: Toy) -> None:
    good = kaggle.run_kernel
    kaggle.run_kernel = lambda text: {"../evil.txt": b"evil", "/tmp/evil.txt": b"evil", **good(text)}
    kernel(finished)
    assert not list(finished.workspace.root.parent.rglob("evil.txt"))
    assert not any("evil" in str(one.body) for one in kaggle.requests if one.name == "storage")


def test_a_web_page_is_not_saved_as_the_output(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.fault("storage", page(200))
    assert "web page" in kernel(finished, code=3)
    kaggle.faults.clear()
    kernel(finished)
    assert len(versions(kaggle)) == len(kaggle.submissions) == 1


@pytest.mark.slow
@pytest.mark.parametrize("fault", [Fault(status=403, body=b"expired", times=1), Fault(cut_at=40, times=1)])
def test_an_expired_url_and_a_cut_response_are_retried(kaggle: KaggleServer, finished: Toy, fault: Fault) -> None:
    kaggle.fault("storage", fault)
    kernel(finished)
    assert fetched(finished)[0].read_bytes() == kaggle.submissions[0]["content"]


def test_the_next_command_follows_a_long_run(
    kaggle: KaggleServer, finished: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "POLL_DELAYS_S", (7200.0,))
    kaggle.kernel_status = ["RUNNING"]
    assert "still running after 12.0 hours" in kernel(finished, code=3)
    versions(kaggle)[0]["status"] = ["COMPLETE"]
    assert "already pushed" in kernel(finished)
    assert len(versions(kaggle)) == len(kaggle.submissions) == 1


def test_another_configuration_is_another_bundle(kaggle: KaggleServer, finished: Toy) -> None:
    kernel(finished, "--no-upload")
    good = kaggle.run_kernel
    kaggle.run_kernel = lambda _: {}
    kernel(finished, "--set", "epochs=4", code=3)
    kaggle.run_kernel = good
    assert "was already fetched" in kernel(finished, "--no-upload")
    assert len(versions(kaggle)) == 2
    assert kaggle.submissions == []


def test_a_push_whose_response_was_lost_is_found_by_its_text(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.fault("SaveKernel", Fault(drops=True, is_after=True))
    assert "pushed ada/final-toy version 1" in kernel(finished)
    assert len(versions(kaggle)) == len(kaggle.submissions) == 1


def test_the_next_run_looks_up_a_push_whose_response_was_lost(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.fault("SaveKernel", Fault(drops=True, is_after=True))
    kaggle.fault("GetKernel", Fault(drops=True, skip=1))
    assert "sends nothing twice" in kernel(finished, code=3)
    kaggle.faults.clear()
    assert "Kaggle already has this bundle" in kernel(finished)
    assert len(versions(kaggle)) == 1


def test_a_bundle_is_found_at_kaggle_without_its_state(kaggle: KaggleServer, finished: Toy) -> None:
    kernel(finished, "--no-upload")
    for path in finished.workspace.kernels.glob("state-*"):
        path.unlink()
    kernel(finished)
    assert len(versions(kaggle)) == 1


def test_a_code_competition_gets_the_notebook_itself(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.competition["isKernelsSubmissionsOnly"] = True
    assert "public score 0.12345" in kernel(finished)
    (sent,) = [one.body for one in kaggle.requests if one.name == "CreateCodeSubmission"]
    assert (sent["kernelOwner"], sent["kernelSlug"], sent["kernelVersion"]) == ("ada", "final-toy", 1)
    assert sent["fileName"] == "submission.csv"
    assert "upload" not in kaggle.names()
    (entry,) = Ledger(finished.workspace.ledger).entries()
    assert entry.tag in sent["submissionDescription"]
    (facts,) = [json.loads(path.read_text()) for path in finished.workspace.kernels.glob("state-*")]
    assert entry.sha256 == facts["bundle"]
    assert "not sent again" in kernel(finished)
    assert len(kaggle.submissions) == 1


def test_a_code_submission_whose_response_was_lost_is_found(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.competition["isKernelsSubmissionsOnly"] = True
    kaggle.fault("CreateCodeSubmission", Fault(drops=True, is_after=True))
    assert "public score 0.12345" in kernel(finished)
    assert len(kaggle.submissions) == 1


def test_a_code_competitions_notebook_has_no_internet(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.competition["isKernelsSubmissionsOnly"] = True
    assert "without internet access" in kernel(finished, "--internet", code=3)
    assert "SaveKernel" not in kaggle.names()


def test_wheels_are_attached(kaggle: KaggleServer, finished: Toy) -> None:
    kernel(finished, "--wheels", "ada/wheels", "--no-upload")
    (version,) = versions(kaggle)
    assert version["request"]["datasetDataSources"] == ["ada/wheels"]  # type: ignore[index]


def test_the_rules_are_checked_before_the_push(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.competition["userHasEntered"] = False
    assert "https://www.kaggle.com/competitions/toy/rules" in kernel(finished, code=3)
    assert "SaveKernel" not in kaggle.names()


def test_without_credentials_or_push_only_the_bundle_is_written(
    kaggle: KaggleServer, finished: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "--no-push" in kernel(finished, "--no-push")
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    said = kernel(finished)
    assert "https://www.kaggle.com/settings" in said
    assert f"bundle: {finished.workspace.kernels}" in said
    assert {path.name for path in finished.workspace.kernels.iterdir()} == {"final_training.py", "kernel-metadata.json"}
    assert kaggle.requests == []


def test_sample_data_is_never_pushed(kaggle: KaggleServer, finished: Toy) -> None:
    finished.store().manifest.updated(is_sample=True).write(finished.workspace.manifest)
    assert "SAMPLE DATA" in kernel(finished)
    assert kaggle.requests == []


def test_a_mistake_in_the_run_is_found_before_the_push(kaggle: KaggleServer, finished: Toy) -> None:
    assert "learning_rat" in kernel(finished, "--set", "learning_rat=1", code=2)
    assert kaggle.requests == []


def test_a_notebook_that_the_project_did_not_write_gets_no_new_version(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.add_kernel_version(NAME, {"text": "print('my own work')"}, {})
    said = kernel(finished, code=3)
    assert "did not write" in said
    assert "--title" in said
    assert "did not write" in kernel(finished, "--again", code=3)
    assert len(versions(kaggle)) == 1
    kernel(finished, "--title", "My other name", "--no-upload")
    (other,) = kaggle.kernels["ada/my-other-name"]["versions"]
    assert other["request"]["newTitle"] == "my other name"
    assert len(versions(kaggle)) == 1


def test_a_notebook_on_record_gets_a_new_version_even_if_it_was_edited(kaggle: KaggleServer, finished: Toy) -> None:
    kernel(finished, "--no-upload")
    kaggle.add_kernel_version(NAME, {"text": "edited in the browser"}, {})
    kernel(finished, "--no-upload", "--again")
    assert len(versions(kaggle)) == 3


@pytest.mark.slow
def test_a_push_in_doubt_is_not_repeated_whatever_the_clock_says(
    kaggle: KaggleServer, finished: Toy, clock: FakeClock
) -> None:
    kaggle.fault("SaveKernel", Fault(drops=True, is_after=True, times=1))
    kaggle.fault("GetKernel", status(403, "Permission 'kernels.get' was denied"))  # shown late
    assert "sends nothing twice" in kernel(finished, code=3)
    clock.sleep(7 * 86400.0)
    said = kernel(finished, code=3)
    assert "interrupted while it pushed this bundle" in said
    assert "--again" in said
    kaggle.faults.clear()
    assert "Kaggle already has this bundle; continuing with ada/final-toy version 1" in kernel(finished, "--again")
    assert len(versions(kaggle)) == len(kaggle.submissions) == 1


def test_a_push_that_never_arrived_is_repeated_with_again(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.fault("SaveKernel", Fault(drops=True, times=1))
    assert "sends nothing twice" in kernel(finished, code=3)
    kernel(finished, code=3)
    assert "pushed ada/final-toy version 1" in kernel(finished, "--again")
    assert len(versions(kaggle)) == 1


def test_a_push_whose_response_was_lost_is_found_below_a_newer_version(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.fault("SaveKernel", Fault(drops=True, is_after=True))
    kaggle.fault("GetKernel", Fault(drops=True, skip=1))
    kernel(finished, code=3)
    kaggle.faults.clear()
    kaggle.add_kernel_version(NAME, {"text": OTHER_BUNDLE}, {})
    assert "continuing with ada/final-toy version 1" in kernel(finished)
    assert len(versions(kaggle)) == 2


def test_a_refused_push_keeps_the_record_of_the_version_before(kaggle: KaggleServer, finished: Toy) -> None:
    kernel(finished, "--no-upload")
    kaggle.kernel_error = "Maximum weekly GPU quota of 30.00 hours reached."
    kernel(finished, "--no-upload", "--again", code=3)
    kaggle.kernel_error = ""
    assert "was already fetched" in kernel(finished, "--no-upload")
    assert len(versions(kaggle)) == 1


def test_slots_and_gpu_hours_are_checked_before_the_push(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.daily_limit = 0
    assert "no submissions left today" in kernel(finished, code=3)
    kaggle.daily_limit = 1
    assert "last submission of the day" in kernel(finished, code=3)
    kaggle.gpu_hours = (30.0, 30.0)
    assert "no GPU hours left this week" in kernel(finished, "--no-upload", code=3)
    assert "SaveKernel" not in kaggle.names()
    kernel(finished, "--no-upload", "--accelerator", "none")
    (version,) = versions(kaggle)
    assert version["request"].get("enableGpu") is not True  # type: ignore[attr-defined]
    kaggle.gpu_hours = (12.5, 30.0)
    assert "17.5 of 30.0 GPU hours are left this week" in kernel(finished, "--again", "--yes")


def test_the_push_does_not_depend_on_the_quota_being_known(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.fault("GetAcceleratorQuotaStatistics", status(404, "Not found"))
    assert "the GPU hours left are not known" in kernel(finished)


def test_the_machine_and_the_time_limit_are_sent(kaggle: KaggleServer, finished: Toy) -> None:
    said = kernel(finished, "--no-upload", "--accelerator", "NvidiaL4", "--timeout", "1.5")
    assert "GPU hours are left" in said
    (version,) = versions(kaggle)
    request = version["request"]
    assert isinstance(request, dict)
    assert (request["machineShape"], request["sessionTimeoutSeconds"]) == ("NvidiaL4", 5400)
    for name in ("NvidiaTeslaP100", "TpuV5E8", "a b"):
        assert "--accelerator" in kernel(finished, "--accelerator", name, code=2)


def test_an_active_run_is_named_with_the_page_that_cancels_it(kaggle: KaggleServer, finished: Toy) -> None:
    assert "no run that was pushed from here is active" in kernel(finished, "--cancel")
    kaggle.fault("GetKernelSessionStatus", status(401, "Unauthorized access"))
    kernel(finished, code=3)
    kaggle.faults.clear()
    kaggle.kernel_status[:] = ["RUNNING"]
    said = kernel(finished, "--cancel", code=3)
    assert "ada/final-toy version 1 (https://www.kaggle.com/code/ada/final-toy)" in said
    assert "Cancel Run" in said
    kaggle.kernel_status[:] = ["CANCEL_ACKNOWLEDGED"]
    assert "is active" in kernel(finished, "--cancel")


def test_a_notebook_without_the_weights_that_it_reads_is_not_pushed(
    kaggle: KaggleServer, finished: Toy, tmp_path: Path
) -> None:
    weights = tmp_path / "tabicl-regressor.ckpt"
    weights.write_bytes(b"")
    for given, words in (
        (str(weights), "tabicl-regressor.ckpt"),
        ("", "tabicl*"),
        ("huggingface", "no internet access"),
    ):
        result = finished.run("kernel", "--model", "tabicl", "--set", f"weights={given}")
        assert result.exit_code == 2, result.output
        assert words in result.stderr
        assert "--weights OWNER/NAME" in result.stderr
    assert "SaveKernel" not in kaggle.names()
