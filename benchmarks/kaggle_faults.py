"""Count what is sent twice, missing in the ledger, shown of secrets, or hangs when Kaggle fails, with a fake Kaggle.

    python benchmarks/kaggle_faults.py              # every fault in every operation, late records, 200 downloads of
                                                    # 50 MB, 100 submissions; some minutes
    python benchmarks/kaggle_faults.py --quick      # the same with fewer cases
    python benchmarks/kaggle_faults.py --only matrix --operation storage --operation submit

The waits between retries are skipped. The exit code is 1 if any case ends badly.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import io
import itertools
import os
import random
import shutil
import sys
import tempfile
import threading
import time
import traceback
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from pipeline.base.errors import KaggleError
from pipeline.competition.workspace import Workspace
from pipeline.kaggle.client import calls
from pipeline.kaggle.client.download import download_files
from pipeline.kaggle.client.session import KaggleSession
from pipeline.kaggle.ledger import Ledger
from pipeline.kaggle.notebook.run import State
from pipeline.kaggle.upload import SubmissionFile, send_once
from tests.conftest import SPEC, Toy, toy_tables
from tests.kaggle.conftest import FakeClock, offer_toy, run_notebooks
from tests.kaggle.faults import FAULTS, OPERATIONS, TIMEOUT_S, TRANSIENT, Operation
from tests.kaggle.late import LATE_CASES, Killed
from tests.kaggle.server import SECRETS, TOKEN, Fault, KaggleServer, zip_of

HANG_S = 60.0  # for a command whose waits are skipped
KINDS = ("sent twice", "missing", "secrets", "hangs", "tracebacks")  # missing in the ledger; secrets that were shown


@contextlib.contextmanager
def fake_kaggle() -> Iterator[tuple[KaggleServer, FakeClock]]:
    """Run the server as the official client's endpoint in this process, with a clock that does not wait."""
    from kagglesdk import kaggle_env

    server, clock = KaggleServer(), FakeClock()
    server.competition["deadline"] = "2030-01-01T00:00:00.000Z"
    server.url = server.start()
    for environment in kaggle_env._env_to_endpoint:
        kaggle_env._env_to_endpoint[environment] = server.url
    for name in [name for name in os.environ if name.startswith("KAGGLE_") or name.lower().endswith("_proxy")]:
        del os.environ[name]
    os.environ["KAGGLE_API_TOKEN"] = TOKEN
    calls.Clock.sleep, calls.Clock.now = staticmethod(clock.sleep), staticmethod(clock.now)
    yield server, clock
    server.stop()


def download_fault(rng: random.Random, n_bytes: int) -> tuple[str, str, Fault]:
    """Return a fault, its name and its endpoint."""
    times = rng.choice([1, 1, 2, 3, None])
    if rng.random() < 0.6:
        return "cut", "storage", Fault(cut_at=rng.randrange(n_bytes), times=times)
    name = rng.choice(
        ["dropped", "500", "503", "429", "403 rules", "404", "maintenance page, 200", "maintenance page, 503"]
    )
    return name, rng.choice(["storage", "DownloadDataFiles", "ListDataFiles"]), FAULTS[name](times=times)


