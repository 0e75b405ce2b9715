"""Names from outside are checked once: nothing outside `data/` is reached, and a mistake is a message."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipeline import Competition
from pipeline.base.errors import SpecError
from pipeline.base.names import competition_slug, dataset_slug, file_name, name_from, place_of, same_name
from pipeline.cli import app
from pipeline.competition.workspace import Workspace
from pipeline.config.spec import load_spec
from tests.conftest import Toy

SLUG_COMMANDS = (
    "data",
    "features",
    "check",
    "train",
    "tune",
    "submit",
    "final",
    "runs",
    "kernel",
    "leaderboard",
    "doctor",
)
NO_SLUGS = (
    *(
        "",
        " ",
        ".",
        "..",
        "...",
        "../..",
        "a/..",
        "../a",
        "a b",
        "a\tb",
        "a\nb",
        "a\x00b",
        "a\x1b[31m",
        "a\u202eb",
        "#",
        "?",
    ),
    *(
        "-c",
        "--help",
        ".hidden",
        "a.",
        "a" * 300,
        "ä" * 60,
        "a;b",
        "$(id)",
        "`id`",
        "a'b",
        'a"b',
        "a*",
        "a\\b",
        "a:b",
        "~",
    ),
    *("nul", "CON", "com1.x", "ada/toy-data", "a/b/c", "%2e%2e"),
    *(
        "https://example.com/competitions/titanic",
        "https://kaggle.com.example.com/c/titanic",
        "//example.com/c/titanic",
    ),
    *("https://kaggle.com@example.com/c/titanic", "https://www.kaggle.com", "https://www.kaggle.com/competitions/"),
    *("https://www.kaggle.com/c/..", "https://www.kaggle.com/c/a%20b", "https://www.kaggle.com/titanic"),
    *("https://www.kaggle.com/datasets/ada/toy-data", "https://www.kaggle.com/code/ada/notebook", "file:///etc/passwd"),
)


@pytest.mark.parametrize(
    "given",
    [
        *("titanic", " titanic\n", "titanic/", "data/titanic", "data/titanic/", "competitions/titanic", "c/titanic"),
        "https://www.kaggle.com/competitions/titanic",
        "https://www.kaggle.com/competitions/titanic/data?select=train.csv#top",
        "https://www.kaggle.com/c/titanic/overview/evaluation",
        "http://kaggle.com:80/c/titanic?x=/competitions/other",
        "HTTPS://WWW.Kaggle.com/c/titanic#/c/other",
        *("kaggle.com/competitions/titanic/", "//inclass.kaggle.com/c/titanic"),
    ],
)
def test_a_competition_is_given_by_name_or_address(given: str) -> None:
    assert competition_slug(given) == "titanic"
    assert competition_slug(competition_slug(given)) == "titanic"


@pytest.mark.parametrize("given", ["My-Comp.v1", "playground-series-s3e24", "äöü", "_x", "a" * 100])
def test_names_of_folders_are_kept(given: str) -> None:
    assert competition_slug(given) == given


def test_one_unicode_form_is_used() -> None:
    assert competition_slug("a\u0308") == "ä"


@pytest.mark.parametrize("given", NO_SLUGS)
def test_what_is_no_name_is_refused_by_every_door(given: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as found:
        competition_slug(given)
    assert len(found.value.message) < 500
    with pytest.raises(SpecError):
        Competition(given, root=tmp_path)
    with pytest.raises(SpecError):
        Workspace(tmp_path, given)
    for command in SLUG_COMMANDS:
        result = CliRunner().invoke(app, [command, f"--competition={given}", "--root", str(tmp_path)])
        assert result.exit_code == 2, (command, result.output)
        assert result.output.startswith("error: ")
        assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_init_refuses_it_too_and_names_a_folder(toy: Toy, tmp_path: Path) -> None:
    for wrong in ("ada/toy", "a b", "a" * 300, "https://example.com/c/titanic"):
        result = CliRunner().invoke(app, ["init", wrong, "--root", str(tmp_path / "new")])
        assert result.exit_code == 2, result.output
        assert "error: " in result.output
    assert not (tmp_path / "new").exists()
    place = tmp_path / "Meine Daten (1)"
    toy.workspace.raw.rename(place)
    result = CliRunner().invoke(app, ["init", f"{place}/", "--root", str(tmp_path / "new")])
    assert result.exit_code == 0, result.output
    assert load_spec(tmp_path / "new/data/Meine-Daten-1/competition.toml").kaggle_slug == "Meine-Daten-1"


@given(st.text())
def test_a_name_made_of_any_text_is_one_or_refused(text: str) -> None:
    try:
        made = name_from(text)
    except SpecError:
        return
    assert competition_slug(made) == made
    assert PurePosixPath("data", made).parts == ("data", made)


@pytest.mark.parametrize(
    "given",
    [
        *("ada/toy-data", "datasets/ada/toy-data", "ada/toy-data/"),
        "https://www.kaggle.com/datasets/ada/toy-data/data?select=x.csv",
        "https://www.kaggle.com/ada/toy-data",
    ],
)
def test_a_dataset_is_given_by_owner_and_name_or_address(given: str) -> None:
    assert dataset_slug(given) == "ada/toy-data"


@pytest.mark.parametrize(
    "given",
    [
        *("", "toy-data", "/toy-data", "ada/", "ada/..", "../ada", "a/b/c", "a b/c", "ada/x\x1b", "datasets/ada"),
        *("https://example.com/ada/toy", "https://www.kaggle.com/datasets/ada/toy/versions/3", f"ada/{'x' * 300}"),
    ],
)
def test_what_is_no_dataset_is_refused(given: str, toy: Toy) -> None:
    with pytest.raises(SpecError):
        dataset_slug(given)
    for command, option in (("data", "dataset"), ("kernel", "wheels")):
        result = toy.run(command, f"--{option}={given}")
        assert result.exit_code == 2
        assert "owner" in result.output


def test_a_spec_is_checked_and_may_give_addresses(toy: Toy) -> None:
    toy.edit_spec('kaggle_slug = "toy"', 'kaggle_slug = "https://www.kaggle.com/c/toy"\ndataset = "datasets/ada/toy"')
    spec = load_spec(toy.workspace.spec)
    assert (spec.kaggle_slug, spec.data_slug) == ("toy", "ada/toy")
    for key, value, mistake in [
        ("kaggle_slug", "..", "kaggle_slug: '..' is not the name of a competition"),
        ("dataset", "toy", "dataset: 'toy' is not a dataset"),
        ("feature_function", "f" * 400, "feature_function: has a name that is too long"),
    ]:
        toy.workspace.spec.write_text(f'{key} = "{value}"\nid = "id"\n')
        with pytest.raises(SpecError, match=mistake):
            load_spec(toy.workspace.spec)


@pytest.mark.parametrize("key", ["[files]\ntrain", "[folds]\nfile", "[files]\nsample_submission"])
def test_a_file_name_that_no_file_can_have_is_a_message(toy: Toy, key: str) -> None:
    spec = toy.workspace.spec.read_text().partition("[folds]")[0]
    toy.workspace.spec.write_text(f'{spec}{key} = "{"a" * 400}.csv"\n')
    result = toy.run("features")
    assert result.exit_code == 2
    assert "too long" in result.output


@pytest.mark.parametrize(
    "name", ["train.csv", "images/a b/1.png", "a\\b.csv", "./x", "Größe.csv", "console.csv", "👩‍🚀.png"]
)
def test_a_members_place_is_inside(name: str) -> None:
    assert place_of(name) == PurePosixPath(name.replace("\\", "/"))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        *(
            (name, "outside")
            for name in ("/x", "../x", "a/../../x", "C:x", "c:\\x", "..\\x", "\\x", "\\\\host\\x", "a/..")
        ),
        *((name, "empty") for name in ("", " ", ".", "./", "./.")),
        *((name, "control") for name in ("a\x1b[2J", "a\nb", "a\x00", "a\u202ecsv.exe", "a\x7f", "a\udc80")),
        *((name, "too long") for name in ("a" * 256, "ä" * 128, "a/" * 600)),
        *((name, "device") for name in ("NUL", "con.csv", "x/aux.tar.gz", "com1", "LPT9.txt")),
    ],
)
def test_other_members_are_refused(name: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        place_of(name)


def test_names_that_a_file_system_takes_for_one_are_recognised() -> None:
    for one, other in (("Train.csv", "train.CSV"), ("ä.csv", "a\u0308.csv"), ("straße", "STRASSE")):
        assert same_name(PurePosixPath(one)) == same_name(PurePosixPath(other))
    assert same_name(PurePosixPath("a")) != same_name(PurePosixPath("ä"))
    assert file_name("../anywhere/it is.csv") == "../anywhere/it is.csv"
