"""Laws of what is kept: computed once for a key, never more bytes than allowed, a hash tells rows and their order."""

from __future__ import annotations

import pandas as pd
import pytest

from pipeline.encoders.kept import Kept, digest


def test_a_result_is_computed_once_until_others_need_its_room() -> None:
    kept, made = Kept(most_bytes=10), list[str]()

    def get(key: str, size: int = 4) -> str:
        return kept.get(key, lambda: made.append(key) or key.upper(), lambda _: size)  # type: ignore[func-returns-value]

    assert [get("a"), get("b"), get("a"), get("c"), get("a"), get("b")] == ["A", "B", "A", "C", "A", "B"]
    assert made == ["a", "b", "c", "b"]  # `b` was asked for longest ago when `c` came
    assert kept.n_bytes == 8
    get("large", 11)
    assert kept.n_bytes == 0


def test_a_failure_is_not_kept() -> None:
    kept = Kept(most_bytes=10)
    with pytest.raises(ZeroDivisionError):
        kept.get("a", lambda: 1 // 0, lambda _: 1)
    assert kept.get("a", lambda: 5, lambda _: 1) == 5


def test_a_digest_tells_cells_and_their_order() -> None:
    frame = pd.DataFrame({"a": ["x", "y", None], "b": ["x", "y", "z"], "c": ["x", "y", ""]}, dtype="str")
    digests = [digest(frame["a"]), digest(frame["b"]), digest(frame["c"]), digest(frame["a"], frame["b"])]
    digests += [digest(frame["b"][::-1]), digest(frame["b"][:2])]
    assert len(set(digests)) == len(digests)
    assert digest(frame["b"].set_axis([5, 6, 7])) == digest(frame["b"])
