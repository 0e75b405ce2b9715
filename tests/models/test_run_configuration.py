"""Laws of the run configuration: every parameter is in it, a mistake names file and key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.base.errors import SpecError
from pipeline.config.presets import preset_names
from pipeline.config.run import FeatureSteps, Part, RunConfig, as_toml
from pipeline.models.registry import MODELS, entry_of, make_model
from pipeline.models.run_configuration import load_run_config, resolved
from tests.conftest import Toy

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


@pytest.fixture
def preset(tmp_path: Path) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(PRESET)
    return str(path)


@pytest.mark.parametrize("name", preset_names())
def test_every_built_in_preset_is_valid_and_told(name: str) -> None:
    config = load_run_config(name)
    assert config.preset == name
    assert config.description
    assert config.run_name.startswith(f"{name}-{config.model}-")


def test_a_preset_is_read_by_path(preset: str) -> None:
    config = load_run_config(preset)
    assert (config.preset, config.model, config.seeds) == ("mine", "mlp", 2)
    assert (config.params["lr"], config.params["hidden_sizes"]) == (0.01, [64, 32])
    assert config.params["epochs"] == entry_of("mlp").defaults["epochs"]
    assert config.features.rare_min_count == 3


@pytest.mark.parametrize(
    ("override", "where", "value"),
    [
        ("lr=0.5", "params.lr", 0.5),  # a bare key that is no field of a run is the model's
        ("dropout=0.1", "params.dropout", 0.1),
        ("params.lr=1e-3", "params.lr", 1e-3),
        ("hidden_sizes=[8]", "params.hidden_sizes", [8]),
        ("activation=tanh", "params.activation", "tanh"),  # text needs no quotes
        ('activation="tanh"', "params.activation", "tanh"),
        ("description=a=b", "description", "a=b"),
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
    assert (config.params["lr"], config.params["hidden_sizes"]) == (2.0, [64, 32])
    assert (config.features.log1p_skewed, config.features.rare_min_count) == (0.5, 3)
    assert load_run_config(preset).params["lr"] == 0.01


@pytest.mark.parametrize(
    ("override", "fragments"),
    [
        ("lr", ["--set needs key=value", "'lr'"]),
        ("=3", ["--set needs key=value"]),
        ("params.lr.deep=3", ["'lr' is not a table"]),
        ("depht=3", ["mine.toml, [params] of mlp", "unknown key 'depht'"]),
        ("lr=-1", ["mine.toml, [params] of mlp", "lr: Input should be greater than 0", "(it is -1)"]),
        ("params.deep.er=1", ["unknown key 'deep'"]),
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
    config = load_run_config(preset, model="kernel_ridge", overrides=["max_rows=50"])
    assert (config.model, config.params["max_rows"], "lr" in config.params) == ("kernel_ridge", 50, False)
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
        for override in (
            "lr=0.02",
            "seed=1",
            "seeds=3",
            "features.rare_min_count=4",
            "features.generated=9",
            "scope=train+test",
        )
    ]
    assert len({base.run_name, *(other.run_name for other in others)}) == 7
    assert load_run_config(preset, overrides=["features.generated=0"]).run_name == base.run_name


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
    assert (first.model, first.seeds, first.params["lr"], first.parts) == ("mlp", 4, 0.1, [])
    assert first.params.keys() == entry_of("mlp").params.model_fields.keys()
    assert (second.model, second.seeds, second.target_transform) == ("linear", 1, "log1p")
    assert config.run_name != load_run_config(str(preset), overrides=["seeds=5"]).run_name
    alone = load_run_config("fast")
    assert alone.weighted_parts == [(1.0, alone)]
    assert "parts" not in alone.identity


@pytest.mark.parametrize("override", ["lr=0.1", "features.rare_min_count=3", "scope=train+test"])
def test_an_ensemble_has_no_numbers_of_its_own(tmp_path: Path, override: str) -> None:
    preset = tmp_path / "two.toml"
    preset.write_text('model = "mlp"\n[[parts]]\nmodel = "mlp"\n[[parts]]\nmodel = "linear"\n')
    with pytest.raises(SpecError, match="cannot be set for an ensemble: set it in its parts"):
        load_run_config(str(preset), overrides=[override])


# --- resolved once


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_configuration_has_every_parameter(name: str) -> None:
    config = load_run_config("fast", model=name)
    assert config.params.keys() == entry_of(name).params.model_fields.keys()
    assert resolved(config) == config
    make_model(config.model, config.params, where="test")


def test_another_default_of_the_registry_is_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_run_config("fast", model="extra_trees")
    entry = replace(MODELS["extra_trees"], defaults={"max_features": 0.4})
    monkeypatch.setitem(MODELS, "extra_trees", entry)
    after = load_run_config("fast", model="extra_trees")
    assert (before.params["max_features"], after.params["max_features"]) == (0.5, 0.4)
    assert before.run_name != after.run_name
    assert load_run_config("fast", model="extra_trees", overrides=["max_features=0.5"]).run_name == before.run_name


def test_a_model_is_not_made_of_half_its_parameters() -> None:
    with pytest.raises(SpecError, match="missing parameters: max_features, min_samples_leaf"):
        make_model("extra_trees", {"n_trees": 3}, where="test")


@pytest.mark.parametrize("name", preset_names())
def test_a_configuration_written_as_toml_is_read_as_the_same(name: str, tmp_path: Path) -> None:
    config = load_run_config(name)
    path = tmp_path / f"{name}.toml"
    path.write_text(as_toml(config.model_dump(mode="json")))
    assert load_run_config(str(path)) == config


def test_an_ensemble_written_as_toml_is_read_as_the_same(tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    parts = '[[parts]]\nmodel = "mlp"\n[[parts]]\nmodel = "ridge"\n'
    path.write_text(f'model = "mlp"\nclass_weights = {{ "a b" = 2.0 }}\n{parts}')
    config = load_run_config(str(path))
    path.write_text(as_toml(config.model_dump(mode="json")))
    assert load_run_config(str(path)) == config


def test_a_dry_run_prints_the_configuration_and_makes_nothing(toy: Toy) -> None:
    result = toy.run("train", "--model", "extra_trees", "--set", "n_trees=7", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "n_trees = 7" in result.stdout
    assert "max_features = 0.5" in result.stdout
    assert not toy.workspace.features.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--model", "extra_tree"], "Did you mean 'extra_trees'?"),
        (["--set", "n_tree=7", "--model", "extra_trees"], "unknown key 'n_tree'. Did you mean 'n_trees'?"),
        (["--set", "lr=fast"], "(it is 'fast')"),
    ],
)
@pytest.mark.parametrize("command", ["train", "submit", "tune", "kernel"])
def test_a_wrong_setting_is_refused_before_anything_is_read(
    toy: Toy, command: str, options: list[str], what: str
) -> None:
    result = toy.run(command, *options)
    assert result.exit_code == 2
    assert what in result.output
    assert not toy.workspace.features.exists()


def _numbers(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        inside = {field.annotation, *get_args(field.annotation)}
        if inside & {int, float}:
            yield name, field


@pytest.mark.parametrize("settings", [RunConfig, Part, FeatureSteps, *dict.fromkeys(e.params for e in MODELS.values())])
def test_every_number_of_a_configuration_has_bounds_and_says_what_is_usual(settings: type[BaseModel]) -> None:
    for name, field in _numbers(settings):
        limits = {key for limit in field.metadata for key in ("gt", "ge", "lt", "le") if hasattr(limit, key)}
        assert limits & {"gt", "ge"}, name
        assert limits & {"lt", "le"}, name
        assert isinstance(field.json_schema_extra, dict), name
        assert field.json_schema_extra["usual"], name


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("value", ["inf", "nan", "-inf", "-1", "1e300", "1e400", "9" * 50])
def test_absurd_numbers_are_refused_when_the_configuration_is_resolved(model: str, value: str) -> None:
    for name, _ in _numbers(MODELS[model].params):
        with pytest.raises(SpecError, match=name):
            load_run_config(model=model, overrides=[f"{name}={value}"])


def test_a_number_out_of_bounds_names_the_bound_and_what_is_usual() -> None:
    with pytest.raises(SpecError) as caught:
        load_run_config(overrides=["dropout=0.999999", "lr=1e9", "hidden_sizes=[0]"])
    assert "dropout: Input should be less than or equal to 0.95 (it is 0.999999); usual: 0 to 0.5" in str(caught.value)
    assert "lr: Input should be less than or equal to 1000" in str(caught.value)
    assert "usual: 1 to 3 layers of 32 to 512" in str(caught.value)
