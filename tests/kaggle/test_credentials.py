"""Which credentials are found and used, which warnings there are, and that no secret is ever shown."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.base.errors import KaggleError
from pipeline.kaggle.client.credentials import credential_warnings, find_credentials, found_credentials
from pipeline.kaggle.client.session import KaggleSession
from tests.conftest import Toy
from tests.kaggle.faults import DATASET, OPERATIONS
from tests.kaggle.server import KEY, TOKEN, USER, KaggleServer, status

Write = Callable[..., Path]


@pytest.fixture
def write() -> Write:
    """Return a function that writes a file under HOME, readable only by its owner unless `mode` says otherwise."""

    def write(name: str, content: object, mode: int = 0o600) -> Path:
        path = Path.home() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        path.chmod(mode)
        return path

    return write


def test_nothing_is_found_on_a_fresh_machine() -> None:
    assert find_credentials() is None
    assert credential_warnings() == []
    with pytest.raises(KaggleError, match=r"https://www\.kaggle\.com/settings"):
        KaggleSession.connect()


def test_credentials_are_used_in_the_clients_order(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    oauth = write(".kaggle/credentials.json", {"refresh_token": "r"})
    key = write(".kaggle/kaggle.json", {"username": USER, "key": KEY})
    token = write(".kaggle/access_token", TOKEN)
    assert [one.source for one in found_credentials()] == [str(token), str(key), str(oauth)]
    monkeypatch.setenv("KAGGLE_USERNAME", USER)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    assert [one.source for one in found_credentials()] == [
        "the variable KAGGLE_API_TOKEN",
        str(token),
        "the variables KAGGLE_USERNAME and KAGGLE_KEY",
        str(key),
        str(oauth),
    ]


def test_an_existing_kaggle_folder_hides_the_config_folder(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    key = write(".config/kaggle/kaggle.json", {"username": USER, "key": KEY})
    assert find_credentials() == str(key)
    (Path.home() / ".kaggle").mkdir()
    assert find_credentials() is None
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(key.parent))
    assert find_credentials() == str(key)


def test_a_token_that_hides_a_valid_key_is_a_warning(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write(".kaggle/kaggle.json", {"username": USER, "key": KEY})
    assert credential_warnings() == []
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    assert "KAGGLE_API_TOKEN takes precedence over" in "\n".join(credential_warnings())


def test_readable_files_and_tokens_used_as_keys_are_warnings(write: Write) -> None:
    key = write(".kaggle/kaggle.json", {"username": USER, "key": TOKEN}, mode=0o644)
    said = "\n".join(credential_warnings())
    assert f"chmod 600 {key}" in said
    assert "as a key" in said
    assert TOKEN not in said


def test_a_broken_key_file_is_ignored_with_a_warning(write: Write) -> None:
    write(".kaggle/kaggle.json", "{broken")
    assert find_credentials() is None
    assert "silently ignores it" in "\n".join(credential_warnings())


def test_a_variable_can_name_a_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("token.txt", TOKEN)
    monkeypatch.setenv("KAGGLE_API_TOKEN", str(path))
    assert find_credentials() == f"{path} (named by KAGGLE_API_TOKEN)"


def test_login_by_key_and_by_token(kaggle: KaggleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert KaggleSession.connect().user == USER
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    monkeypatch.setenv("KAGGLE_USERNAME", USER)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    assert KaggleSession.connect().competition("toy").title == "Toy"
    monkeypatch.setenv("KAGGLE_KEY", "wrong")
    with pytest.raises(KaggleError, match="does not accept the credentials from the variables"):
        KaggleSession.connect().competition("toy")
    assert kaggle.requests[-1].headers["Authorization"].startswith("Basic ")


def test_the_error_names_a_stale_token_beside_a_valid_key(
    kaggle: KaggleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    kaggle.token_is_active = False
    monkeypatch.setenv("KAGGLE_USERNAME", USER)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    with pytest.raises(KaggleError, match="even though the API key may be valid") as caught:
        KaggleSession.connect()
    assert "unset KAGGLE_API_TOKEN" in caught.value.hint


def test_logging_in_prints_nothing_and_makes_one_request(
    kaggle: KaggleServer, capfd: pytest.CaptureFixture[str]
) -> None:
    KaggleSession.connect()
    assert kaggle.names() == ["IntrospectToken"]
    assert capfd.readouterr().out == ""


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--competition", "https://www.kaggle.com/competitions/toy"]])
def test_doctor_reports_and_never_shows_a_secret(kaggle: KaggleServer, finished: Toy, options: list[str]) -> None:
    result = finished.run("doctor", *options)
    assert result.exit_code == 0, result.output
    for words in ("kaggle client: 2.", "access token from the variable KAGGLE_API_TOKEN", "logged in as ada", "torch"):
        assert words in result.stdout
    assert "the rules are accepted" in result.stdout
    assert "5 submissions left" in result.stdout
    assert TOKEN not in result.output
    kaggle.competition["userHasEntered"] = False
    result = finished.run("doctor")
    assert result.exit_code == 3
    assert "https://www.kaggle.com/competitions/toy/rules" in result.stdout


PLACES = ("KAGGLE_API_TOKEN", "token.txt", ".kaggle/access_token", "kaggle.json", "KAGGLE_KEY")
BOM = "\ufeff"


@pytest.mark.usefixtures("kaggle")
@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", "  {}\t", BOM + "{}", "{}\u200b", "\x00{}\x1b"])
@pytest.mark.parametrize("place", PLACES)
def test_what_editors_add_around_a_secret_is_removed(
    write: Write, monkeypatch: pytest.MonkeyPatch, place: str, around: str
) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    if place == "KAGGLE_API_TOKEN":
        monkeypatch.setenv(place, around.replace("\x00", "").format(TOKEN))
    elif place == "token.txt":
        monkeypatch.setenv("KAGGLE_API_TOKEN", f"{write(place, around.format(TOKEN))}\n")
    elif place == "KAGGLE_KEY":
        monkeypatch.setenv("KAGGLE_USERNAME", around.replace("\x00", "").format(USER))
        monkeypatch.setenv(place, around.replace("\x00", "").format(KEY))
    elif place == "kaggle.json":
        write(".kaggle/kaggle.json", around.format(json.dumps({"username": f"{USER}\n", "key": f" {KEY}\r\n"})))
    else:
        write(place, around.format(TOKEN))
    assert KaggleSession.connect().competition("toy").title == "Toy"


@pytest.mark.usefixtures("kaggle")
def test_files_in_utf_16_are_read(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    write(".kaggle/access_token", "").write_bytes(f"{TOKEN}\r\n".encode("utf-16"))
    assert KaggleSession.connect().user == USER


@pytest.mark.parametrize(
    ("inside", "word"),
    [("\n", "a line end"), (" ", "a blank"), ("\x1b", "U+001B"), ("é", "U+00E9"), ("…", "U+2026"), (BOM, "byte order")],
)
@pytest.mark.parametrize("place", [*PLACES, "credentials.json"])
def test_a_secret_that_cannot_be_sent_is_one_message_that_names_its_source(
    kaggle: KaggleServer,
    finished: Toy,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    inside: str,
    word: str,
) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    bad = f"first-half-of-it{inside}second-half-of-it"
    if place == "KAGGLE_API_TOKEN":
        monkeypatch.setenv(place, bad)
    elif place == "token.txt":
        monkeypatch.setenv("KAGGLE_API_TOKEN", str(write(place, bad)))
    elif place == "KAGGLE_KEY":
        monkeypatch.setenv("KAGGLE_USERNAME", USER)
        monkeypatch.setenv(place, bad)
    elif place == "kaggle.json":
        write(".kaggle/kaggle.json", {"username": USER, "key": bad})
    elif place == "credentials.json":
        write(".kaggle/credentials.json", {"refresh_token": bad, "username": USER})
    else:
        write(place, bad)
    for command in ("leaderboard", *["doctor"] * (inside == "\n")):
        result = finished.run(command)
        assert result.exit_code == 3
        assert word in result.output
        assert place.split("/")[-1] in result.output
        assert "half-of-it" not in result.output
        assert "Traceback" not in result.output
    assert kaggle.requests == []


def test_a_variable_that_names_a_missing_file_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "~/.kaggle/my_token")
    with pytest.raises(KaggleError, match="names a file that does not exist"):
        KaggleSession.connect()


@pytest.mark.usefixtures("kaggle")
@pytest.mark.parametrize("blank", ["", " ", "\n", BOM])
def test_blank_variables_count_as_absent(write: Write, monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.setenv(name, blank)
    assert find_credentials() is None
    write(".kaggle/kaggle.json", {"username": USER, "key": KEY})
    assert KaggleSession.connect().competition("toy").title == "Toy"


@pytest.mark.usefixtures("kaggle")
def test_the_environment_is_as_before_after_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", f"{TOKEN}\n")
    monkeypatch.setenv("VERBOSE", "1")
    before = dict(os.environ)
    KaggleSession.connect().competition("toy")
    assert dict(os.environ) == before


def test_doctor_succeeds_without_credentials(finished: Toy) -> None:
    result = finished.run("doctor")
    assert result.exit_code == 0
    assert "https://www.kaggle.com/settings" in result.stdout


def test_doctor_reports_a_stale_token(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.token_is_active = False
    result = finished.run("doctor")
    assert result.exit_code == 3
    assert "accepts none of the credentials" in result.stdout


def test_a_home_that_cannot_be_read_ends_no_command(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError("a home that cannot be searched")

    monkeypatch.setattr(Path, "is_dir", refuse)
    assert toy.run("train", "--help").exit_code == 0


def test_a_login_that_kaggle_refuses_is_kept(kaggle: KaggleServer, finished: Toy) -> None:
    OPERATIONS["token refresh"].set_up(kaggle)
    login = Path.home() / ".kaggle" / "credentials.json"
    before = login.read_bytes()
    kaggle.fault("GenerateAccessToken", status(401, "Unauthorized access"))
    result = finished.run("leaderboard")
    assert result.exit_code == 3
    assert f"accepts none of the credentials found: {login}" in result.output
    assert login.read_bytes() == before


@pytest.mark.parametrize(("code", "words"), [(403, "is private"), (404, "https://www.kaggle.com/datasets/<owner>/")])
def test_an_error_about_a_dataset_names_datasets(kaggle: KaggleServer, empty: Toy, code: int, words: str) -> None:
    kaggle.fault("ListDatasetFiles", status(code, "denied"))
    result = empty.run("data", *DATASET)
    assert result.exit_code == 3
    assert words in result.output
    assert "/competitions/" not in result.output
