"""Text from data, archives and servers, made harmless for a terminal.

Must not know where the text comes from or goes to.
"""

from __future__ import annotations

import re

# control characters except tab and line feed, marks that change the direction of text or cannot be seen, halves of
# surrogate pairs; zero-width joiners are part of words and emoji
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)


def printable(text: str, *, is_one_line: bool = False) -> str:
    r"""Return the text with unsafe characters as escapes, such as `\x1b`; `is_one_line` escapes line feeds, too."""
    text = _UNSAFE.sub(_escape, text)
    return text.replace("\n", r"\n").replace("\t", r"\t") if is_one_line else text


def is_printable(text: str) -> bool:
    """Return whether the text is one line without unsafe characters."""
    return printable(text, is_one_line=True) == text


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