def downloads(n_cases: int, n_bytes: int, seed: int) -> int:
    """Download with random faults: every download must end complete and verified, or resumable."""
    rng = random.Random(seed)
    versions = []
    for version in range(2):
        files = {"train.csv": np.random.default_rng(version).bytes(n_bytes), "test.csv": b"id\n%d\n" % version}
        versions.append(
            (zip_of(files, zipfile.ZIP_STORED), {k: hashlib.sha256(v).hexdigest() for k, v in files.items()})
        )
    ends: collections.Counter[str] = collections.Counter()
    met: collections.Counter[str] = collections.Counter()
    started = time.monotonic()
    with fake_kaggle() as (server, _):
        session = KaggleSession.connect()
        for case in range(n_cases):
            server.faults.clear()
            server.requests.clear()
            current = rng.randrange(2)
            server.offer_bytes(versions[current][0])
            for _ in range(rng.randint(1, 3)):
                name, endpoint, fault = download_fault(rng, len(server.archive))
                met[name] += 1
                server.fault(endpoint, fault)
            with tempfile.TemporaryDirectory() as folder:
                place, part = Path(folder) / "files", Path(folder) / "part"
                for run in range(rng.randint(1, 3)):
                    shutil.rmtree(place, ignore_errors=True)
                    place.mkdir()
                    if run and rng.random() < 0.3:  # the file changes between two runs
                        current = 1 - current
                        server.offer_bytes(versions[current][0])
                    try:
                        download_files(session, "toy", place, part_folder=part)
                    except KaggleError:
                        end = end_of_failed(place, part, [archive for archive, _ in versions])
                        server.faults.clear() if rng.random() < 0.5 else None
                    else:
                        found = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in place.iterdir()}
                        end = "complete" if found == versions[current][1] and not part.exists() else "CORRUPT"
                        break
                ends[end] += 1
                if end == "CORRUPT":
                    print(f"case {case}: corrupt", file=sys.stderr)
    print(f"downloads of {n_bytes / 1e6:.0f} MB: {n_cases} in {time.monotonic() - started:.0f} s: {dict(ends)}")
    print(f"  faults met: {dict(met)}")
    return ends["CORRUPT"]


def end_of_failed(place: Path, part: Path, archives: list[bytes]) -> str:
    """Return what a failed download left: nothing, a part of one version, or something worse."""
    if list(place.iterdir()):
        return "CORRUPT"
    file = part / "archive.part"
    if not file.exists():
        return "nothing kept"
    content = file.read_bytes()
    return "resumable" if any(archive.startswith(content) for archive in archives) else "CORRUPT"


def submits(n_cases: int, seed: int) -> int:
    """Submit with random faults and kills: each content is at Kaggle at most once, and in the ledger."""
    rng = random.Random(seed)
    endpoints = [one.endpoint for one in OPERATIONS.values() if one.command == "submit"]
    endpoints += ["ListSubmissions", "GetSubmissionLimits", "CreateSubmission", "CreateSubmission"]
    names = [name for name in FAULTS if name not in ("stalled", "drip")]
    ends: collections.Counter[str] = collections.Counter()
    started = time.monotonic()
    create = KaggleSession.create_submission
    with fake_kaggle() as (server, clock), tempfile.TemporaryDirectory() as folder:
        server.daily_limit = 10**6
        ledger = Ledger(Path(folder) / "ledger.csv")
        session = KaggleSession.connect()
        for case in range(n_cases):
            path = Path(folder) / f"{case}.csv"
            path.write_text(f"id,price\n{case},{rng.random()}\n")
            submission = SubmissionFile(
                "toy", path, hashlib.sha256(path.read_bytes()).hexdigest(), f"run-{case}", "rmsle", 0.1
            )
            for _ in range(rng.randint(1, 3)):
                server.faults.clear()
                for _ in range(rng.randint(0, 3)):
                    fault = FAULTS[rng.choice(names)](times=rng.choice([1, 2, None]), skip=rng.choice([0, 0, 1]))
                    server.fault(rng.choice(endpoints), fault)
                death = rng.choice(["", "", "before", "after"])

                def dying(*arguments: str, death: str = death) -> int:
                    ref = 0 if death == "before" else create(*arguments)
                    if death:
                        raise Killed
                    return ref

                KaggleSession.create_submission = dying  # type: ignore[method-assign,assignment]
                clock.time += rng.choice([1.0, 1000.0])
                try:
                    send_once(session, ledger, submission, may_use_last_slot=True, wait_s=30.0)
                    ends["ended well"] += 1
                except KaggleError as error:
                    ends[f"error: {error.kind}"] += 1
                except Killed:
                    ends["killed"] += 1
        server.faults.clear()
        KaggleSession.create_submission = create  # type: ignore[method-assign]
        unsettled = [entry for entry in ledger.entries() if entry.status == "sending"]
        for entry in unsettled:  # what a user does after an error: the same command with `--again`
            submission = SubmissionFile(
                "toy", Path(folder) / entry.file, entry.sha256, entry.run, entry.metric, entry.cv_score
            )
            send_once(session, ledger, submission, may_use_last_slot=True, wait_s=30.0, is_again=True)
        per_content = collections.Counter(one["content"] for one in server.submissions)
        n_twice = sum(count - 1 for count in per_content.values())
        refs = {one["ref"] for one in server.submissions}
        in_ledger = {entry.ref for entry in ledger.entries() if entry.ref is not None}
    print(f"submissions: {n_cases} files in {time.monotonic() - started:.0f} s: {dict(ends)}")
    print(
        f"  {len(unsettled)} intents were settled at the end; slots used {len(refs)}, in the ledger {len(in_ledger)}, "
        f"sent twice {n_twice}, not in the ledger {len(refs - in_ledger)}, invented {len(in_ledger - refs)}"
    )
    return n_twice + len(refs ^ in_ledger)


