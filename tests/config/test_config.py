"""Laws of the spec and the run configuration: a mistake names file, table, key and nearest key; names are stable."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.base.errors import SpecError
from pipeline.config.run import apply_override, read_preset
from pipeline.config.spec import CompetitionSpec, load_spec
from pipeline.config.table import read_toml
from pipeline.metrics import METRICS
from pipeline.models.registry import load_search_space

SPEC = """
name = "House Prices"
kaggle_slug = "house-prices"
id = "Id"
target = "SalePrice"
task = "regression"
metric = "log_rmse"
"""


def _spec(tmp_path: Path, text: str) -> CompetitionSpec:
    path = tmp_path / "competition.toml"
    path.write_text(text, encoding="utf-8")
    return load_spec(path)


def test_a_minimal_spec_has_the_written_defaults(tmp_path: Path) -> None:
    spec = _spec(tmp_path, SPEC)
    assert spec.target == ["SalePrice"]
    assert spec.encoder.scope == "train"  # law 1: unsupervised statistics from train rows unless asked
    assert (spec.folds.kind, spec.folds.number) == ("shuffled", 5)
    assert spec.scorer is METRICS["log_rmse"]
    assert spec.prediction_columns == ["SalePrice"]
    assert spec.writes == "value"


def test_the_submission_writes_what_the_metric_reads_unless_told(tmp_path: Path) -> None:
    binary = SPEC.replace("regression", "binary").replace("log_rmse", "roc_auc")
    assert _spec(tmp_path, binary).writes == "probability"
    told = binary + '[submission]\nwrites = "label"\ncolumns = ["p"]\n'
    assert (_spec(tmp_path, told).writes, _spec(tmp_path, told).prediction_columns) == ("label", ["p"])


SPEC_MISTAKES = {
    "unknown key": ('metrik = "rmse"', ["unknown key 'metrik'", "Did you mean 'metric'?"]),
    "unknown key of a table": ("[folds]\nnumbr = 3", ["[folds] unknown key 'numbr'", "Did you mean 'number'?"]),
    "unknown key, nothing near": ("[folds]\nzzz = 3", ["[folds] unknown key 'zzz'", "Known: kind, number, seed"]),
    "wrong choice": ('[folds]\nkind = "shufled"', ["[folds] kind", "'shuffled'", "'shufled'"]),
    "out of range": ("[folds]\nnumber = 1", ["[folds] number", "greater than or equal to 2", "(it is 1)"]),
    "wrong type": ('[folds]\nseed = "one"', ["[folds] seed", "(it is 'one')"]),
    "deep": ("[columns.ordered]\nExterQual = 3", ["[columns.ordered] ExterQual", "(it is 3)"]),
    "a group kind without its group": ('[folds]\nkind = "group"', ["[folds]", "needs the key 'group'"]),
    "a time kind without its time": ('[folds]\nkind = "time"', ["[folds]", "needs the key 'time'"]),
    "a role of the target": ('[columns]\ndrop = ["SalePrice"]', ["columns.drop", "'SalePrice'", "target"]),
}


@pytest.mark.parametrize(("added", "fragments"), SPEC_MISTAKES.values(), ids=SPEC_MISTAKES)
def test_a_mistake_in_the_spec_names_file_table_and_key(tmp_path: Path, added: str, fragments: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        _spec(tmp_path, SPEC + added + "\n")
    assert caught.value.where == str(tmp_path / "competition.toml")
    for fragment in (str(tmp_path / "competition.toml"), *fragments):
        assert fragment in caught.value.message


SPEC_CHANGES = {
    "unknown metric": (
        '"log_rmse"',
        '"log_rmsle"',
        ["metric", "unknown metric 'log_rmsle'", "Did you mean 'log_rmse'?"],
    ),
    "metric of another task": (
        '"log_rmse"',
        '"accuracy"',
        ["'accuracy' cannot score a regression task", "rmse, mse, rmsle"],
    ),
    "unknown task": ('"regression"', '"clustering"', ["task", "'clustering'", "'multiclass'"]),
    "missing key": ('id = "Id"\n', "", ["missing key 'id'"]),
    "no target": ('"SalePrice"', "[]", ["target", "at least 1"]),
    "syntax": ('name = "House Prices"', "name = House Prices", ["not valid TOML", "line 2"]),
    "several classes targets": (
        'target = "SalePrice"\ntask = "regression"\nmetric = "log_rmse"',
        'target = ["a", "b"]\ntask = "multiclass"\nmetric = "accuracy"',
        ["several targets"],
    ),
    "a ranking of several targets": (
        'target = "SalePrice"\ntask = "regression"\nmetric = "log_rmse"',
        'target = ["a", "b"]\ntask = "binary"\nmetric = "map_at_3"',
        ["map_at_3", "one target"],
    ),
    "transform of a class": (
        'task = "regression"\nmetric = "log_rmse"',
        'task = "binary"\nmetric = "accuracy"\ntarget_transform = "log"',
        ["target_transform is for regression only"],
    ),
}


@pytest.mark.parametrize(("old", "new", "fragments"), SPEC_CHANGES.values(), ids=SPEC_CHANGES)
def test_a_wrong_value_in_the_spec_is_named(tmp_path: Path, old: str, new: str, fragments: list[str]) -> None:
    assert old in SPEC
    with pytest.raises(SpecError) as caught:
        _spec(tmp_path, SPEC.replace(old, new))
    for fragment in (str(tmp_path / "competition.toml"), *fragments):
        assert fragment in caught.value.message


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        _spec(tmp_path, SPEC.replace('id = "Id"\n', "") + "[folds]\nnumber = 1\nkindd = 'group'\n")
    for fragment in ("missing key 'id'", "[folds] number", "[folds] unknown key 'kindd'"):
        assert fragment in caught.value.message


def test_a_missing_spec_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="pipeline init titanic"):
        load_spec(tmp_path / "titanic" / "competition.toml")


def test_a_file_of_another_encoding_or_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes('name = "Häuser"'.encode("latin-1"))
    with pytest.raises(SpecError, match="UTF-8"):
        read_toml(tmp_path / "latin.toml")
    with pytest.raises(SpecError, match="No such file"):
        read_toml(tmp_path / "nothing.toml")
    with pytest.raises(SpecError, match="cannot be read"):
        read_toml(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_what_a_windows_editor_saves_is_read(tmp_path: Path, encoding: str, line_end: str) -> None:
    text = SPEC.replace('"Id"', '"Größe"').replace("\n", line_end)
    path = tmp_path / "competition.toml"
    path.write_bytes(text.encode(encoding))
    read = load_spec(path)
    assert read == _spec(tmp_path, text)
    preset = tmp_path / "mine.json"
    preset.write_bytes('{"config": {"preset": "x", "model": "ridge"}}'.encode(encoding))
    assert read_preset(str(preset))[0]["model"] == "ridge"


def test_deep_brackets_are_a_message(tmp_path: Path) -> None:
    deep = "[" * 100_000
    for name, text in (("a.toml", f"x = {deep}"), ("a.json", deep)):
        (tmp_path / name).write_text(text)
        with pytest.raises(SpecError, match="nested too deeply"):
            read_preset(str(tmp_path / name))
    with pytest.raises(SpecError, match="nested too deeply"):
        apply_override({}, f"x={deep}")


def test_a_spec_cannot_be_changed_after_it_was_read(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        _spec(tmp_path, SPEC).metric = "rmse"  # type: ignore[misc]


def test_what_costs_time_by_number_is_not_searched_in_wide_tables() -> None:
    narrow = load_search_space("mlp", "regression", {}, n_numbers=64)
    wide = load_search_space("mlp", "regression", {}, n_numbers=65)
    assert set(narrow) - set(wide) == {"number_embedding", "frequency_scale"}  # and what depends on it
