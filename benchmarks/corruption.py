"""Damage every file of a finished project in every way and count how the commands that read it answer.

    python benchmarks/corruption.py                  # all pairs, about half an hour
    python benchmarks/corruption.py --every 20       # a sample
    python benchmarks/corruption.py --only study.log # files whose name contains the text

The exit code is 1 if a command ends with a traceback, or makes other results without a word.
"""

from __future__ import annotations

import argparse
import collections
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.corruption import World

LIMIT_S = 300
GOOD = ("same", "refused", "told")


def main() -> int:
    """Print a line per bad answer and a table of counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="try every n-th case")
    parser.add_argument("--only", default="", help="try files whose name contains this")
    options = parser.parse_args()
    started = time.monotonic()
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    told: collections.Counter[str] = collections.Counter()  # by command
    with tempfile.TemporaryDirectory() as temporary:
        for name in [name for name in os.environ if name.startswith(("KAGGLE", "PIPELINE_", "COMPETITION"))]:
            del os.environ[name]
        os.environ["HOME"] = temporary
        world = World(Path(temporary) / "project")
        world.build()
        for case in [case for case in world.cases() if options.only in case[0]][:: options.every]:
            ending, said = _answer(world, *case)
            counts[case[1], ending] += 1
            told[case[2]] += ending == "told"
            if ending not in GOOD:
                print(f"{ending}: {' | '.join(case)}: {said[-300:]}", flush=True)
    endings = sorted({ending for _, ending in counts}, key=[*GOOD, "wrong", "traceback", "crash", "hang"].index)
    print(f"{'damage':>20} " + " ".join(f"{ending:>9}" for ending in endings))
    for damage in dict.fromkeys(damage for damage, _ in counts):
        print(f"{damage:>20} " + " ".join(f"{counts[damage, ending]:>9}" for ending in endings))
    print(f"told: {', '.join(f'{command} {n}' for command, n in told.items() if n)}")
    total = {ending: sum(n for (_, one), n in counts.items() if one == ending) for ending in endings}
    print(f"{sum(total.values())} cases in {time.monotonic() - started:.0f} s: {total}")
    return int(any(total.get(ending) for ending in total if ending not in GOOD))


def _answer(world: World, name: str, damage: str, command: str) -> tuple[str, str]:
    def late(_: int, __: FrameType | None) -> None:
        raise TimeoutError("no answer")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT_S)
    try:
        ending, said = world.answer(name, damage, command)
    except TimeoutError as error:
        return "hang", str(error)
    finally:
        signal.alarm(0)
    return ("hang" if "TimeoutError" in said else ending), said


if __name__ == "__main__":
    sys.exit(main())