def late_records(is_quick: bool) -> int:
    """Submit where Kaggle records or shows submissions 0 to 1,000 s late, whatever it answers, and run again later."""
    cases = LATE_CASES[::10] if is_quick else LATE_CASES
    found: collections.Counter[str] = collections.Counter()
    started = time.monotonic()
    with fake_kaggle() as (server, clock), tempfile.TemporaryDirectory() as folder:
        server.daily_limit, server.now = 10**6, clock.now
        for number, case in enumerate(cases):
            if number % 50 == 0:  # long lists take long to read
                server.submissions.clear()
                place = Path(tempfile.mkdtemp(dir=folder))
            found += (bad := case.run(server, place, number))
            if bad.total():
                print(f"{case}: {dict(bad)}")
    print(
        f"late records: {len(cases)} cases in {time.monotonic() - started:.0f} s; sent twice {found['sent twice']}, "
        f"missing in the ledger {found['missing']}, invented {found['invented']}"
    )
    return found.total()


def matrix(names: Sequence[str], operations: Sequence[str]) -> int:
    """Run every operation with every fault, then without: a table of what the user reads, and what went wrong."""
    print("| fault | operation | exit | then | sent | on disk | what the user reads |")
    print("|---|---|---|---|---|---|---|")
    wrong: collections.Counter[str] = collections.Counter()
    started, n_cases = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder, fake_kaggle() as (server, clock):
        server.now = clock.now
        trained = trained_toy(Path(folder) / "trained")
        offer_toy(server)
        run_notebooks(server, trained)
        for name, operation in itertools.product(names, operations):
            one, n_cases = OPERATIONS[operation], n_cases + 1
            toy = Toy(Workspace(Path(folder) / f"case-{n_cases}", "toy"))
            if one.command != "data":
                shutil.copytree(trained.workspace.root, toy.workspace.root)
            for content in (server.faults, server.submissions, server.late, server.kernels):
                content.clear()
            one.set_up(server)
            server.fault(one.endpoint, FAULTS[name]())
            set_limits(TIMEOUT_S if name in ("stalled", "drip") else 30.0)
            code, output = run_command(toy, one)
            sent, left = len(server.submissions), on_disk(toy)
            server.faults.clear()
            set_limits(30.0)
            code_after, output_after = run_command(toy, one)
            found = what_is_wrong(server, toy, one.command, output + output_after)
            found["hangs"] += (code is None) + (code_after is None)
            found["tracebacks"] += (output + output_after).count("Traceback")
            wrong += found
            row = (name, operation, code, code_after, sent, left, what_is_said(toy, output))
            print(f"| {' | '.join(map(str, row))} |", *(f"<-- {kind}" for kind in KINDS if found[kind]), flush=True)
            shutil.rmtree(toy.workspace.root, ignore_errors=True)
    print(
        f"{n_cases} cases of {len(names)} faults x {len(operations)} operations in {time.monotonic() - started:.0f} s: "
        + ", ".join(f"{kind} {wrong[kind]}" for kind in KINDS)
    )
    return wrong.total()


def trained_toy(root: Path) -> Toy:
    """Return a competition with a finished run and its submission."""
    trained = Toy(Workspace(root, "toy"))
    trained.workspace.raw.mkdir(parents=True)
    train, test = toy_tables()
    sample = test[["id"]].assign(price=1000.0)
    for name, frame in {"train": train, "test": test, "sample_submission": sample}.items():
        frame.to_csv(trained.workspace.raw / f"{name}.csv", index=False)
    trained.workspace.spec.write_text(SPEC)
    trained.submit("--no-upload")
    return trained


