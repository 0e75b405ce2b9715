"""Laws of the spec and the run configuration: a mistake names file, table, key and nearest key; names are stable."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.base.errors import SpecError
from pipeline.config.presets import preset_names
from pipeline.config.run import RunConfig, load_run_config
from pipeline.config.search_space import load_search_space
from pipeline.config.spec import CompetitionSpec, load_spec
from pipeline.config.table import read_toml
from pipeline.metrics import METRICS

SPEC = """
name = "House Prices"
kaggle_slug = "house-prices"
id = "Id"
target = "SalePrice"
task = "regression"
metric = "log_rmse"
"""

PRESET = """
description = "a preset of the tests"
model = "mlp"
seeds = 2

[params]
lr = 0.01
hidden_sizes = [64, 32]

[features]
rare_min_count = 3
"""


def _spec(tmp_path: Path, text: str) -> CompetitionSpec:
    path = tmp_path / "competition.toml"
    path.write_text(text, encoding="utf-8")
    return load_spec(path)


@pytest.fixture
def preset(tmp_path: Path) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(PRESET, encoding="utf-8")
    return str(path)


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
        ["'accuracy' cannot score a regression task", "rmse, rmsle"],
    ),
    "unknown task": ('"regression"', '"clustering"', ["task", "'clustering'", "'multiclass'"]),
    "missing key": ('id = "Id"\n', "", ["missing key 'id'"]),
    "no target": ('"SalePrice"', "[]", ["target", "at least 1"]),
    "syntax": ('name = "House Prices"', "name = House Prices", ["not valid TOML", "line 2"]),
    "several classes targets": (
        'target = "SalePrice"\ntask = "regression"\nmetric = "log_rmse"',
        'target = ["a", "b"]\ntask = "binary"\nmetric = "accuracy"',
        ["several targets"],
    ),
    "transform of a class": (
        'task = "regression"\nmetric = "log_rmse"',
        'task = "binary"\nmetric = "accuracy"\ntarget_transform = "log"',
        ["target_transform belongs to regression"],
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


def test_a_spec_cannot_be_changed_after_it_was_read(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        _spec(tmp_path, SPEC).metric = "rmse"  # type: ignore[misc]


@pytest.mark.parametrize("name", preset_names())
def test_every_built_in_preset_is_valid_and_told(name: str) -> None:
    config = load_run_config(name)
    assert config.preset == name
    assert config.description
    assert config.run_name.startswith(f"{name}-{config.model}-")


def test_a_preset_is_read_by_path(preset: str) -> None:
    config = load_run_config(preset)
    assert (config.preset, config.model, config.seeds) == ("mine", "mlp", 2)
    assert config.params == {"lr": 0.01, "hidden_sizes": [64, 32]}
    assert config.features.rare_min_count == 3


@pytest.mark.parametrize(
    ("override", "where", "value"),
    [
        ("lr=0.5", "params.lr", 0.5),  # a bare key that is no field of a run is the model's
        ("dropout=0.1", "params.dropout", 0.1),
        ("params.lr=1e-3", "params.lr", 1e-3),
        ("params.deep.er=1", "params.deep.er", 1),
        ("hidden_sizes=[8]", "params.hidden_sizes", [8]),
        ("activation=tanh", "params.activation", "tanh"),  # text needs no quotes
        ('activation="tanh"', "params.activation", "tanh"),
        ("note=a=b", "params.note", "a=b"),
        ("seeds=7", "seeds", 7),
        ("scope=train+test", "scope", "train+test"),
        ("features.missing_indicators=true", "features.missing_indicators", True),
        ("features.scaling=robust", "features.scaling", "robust"),
    ],
)
def test_an_override_lands_where_its_key_says(preset: str, override: str, where: str, value: object) -> None:
    dumped = load_run_config(preset, overrides=[override]).model_dump()
    for part in where.split("."):
        dumped = dumped[part]
    assert dumped == value


def test_the_last_override_wins_and_leaves_the_rest(preset: str) -> None:
    config = load_run_config(preset, overrides=["lr=1", "lr=2", "features.log1p_skewed=0.5"])
    assert config.params == {"lr": 2, "hidden_sizes": [64, 32]}
    assert (config.features.log1p_skewed, config.features.rare_min_count) == (0.5, 3)
    assert load_run_config(preset).params["lr"] == 0.01


@pytest.mark.parametrize(
    ("override", "fragments"),
    [
        ("lr", ["--set wants key=value", "'lr'"]),
        ("=3", ["--set wants key=value"]),
        ("params.lr.deep=3", ["'lr' is not a table"]),
        ("features.rare_min=3", ["[features] unknown key 'rare_min'", "Did you mean 'rare_min_count'?"]),
        ("seeds=zero", ["seeds", "(it is 'zero')"]),
        ("scope=both", ["scope", "'train+test'", "(it is 'both')"]),
        ("features.target_encoding=1", ["[features] target_encoding", "greater than or equal to 2"]),
    ],
)
def test_a_wrong_override_is_named(preset: str, override: str, fragments: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        load_run_config(preset, overrides=[override])
    for fragment in fragments:
        assert fragment in caught.value.message


def test_another_model_drops_the_params_of_the_presets_own(preset: str) -> None:
    config = load_run_config(preset, model="ridge", overrides=["alpha=2.0"])
    assert (config.model, config.params) == ("ridge", {"alpha": 2.0})
    assert config.features.rare_min_count == 3
    assert load_run_config(preset, model="mlp").params == load_run_config(preset).params


def test_a_wrong_preset_file_names_itself(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text("[featurs]\nrare_min_count = 3\n")
    with pytest.raises(SpecError) as caught:
        load_run_config(str(path))
    for fragment in (str(path), "missing key 'model'", "unknown key 'featurs'. Did you mean 'features'?"):
        assert fragment in caught.value.message
    with pytest.raises(SpecError, match=r"absent\.toml"):
        load_run_config(str(tmp_path / "absent.toml"))


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(SpecError, match="unknown preset 'no such preset'"):
        load_run_config("no such preset")


def test_the_run_name_tells_configurations_apart_and_nothing_else(preset: str) -> None:
    base = load_run_config(preset)
    same = base.model_copy(update={"description": "other words", "final": "refit", "final_reason": "told"})
    assert same.run_name == base.run_name
    reordered = base.model_copy(update={"params": dict(reversed(base.params.items()))})
    assert reordered.run_name == base.run_name
    others = [
        load_run_config(preset, overrides=[override])
        for override in ("lr=0.02", "seed=1", "seeds=3", "features.rare_min_count=4", "scope=train+test")
    ]
    assert len({base.run_name, *(other.run_name for other in others)}) == 6


def test_a_run_configuration_survives_json(preset: str) -> None:
    config = load_run_config(preset)
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


def test_an_ensembles_parts_are_runs_of_their_own(tmp_path: Path) -> None:
    preset = tmp_path / "two.toml"
    preset.write_text(
        'model = "mlp"\nseeds = 4\n[[parts]]\nmodel = "mlp"\nweight = 2\nparams = { lr = 0.1 }\n'
        '[[parts]]\nmodel = "linear"\nseeds = 1\ntarget_transform = "log1p"\n'
    )
    config = load_run_config(str(preset))
    (weight, first), (other_weight, second) = config.weighted_parts
    assert (weight, other_weight) == (2.0, 1.0)
    assert (first.model, first.seeds, first.params, first.parts) == ("mlp", 4, {"lr": 0.1}, [])
    assert (second.model, second.seeds, second.target_transform) == ("linear", 1, "log1p")
    assert config.run_name != load_run_config(str(preset), overrides=["seeds=5"]).run_name
    alone = load_run_config("fast")
    assert alone.weighted_parts == [(1.0, alone)]
    assert "parts" not in alone.identity


@pytest.mark.parametrize("override", ["lr=0.1", "features.rare_min_count=3", "scope=train+test"])
def test_an_ensemble_has_no_numbers_of_its_own(tmp_path: Path, override: str) -> None:
    preset = tmp_path / "two.toml"
    preset.write_text('model = "mlp"\n[[parts]]\nmodel = "mlp"\n[[parts]]\nmodel = "linear"\n')
    with pytest.raises(SpecError, match="each of its parts has its own"):
        load_run_config(str(preset), overrides=[override])


def test_what_costs_time_by_number_is_not_searched_in_wide_tables() -> None:
    narrow = load_search_space("mlp", "regression", {}, n_numbers=64)
    wide = load_search_space("mlp", "regression", {}, n_numbers=65)
    assert set(narrow) - set(wide) == {"number_embedding", "frequency_scale"}  # and what depends on it
