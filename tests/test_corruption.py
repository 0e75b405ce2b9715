"""Law: a damaged file is refused with one message, or made again with the same results; never used, never a traceback.

A sample of `benchmarks/corruption.py`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.corruption import COMMANDS, World

N_CASES = 60


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PIPELINE_DATA_DIR", raising=False)
        patch.delenv("COMPETITION", raising=False)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        world = World(tmp_path_factory.mktemp("corruption") / "project")
        world.build()
        yield world


@pytest.mark.slow
def test_damaged_files_are_refused_or_made_again(world: World) -> None:
    cases = sorted(world.cases(), key=lambda case: zlib.crc32(" ".join(case).encode()))[:N_CASES]
    assert {command for _, _, command in cases} > COMMANDS.keys() - {"doctor", "leaderboard", "tune, database"}
    bad = {case: found for case in cases if (found := world.answer(*case))[0] not in ("same", "refused", "told")}
    assert bad == {}


@pytest.mark.slow
def test_a_wrong_result_is_noticed(world: World) -> None:
    """The check itself: a submission that is another one, without a word."""
    submission = next(Path(world.root / "submissions/toy").glob("fast-ridge-*.csv"))
    world.wanted["final, refitted"][submission.relative_to(world.root).as_posix()] = b"id,price\n"
    source = "data/toy/raw/source.json"
    assert world.answer(source, "last bytes lost", "final, refitted")[0] == "refused"
    assert world.answer("data/toy/features/check.json", "emptied", "final, refitted")[0] == "wrong"
    assert world.answer("data/toy/features/folds.npy", "deleted", "compare")[0] == "same"