def set_limits(seconds: float) -> None:
    """Set the time limits of the client."""
    calls.READ_TIMEOUT_S = calls.ANSWER_LIMIT_S = calls.RATE_WINDOW_S = seconds
    calls.SENT_PER_S = 1e9  # a notebook of 600 kB would have another minute


def run_command(toy: Toy, operation: Operation) -> tuple[int | None, str]:
    """Run the operation; return its exit code, None if it hangs, and all that it printed, tracebacks included."""
    results = []
    thread = threading.Thread(
        target=lambda: results.append(toy.run(operation.command, *operation.options)), daemon=True
    )
    thread.start()
    thread.join(HANG_S)
    if not results:
        return None, ""
    (result,) = results
    crash = result.exc_info if result.exception is not None and not isinstance(result.exception, SystemExit) else None
    return result.exit_code, result.output + ("".join(traceback.format_exception(*crash)) if crash else "")


def what_is_wrong(server: KaggleServer, toy: Toy, command: str, output: str) -> collections.Counter[str]:
    """Count what was sent twice, what the ledger misses, and secrets in the output or in a file of the project."""
    per_content = collections.Counter(one["content"] for one in server.submissions)
    n_versions = sum(len(one["versions"]) - 1 for one in server.kernels.values())
    in_ledger = {entry.ref for entry in Ledger(toy.workspace.ledger).entries()}
    texts = [output.encode(), *(path.read_bytes() for path in toy.workspace.root.rglob("*") if path.is_file())]
    return collections.Counter(
        {
            "sent twice": sum(count - 1 for count in per_content.values()) + n_versions,
            "missing": len({one["ref"] for one in server.submissions} - in_ledger) if command != "leaderboard" else 0,
            "secrets": sum(any(secret.encode() in text for text in texts) for secret in SECRETS),
        }
    )


def what_is_said(toy: Toy, output: str) -> str:
    """Return the message that the user reads in the end."""
    lines = [line for line in output.splitlines() if line.startswith(("error:", "submit: ref", "init: wrote"))]
    return (lines[-1] if lines else "").replace(str(toy.workspace.root), "").replace("|", "/")[:150]


def on_disk(toy: Toy) -> str:
    """Return what the command left."""
    if toy.workspace.ledger.exists():
        return (
            ", ".join(f"ledger: {entry.status}" for entry in Ledger(toy.workspace.ledger).entries()) or "ledger: empty"
        )
    if found := list(toy.workspace.kernels.glob("state-*.json")):
        return f"notebook: {State.read(found[0]).status}"
    if (toy.workspace.folder / "download" / "archive.part").exists():
        return "a part"
    return "raw/ complete" if toy.workspace.source.exists() else "nothing"


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["matrix", "downloads", "submits", "late"])
    parser.add_argument("--operation", choices=list(OPERATIONS), action="append", help="of the matrix; repeatable")
    options = parser.parse_args()
    n_bad = 0
    with tempfile.TemporaryDirectory() as home:
        os.environ["HOME"] = home
        if options.only in (None, "matrix"):
            n_bad += matrix(sorted(TRANSIENT) if options.quick else list(FAULTS), options.operation or list(OPERATIONS))
        with contextlib.redirect_stderr(io.StringIO()):
            calls_say_nothing()
            if options.only in (None, "downloads"):
                n_bad += (
                    downloads(20, 2_000_000, options.seed)
                    if options.quick
                    else downloads(200, 50_000_000, options.seed)
                )
            if options.only in (None, "submits"):
                n_bad += submits(20 if options.quick else 100, options.seed)
            if options.only in (None, "late"):
                n_bad += late_records(options.quick)
    sys.exit(1 if n_bad else 0)


def calls_say_nothing() -> None:
    """Silence the messages of hundreds of retries."""
    from pipeline.base.progress import console

    console.quiet = True


if __name__ == "__main__":
    main()
