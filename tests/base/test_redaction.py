"""Secrets leave no text: those that are in use in every form, and whatever looks like one."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from pipeline.base import files
from pipeline.base.errors import PipelineError
from pipeline.base.progress import print_result, print_table, say
from pipeline.base.redaction import redact, remember, remember_address, remember_login

ODD = "0dd secret/of+tests"


@pytest.mark.parametrize("form", [ODD, quote(ODD), json.dumps(ODD), repr(ODD.encode()), f"{ODD}\n"])
def test_every_form_of_a_secret_is_redacted(form: str) -> None:
    remember(ODD)
    assert "secret" not in redact(f"before {form} after")
    assert redact("before and after") == "before and after"


def test_a_secret_with_a_line_end_inside_is_redacted() -> None:
    remember("first-half\nsecond-half")
    assert redact("first-half, then second-half") == "***, then ***"
    assert redact("b'first-half\\nsecond-half'") == "b'***'"


def test_a_password_is_redacted_also_as_http_sends_it() -> None:
    remember_login("ada", "pass-of-ada")
    assert redact(base64.b64encode(b"ada:pass-of-ada").decode()) == "***"


def test_an_address_is_redacted_whole_and_in_parts() -> None:
    value = "0123456789abcdef0123"
    remember_address(f"gs://bucket/file?alt=media&proof={value}")
    assert redact(f"No adapters for 'gs://bucket/file?alt=media&proof={value}'") == "No adapters for '***'"
    assert redact(f"url: /file?alt=media&proof={value}") == "url: /file?***"
    assert redact(f"proof={value}, media") == "proof=***, media"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("invalid KGAT_0123456789", "invalid ***"),
        ("an access token (KGAT_…)", "an access token (KGAT_…)"),
        ("{'Authorization': 'Basic YWRhOmtleQ=='}", "{'Authorization': 'Basic ***'}"),
        ("proxy http://ada:pw@proxy:3128/", "proxy http://***@proxy:3128/"),
        ("postgresql://ada:p@w@host/studies", "postgresql://***@host/studies"),
        ("/x.zip?X-Goog-Signature=ab&alt=media HTTP/1.1", "/x.zip?X-Goog-Signature=***&alt=media HTTP/1.1"),
        ("https://www.kaggle.com/c/toy/data?select=train.csv", "https://www.kaggle.com/c/toy/data?select=train.csv"),
    ],
)
def test_what_looks_like_a_secret_is_redacted(text: str, expected: str) -> None:
    assert redact(text) == expected


def test_no_way_out_shows_a_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remember("the-secret-itself")
    say("said the-secret-itself")
    print_result("printed the-secret-itself")
    print_table("title", ["column"], [["the-secret-itself"]])
    files.write_json(tmp_path / "file.json", {"key": "the-secret-itself", "url": "http://a:b@c"})
    error = PipelineError("what the-secret-itself", where="the-secret-itself", hint="the-secret-itself")
    out, err = capsys.readouterr()
    written = (tmp_path / "file.json").read_text()
    assert "the-secret-itself" not in out + err + written + error.message
    assert "http://a:b@c" in written  # a file's own content stays
    assert (out + err).count("***") == 3
