"""A small sample of `benchmarks/killing.py`: commands ended at random moments end as if nobody had ended them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "killing.py"


@pytest.mark.slow
def test_eight_kills_change_nothing() -> None:
    only = [option for name in ("data", "train", "final", "clean") for option in ("--only", name)]
    command = [sys.executable, str(BENCHMARK), "--kills", "8", *only]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '{"kills": 8, "good": 8, "faults": 0}' in done.stdout
