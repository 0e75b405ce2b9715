"""Laws of `init`: a drafted spec reads back, loads its own files, and says what each guess rests on."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.base.errors import DataError, PipelineError, SpecError
from pipeline.competition.draft.explanation import checks_of
from pipeline.competition.draft.spec_text import draft_spec
from pipeline.competition.idx_images import idx_tables
from pipeline.competition.tables.loading import CompetitionTables, load_tables
from pipeline.config.spec import CompetitionSpec

Columns = Mapping[str, Sequence[object]]
N, N_TEST = 200, 40


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def ids(n: int = N, first: int = 0) -> list[int]:
    return list(range(first, first + n))


X, X_TEST = rng().normal(size=N).tolist(), rng().normal(size=N_TEST).tolist()
TEST_IDS = ids(N_TEST, N)


def write(folder: Path, **files: Columns) -> Path:
    """CSV files from columns, cells written as they are given."""
    for name, columns in files.items():
        pd.DataFrame(columns).to_csv(folder / f"{name}.csv", index=False)
    return folder


def table_files(
    target: Mapping[str, Sequence[object]],
    predicted: Mapping[str, Sequence[object]],
    train: Columns | None = None,
    test: Columns | None = None,
) -> dict[str, Columns]:
    return {
        "train": {"id": ids(), "x": X, **(train or {}), **target},
        "test": {"id": TEST_IDS, "x": X_TEST, **(test or {})},
        "sample_submission": {"id": TEST_IDS, **predicted},
    }


def drafted(raw: Path, metric: str | None = None, name: str = "toy") -> tuple[str, CompetitionSpec]:
    text = draft_spec(raw, name, metric=metric)
    return text, CompetitionSpec.model_validate(tomllib.loads(text))


def drafted_and_loaded(raw: Path, metric: str | None = None) -> tuple[str, CompetitionSpec, CompetitionTables]:
    text, spec = drafted(raw, metric)
    return text, spec, load_tables(raw, spec)


def refused(raw: Path, *parts: str, metric: str | None = None, kind: type[PipelineError] = DataError) -> None:
    with pytest.raises(kind) as error:
        draft_spec(raw, "toy", metric=metric)
    for part in parts:
        assert part in error.value.message, f"{part!r} is not said in: {error.value.message}"


ZEROS: list[object] = [0] * N_TEST
PRICES = np.exp(rng().normal(size=N)).round(3).tolist()
REGRESSION = table_files({"price": PRICES}, {"price": ZEROS})

# --- files and id ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sampleSubmission", "gender_submission", "my_submission_format", "sample-submission"])
def test_the_sample_is_found_by_its_name(tmp_path: Path, name: str) -> None:
    write(tmp_path, train=REGRESSION["train"], test=REGRESSION["test"], **{name: REGRESSION["sample_submission"]})
    _, spec, _ = drafted_and_loaded(tmp_path)
    assert spec.files.sample_submission == f"{name}.csv"


def test_training_gz_and_parquet_are_found(tmp_path: Path) -> None:
    pd.DataFrame(REGRESSION["train"]).to_csv(tmp_path / "training.csv.gz", index=False)
    pd.DataFrame(REGRESSION["test"]).to_parquet(tmp_path / "test.parquet", index=False)
    write(tmp_path, sample_submission=REGRESSION["sample_submission"])
    _, spec, tables = drafted_and_loaded(tmp_path)
    assert spec.files.train == "training.csv"
    assert spec.files.test == "test.csv"
    assert len(tables.train) == N


def test_files_that_are_missing_or_ambiguous_are_listed(tmp_path: Path) -> None:
    refused(tmp_path, "no file looks like the train file: the folder has no files")
    write(tmp_path, train_a=REGRESSION["train"], train_b=REGRESSION["train"], test=REGRESSION["test"])
    refused(tmp_path, "several files may be the train file", "train_a.csv, train_b.csv")
    write(tmp_path, train=REGRESSION["train"])
    refused(tmp_path, "no file looks like the sample_submission file", "test.csv", "[files]")
    write(tmp_path, first_submission=REGRESSION["test"], second_submission=REGRESSION["test"])
    refused(tmp_path, "several files", "first_submission.csv, second_submission.csv")


def test_an_empty_table_is_refused(tmp_path: Path) -> None:
    write(tmp_path, **(REGRESSION | {"test": {"id": [], "x": []}}))
    refused(tmp_path, "test.csv", "no rows")


def test_the_id_is_the_column_that_holds_the_test_ids(tmp_path: Path) -> None:
    files = REGRESSION | {"sample_submission": {"price": ZEROS, "id": TEST_IDS[::-1]}}
    assert drafted_and_loaded(write(tmp_path, **files))[1].id == "id"


def test_an_id_with_an_empty_header(tmp_path: Path) -> None:
    files = {name: {"" if c == "id" else c: v for c, v in columns.items()} for name, columns in REGRESSION.items()}
    _, spec, tables = drafted_and_loaded(write(tmp_path, **files))
    assert spec.id == ""
    assert tables.test_ids.tolist() == TEST_IDS


Files = dict[str, Columns]
STORES = [i % 4 for i in range(N_TEST)]
DAYS = [f"2021-01-{1 + i // 4:02}" for i in range(N_TEST)]


def renamed(files: Files, **names: str | None) -> Files:
    """The files with other names for their id columns; None leaves it out."""
    changed = dict(files)
    for key, new in names.items():
        changed[key] = {
            (new or "" if c == "id" else c): v for c, v in files[key].items() if c != "id" or new is not None
        }
    return changed


IDS: dict[str, tuple[Files, str, dict[str, object]]] = {
    "another case in the sample": (renamed(REGRESSION, sample_submission="Id"), "id", {"sample_submission": "Id"}),
    "none in train": (renamed(REGRESSION, train=None), "id", {"train": ""}),
    "another name in train": (renamed(REGRESSION, train="AnimalID"), "id", {"train": "AnimalID"}),
    "two others": (
        renamed(REGRESSION, train="Id", test="ForecastId", sample_submission="ForecastId"),
        "ForecastId",
        {"train": "Id"},
    ),
    "headers that are empty": (
        renamed(REGRESSION, train="", test="", sample_submission="Id"),
        "Id",
        {"train": "Unnamed: 0", "test": "Unnamed: 0"},
    ),
    "counted rows": (
        renamed(REGRESSION, train=None, test=None) | {"sample_submission": {"ImageId": ids(N_TEST, 1), "price": ZEROS}},
        "ImageId",
        {"train": "", "test": ""},
    ),
    "joined columns": (
        {
            "train": {**renamed(REGRESSION, train=None)["train"], "Store": [1] * N, "Date": ["2020-01-01"] * N},
            "test": {**renamed(REGRESSION, test=None)["test"], "Store": STORES, "Date": DAYS},
            "sample_submission": {"Id": [f"{s}_{d}" for s, d in zip(STORES, DAYS, strict=True)], "price": ZEROS},
        },
        "Id",
        {"train": ["Store", "Date"], "test": ["Store", "Date"]},
    ),
}


@pytest.mark.parametrize(("files", "name", "columns"), IDS.values(), ids=IDS)
def test_ids_as_they_come(tmp_path: Path, files: Files, name: str, columns: dict[str, object]) -> None:
    _, spec, tables = drafted_and_loaded(write(tmp_path, **files))
    assert spec.id == name
    assert spec.ids.model_dump(exclude_defaults=True) == columns
    sample = pd.DataFrame(files["sample_submission"])
    assert tables.test_ids.astype(str).tolist() == sample[spec.sample_id].astype(str).tolist()
    assert not {"id", "Id", "AnimalID", "ForecastId", "ImageId"} & set(tables.train.columns)
    assert len(tables.train_ids) == N


def test_rows_that_the_sample_does_not_count_are_not_taken_in_order(tmp_path: Path) -> None:
    """Ids 1, 2, 4 are no row numbers, and neither are those of another number of rows."""
    without = renamed(REGRESSION, train=None, test=None)
    gap = [*ids(N_TEST - 1, 1), N_TEST + 5]
    refused(write(tmp_path, **without | {"sample_submission": {"ImageId": gap, "price": ZEROS}}), "no column holds")
    few = {"ImageId": ids(N_TEST - 1, 1), "price": ZEROS[1:]}
    refused(write(tmp_path, **without | {"sample_submission": few}), "no column holds the ids of test.csv", "'ImageId'")


def test_ids_that_are_not_in_the_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path, **(REGRESSION | {"sample_submission": {"id": ids(N_TEST, 5000), "price": ZEROS}}))
    refused(tmp_path, "0 of the sample's 40 values", "test.csv", "not '5000'")


# --- target and task -------------------------------------------------------------------------------------------------


def test_a_target_of_another_name_than_the_samples(tmp_path: Path) -> None:
    files = table_files({"sale_price": PRICES, "agent": X}, {"SalePrice": ZEROS})
    text, spec, _ = drafted_and_loaded(write(tmp_path, **files))
    assert spec.target == ["sale_price"]
    assert spec.submission.columns == ["SalePrice"]
    assert spec.columns.drop == ["agent"]
    assert "not in test.csv, and not a target" in text


def test_the_last_lacking_column_when_no_name_is_near(tmp_path: Path) -> None:
    files = table_files({"casual": X, "y": PRICES}, {"Prediction": ZEROS})
    _, spec, _ = drafted_and_loaded(write(tmp_path, **files))
    assert spec.target == ["y"]
    assert spec.columns.drop == ["casual"]


def test_no_target_is_refused(tmp_path: Path) -> None:
    refused(write(tmp_path, **table_files({}, {"price": ZEROS})), "train.csv", "no target", "'price'")
    refused(write(tmp_path, **table_files({"price": PRICES}, {})), "no prediction column")
    write(tmp_path, **table_files({"price": PRICES}, {"price": ZEROS, "cost": ZEROS}))
    refused(tmp_path, "no column 'cost'", "'price'")
    write(tmp_path, **table_files({"kind": ["a", "b"] * (N // 2)}, {"p_a": ZEROS, "p_c": ZEROS}))
    refused(tmp_path, "'p_a', 'p_c'", "neither columns of train.csv nor classes", "'kind'")


def test_a_text_among_the_numbers_of_the_target_is_refused(tmp_path: Path) -> None:
    write(tmp_path, **table_files({"price": [*PRICES[:-2], "?", 1]}, {"price": ZEROS}))
    refused(tmp_path, "train.csv", "column 'price'", "row 199", "'?'")


@pytest.mark.parametrize(
    ("columns", "weight", "weights"),
    [
        ({"holiday": ["TRUE", "FALSE"] * (N // 2), "z": X}, "holiday", {"TRUE": 1.0, "FALSE": 1.0}),
        ({"holiday": ["TRUE", "FALSE"] * (N // 2), "row_weight": [1, 2.5] * (N // 2)}, "row_weight", {}),
        ({"x2": X}, None, {}),
        ({"one": ["True", "False"] * (N // 2), "other": ["False", "True"] * (N // 2)}, None, {}),
    ],
)
def test_a_metric_that_weighs_rows_gets_a_column(
    tmp_path: Path, columns: Columns, weight: str | None, weights: dict[str, float]
) -> None:
    in_test = {name: values[:N_TEST] for name, values in columns.items()}
    write(tmp_path, **table_files({"price": PRICES}, {"price": ZEROS}, columns, in_test))
    if weight is None:
        refused(tmp_path, "'wmae' weighs rows, and no column of train.csv", metric="wmae", kind=SpecError)
        return
    text, spec, tables = drafted_and_loaded(tmp_path, metric="wmae")
    assert (spec.metric, spec.scoring.weight, spec.scoring.weights) == ("wmae", weight, weights)
    assert tables.metric_weight is not None
    assert checks_of(text)[0].startswith(f'What does each row of "{weight}" weigh in the metric?')


def test_classes_of_a_known_scale_are_ordered_where_the_metric_needs_it(tmp_path: Path) -> None:
    labels = ["low", "medium", "high", "medium"]
    write(tmp_path, **table_files({"grade": labels * (N // 4)}, {"grade": ["low"] * N_TEST}))
    _, spec, tables = drafted_and_loaded(tmp_path, metric="quadratic_kappa")
    assert spec.class_order == ["very low", "low", "medium", "high", "very high"]
    assert tables.classes == ["low", "medium", "high"]
    assert drafted(tmp_path)[1].columns.ordered == {}


def test_several_targets(tmp_path: Path) -> None:
    files = table_files({"y1": PRICES, "y2": X}, {"y1": ZEROS, "y2": ZEROS})
    _, spec, tables = drafted_and_loaded(write(tmp_path, **files))
    assert spec.target == ["y1", "y2"]
    assert spec.task == "regression"
    assert list(tables.target) == ["y1", "y2"]


def test_several_targets_of_two_classes(tmp_path: Path) -> None:
    flags, others = [0, 1] * (N // 2), [0] * (N - 3) + [1] * 3
    write(tmp_path, **table_files({"y1": flags, "y2": others}, {"y1": [0.5] * N_TEST, "y2": [0.5] * N_TEST}))
    text, spec, tables = drafted_and_loaded(tmp_path)
    assert (spec.target, spec.task, spec.metric) == (["y1", "y2"], "binary", "roc_auc")
    assert spec.folds.kind == "stratified"
    assert "2 targets, each with the values 0 and 1" in text
    assert tables.classes == [0, 1]
    assert tables.target.sum().tolist() == [N // 2, 3]
    assert drafted(tmp_path, "rmsle")[1].task == "regression"


@pytest.mark.parametrize(
    ("labels", "columns", "classes"),
    [
        (["C", "CL", "D"], ["Status_D", "Status_C", "Status_CL"], ["D", "C", "CL"]),
        (["Class_1", "Class_2", "Class_3"], ["Class_1", "Class_2", "Class_3"], ["Class_1", "Class_2", "Class_3"]),
        ([1, 2, 3], ["Class_3", "Class_1", "Class_2"], ["3", "1", "2"]),
        (["a", "b"], ["b_probability", "a_probability"], ["b", "a"]),
    ],
)
def test_one_column_for_each_class(
    tmp_path: Path, labels: list[object], columns: list[str], classes: list[str]
) -> None:
    target = [labels[i % len(labels)] for i in range(N)]
    predicted = {column: [1 / len(columns)] * N_TEST for column in columns}
    _, spec, _ = drafted_and_loaded(write(tmp_path, **table_files({"Status": target}, predicted)))
    assert spec.submission.columns == columns
    assert spec.submission.classes == classes
    assert spec.task == ("binary" if len(labels) == 2 else "multiclass")
    assert spec.metric == "log_loss"
    assert spec.folds.kind == "stratified"


COUNTS = [i % 7 for i in range(N)]
LABELS: dict[str, tuple[Sequence[object], Sequence[object], str, str]] = {
    "bool": ([True, False] * (N // 2), [False] * N_TEST, "binary", "accuracy"),
    "two numbers": ([0, 1] * (N // 2), ZEROS, "binary", "accuracy"),
    "two numbers, probability": ([0, 1] * (N // 2), [0.5] * N_TEST, "binary", "roc_auc"),
    "two texts, probability": (["Yes", "No"] * (N // 2), ZEROS, "binary", "roc_auc"),
    "ranked texts": (["dengue fever", "b", "c", "d"] * (N // 4), ["b dengue fever"] * N_TEST, "multiclass", "map_at_2"),
    "texts": (["a", "b", "c", "d"] * (N // 4), ["a"] * N_TEST, "multiclass", "accuracy"),
    "few whole numbers": (COUNTS, ZEROS, "multiclass", "accuracy"),
    "few whole numbers, amount": (COUNTS, [2.5] * N_TEST, "regression", "rmse"),
    "many whole numbers": (list(range(N)), ZEROS, "regression", "rmse"),
    "fractions": (X, ZEROS, "regression", "rmse"),
}


@pytest.mark.parametrize(("target", "predicted", "task", "metric"), LABELS.values(), ids=LABELS)
def test_the_task_follows_from_the_target(
    tmp_path: Path, target: Sequence[object], predicted: Sequence[object], task: str, metric: str
) -> None:
    text, spec, _ = drafted_and_loaded(write(tmp_path, **table_files({"y": target}, {"y": predicted})))
    assert (spec.task, spec.metric) == (task, metric)
    assert "--metric NAME" in text


def test_a_given_metric_settles_whether_whole_numbers_are_amounts(tmp_path: Path) -> None:
    write(tmp_path, **table_files({"y": COUNTS}, {"y": ZEROS}))
    assert drafted(tmp_path, "rmse")[1].task == "regression"
    assert drafted(tmp_path, "quadratic_kappa")[1].task == "multiclass"
    assert "guessed: not in the files" not in drafted(tmp_path, "rmse")[0]


def test_a_metric_that_is_unknown_or_does_not_fit_is_refused(tmp_path: Path) -> None:
    write(tmp_path, **table_files({"y": [0, 1] * (N // 2)}, {"y": ZEROS}))
    refused(tmp_path, "unknown metric 'roc_aucc'", "'roc_auc'", metric="roc_aucc", kind=SpecError)
    refused(tmp_path, "'r2' cannot score a binary task", "accuracy", metric="r2", kind=SpecError)
    write(tmp_path, **table_files({"y": X}, {"y": ZEROS}))
    refused(tmp_path, "'accuracy' cannot score a regression task", "rmse", metric="accuracy", kind=SpecError)


@pytest.mark.parametrize(
    ("target", "metric", "transform"),
    [
        (PRICES, "log_rmse", "log"),
        (PRICES, "rmsle", "log1p"),
        (PRICES, "mae", "standardise"),
        (PRICES, None, "log"),
        ([0, *PRICES[1:]], None, "log1p"),
        (X, None, "standardise"),
        ([x + 100 for x in X], None, "standardise"),
    ],
)
def test_the_target_transform(tmp_path: Path, target: list[float], metric: str | None, transform: str) -> None:
    write(tmp_path, **table_files({"y": target}, {"y": ZEROS}))
    assert drafted_and_loaded(tmp_path, metric)[1].target_transform == transform


# --- columns ---------------------------------------------------------------------------------------------------------


def with_column(folder: Path, name: str, values: Sequence[object]) -> tuple[str, CompetitionSpec]:
    """The spec of tables with one more column, whose values repeat as often as there are rows."""
    train = [values[i % len(values)] for i in range(N)]
    test = [values[i % len(values)] for i in range(N_TEST)]
    write(folder, **table_files({"price": PRICES}, {"price": ZEROS}, {name: train}, {name: test}))
    return drafted_and_loaded(folder)[:2]


@pytest.mark.parametrize("name", ["MSSubClass", "Pclass", "season", "weather", "store_type", "StoreId", "zone_code"])
def test_whole_numbers_with_a_name_of_codes_are_categories(tmp_path: Path, name: str) -> None:
    text, spec = with_column(tmp_path, name, [1, 2, 3, 4])
    assert spec.columns.categories == [name]
    assert f'"{name}",  # guessed: 4 distinct whole numbers' in text


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("rooms", [1, 2, 3]),
        ("holiday_type", [0, 1]),
        ("class_size", [1.5, 2, 3]),
        ("width", [1, 2, 3]),
        ("paid", [7, 8, 9]),
    ],
)
def test_amounts_and_flags_are_no_categories(tmp_path: Path, name: str, values: list[float]) -> None:
    assert with_column(tmp_path, name, values)[1].columns.categories == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "levels"),
    [
        (["Gd", "TA", "Ex", None], ["Po", "Fa", "TA", "Gd", "Ex"]),
        (["low", "high", "medium"], ["very low", "low", "medium", "high", "very high"]),
        (["LOW", "HIGH", "MEDIUM"], ["VERY LOW", "LOW", "MEDIUM", "HIGH", "VERY HIGH"]),
        (["Small", "Large", "Medium"], ["Tiny", "Small", "Medium", "Large", "Huge"]),
        (["S", "M", "XL"], ["XXS", "XS", "S", "M", "L", "XL", "XXL", "XXXL"]),
        (["low", "High", "medium"], ["low", "medium", "High"]),
    ],
)
def test_texts_of_a_known_scale_are_ordered(tmp_path: Path, values: list[object], levels: list[str]) -> None:
    assert with_column(tmp_path, "quality", values)[1].columns.ordered == {"quality": levels}


@pytest.mark.parametrize("values", [["S", "C", "Q"], ["Gd", "No"], ["low", "high", "medium", "other"]])
def test_other_texts_are_not_ordered(tmp_path: Path, values: list[object]) -> None:
    assert with_column(tmp_path, "port", values)[1].columns.ordered == {}


def test_the_text_na_is_a_value_only_beside_empty_cells(tmp_path: Path) -> None:
    text, spec = with_column(tmp_path, "alley", ["Gravel", "NA", "Paved", ""])
    assert spec.columns.na_is_category == ["alley"]
    assert "cells read NA" in text
    assert with_column(tmp_path, "alley", ["Gravel", "NA", "Paved"])[1].columns.na_is_category == []
    _, spec = with_column(tmp_path, "pool", ["Gd", "NA", "Fa", "", "Ex"])
    assert spec.columns.ordered == {"pool": ["NA", "Po", "Fa", "TA", "Gd", "Ex"]}


def test_names_and_compound_texts_are_texts_and_said(tmp_path: Path) -> None:
    write(
        tmp_path,
        **table_files(
            {"price": PRICES},
            {"price": ZEROS},
            {"name": [f"Mr. {i}" for i in range(N)], "cabin": [f"B/{i}/P" for i in range(N)]},
            {"name": [f"Ms. {i}" for i in range(N_TEST)], "cabin": [f"C/{i}/S" for i in range(N_TEST)]},
        ),
    )
    text, spec, _ = drafted_and_loaded(tmp_path)
    assert spec.columns.texts == ["name", "cabin"]
    assert "compound (3 parts between '/')" in text


def test_dates_and_how_test_lies_in_time(tmp_path: Path) -> None:
    days = pd.date_range("2011-01-01", periods=N + N_TEST).strftime("%Y-%m-%d").tolist()
    files = table_files({"price": PRICES}, {"price": ZEROS}, {"day": days[:N]}, {"day": days[N:]})
    text, spec, tables = drafted_and_loaded(write(tmp_path, **files))
    assert spec.columns.dates == ["day"]
    assert (spec.folds.kind, spec.folds.time) == ("time", "day")
    assert "is later than all in train.csv" in text
    assert tables.fold_columns["day"].is_monotonic_increasing
    files = table_files({"price": PRICES}, {"price": ZEROS}, {"day": days[:N]}, {"day": days[50 : 50 + N_TEST]})
    text, spec, _ = drafted_and_loaded(write(tmp_path, **files))
    assert spec.folds.kind == "shuffled"
    assert "among the train rows in time" in text


@pytest.mark.parametrize("date_format", ["%m/%d/%Y", "%d.%m.%Y", "%Y-%m-%d %H:%M:%S", "%d-%b-%Y"])
def test_common_date_formats(tmp_path: Path, date_format: str) -> None:
    dates = pd.date_range("2011-01-01", periods=90, freq="25h").strftime(date_format).tolist()
    assert with_column(tmp_path, "when", dates)[1].columns.dates == ["when"]


def test_yyyymmdd_numbers_are_dates_when_the_name_says_so(tmp_path: Path) -> None:
    dates = [int(day) for day in pd.date_range("2011-01-01", periods=90).strftime("%Y%m%d")]
    assert with_column(tmp_path, "saledate", dates)[1].columns.dates == ["saledate"]
    assert with_column(tmp_path, "amount", dates)[1].columns.dates == []


def test_compound_ids_are_said(tmp_path: Path) -> None:
    files = table_files({"y": [True, False] * (N // 2)}, {"y": [True] * N_TEST})
    files["train"] = files["train"] | {"id": [f"{i // 2:04d}_{i % 2:02d}" for i in range(N)]}  # type: ignore[operator]
    test_ids = [f"9{i:03d}_01" for i in range(N_TEST)]
    files["test"] = files["test"] | {"id": test_ids}  # type: ignore[operator]
    files["sample_submission"] = files["sample_submission"] | {"id": test_ids}  # type: ignore[operator]
    text, spec, _ = drafted_and_loaded(write(tmp_path, **files))
    assert "the ids are compound ('0000_00'): 100 first parts in 200 rows" in text
    assert spec.folds.kind == "stratified"


def _grouped(name: str, of_train: list[object], of_test: list[object], target: list[object]) -> dict[str, Columns]:
    train = {name: [of_train[i % len(of_train)] for i in range(N)]}
    test = {name: [of_test[i % len(of_test)] for i in range(N_TEST)]}
    return table_files({"y": target}, {"y": ZEROS}, train=train, test=test)


KEYS: dict[str, tuple[str, list[object], list[object], str]] = {
    "products": ("prod", list("ABCDE"), list("FGHI"), "group"),
    "numbered patients": ("patient_id", list(range(1000, 1010)), [1010, 1011], "group"),
    "shared": ("prod", list("ABCDE"), list("EFGH"), "shuffled"),
    "a measurement": ("depth", list(range(10)), [10.5, 11.5], "shuffled"),
    "two values": ("prod", list("AB"), list("CD"), "shuffled"),
}


@pytest.mark.parametrize(("name", "of_train", "of_test", "kind"), KEYS.values(), ids=KEYS)
def test_a_key_that_test_shares_nothing_of_divides_the_folds(
    tmp_path: Path, name: str, of_train: list[object], of_test: list[object], kind: str
) -> None:
    _, spec, tables = drafted_and_loaded(write(tmp_path, **_grouped(name, of_train, of_test, list(PRICES))))
    assert (spec.folds.kind, spec.folds.group) == (kind, name if kind == "group" else None)
    assert len(tables.train) == N


def test_classes_are_stratified_within_the_groups(tmp_path: Path) -> None:
    tables = _grouped("prod", list("ABC"), list("DE"), [0, 1] * (N // 2))
    text, spec, _ = drafted_and_loaded(write(tmp_path, **tables))
    assert (spec.folds.kind, spec.folds.group, spec.folds.number) == ("stratified_group", "prod", 3)
    assert "no 'prod' of test.csv (2) is among the 3 of train.csv" in text


@pytest.mark.parametrize(("begin", "kind"), [("2020-07-10", "time"), ("2020-02-20", "shuffled")])
def test_time_folds_where_most_of_test_is_later(tmp_path: Path, begin: str, kind: str) -> None:
    days, later = (pd.date_range(day, periods=n).astype(str) for day, n in (("2020-01-01", N), (begin, N_TEST)))
    files = table_files({"y": PRICES}, {"y": ZEROS}, train={"day": list(days)}, test={"day": list(later)})
    text, spec = drafted(write(tmp_path, **files))
    assert spec.folds.kind == kind
    assert ("both have rows from 2020-07-10 to" in text) == (kind == "time")


@pytest.mark.parametrize(
    ("n_days", "drafted_folds"), [(20, (5, 20.0)), (60, (2, 60.0)), (90, (2, 36.0)), (170, (5, None)), (1, (5, 1.0))]
)
def test_time_folds_are_as_long_as_the_forecast(
    tmp_path: Path, n_days: int, drafted_folds: tuple[int, float | None]
) -> None:
    days = pd.date_range("2020-01-01", periods=N).astype(str)
    later = pd.date_range("2020-01-01", periods=N + n_days)[-1:].repeat(N_TEST).astype(str)
    files = table_files({"y": PRICES}, {"y": ZEROS}, train={"day": list(days)}, test={"day": list(later)})
    _, spec = drafted(write(tmp_path, **files))
    assert (spec.folds.number, spec.folds.length) == drafted_folds


def test_a_rare_class_does_not_limit_the_folds(tmp_path: Path) -> None:
    labels = ["a"] * (N - 3) + ["b"] * 3
    _, spec, _ = drafted_and_loaded(write(tmp_path, **table_files({"y": labels}, {"y": ["a"] * N_TEST})))
    assert (spec.folds.kind, spec.folds.number) == ("stratified", 5)


def test_classes_of_few_rows_limit_the_folds(tmp_path: Path) -> None:
    labels = [f"c{i // 3}" for i in range(N)]
    text, spec, _ = drafted_and_loaded(write(tmp_path, **table_files({"y": labels}, {"y": ["c1"] * N_TEST})))
    assert (spec.folds.kind, spec.folds.number) == ("stratified", 3)
    assert "no class has more than 3 rows" in text


def test_names_that_toml_would_misread_are_escaped(tmp_path: Path) -> None:
    for name in ['say "cheese" type', "a\\b code", "größe zone", "line\nbreak type", "# kind", "[table] class"]:
        assert with_column(tmp_path, name, [1, 2, 3])[1].columns.categories == [name]


# --- the real files --------------------------------------------------------------------------------------------------

real_data = pytest.mark.skipif("PIPELINE_DATA_DIR" not in os.environ, reason="PIPELINE_DATA_DIR is not set")


def real(name: str) -> Path:
    return Path(os.environ["PIPELINE_DATA_DIR"]) / name


@pytest.mark.slow
@pytest.mark.real_data
@real_data
def test_house_prices() -> None:
    text, spec = drafted(real("house-prices"), "log_rmse", "house-prices")
    assert spec.kaggle_slug == "house-prices-advanced-regression-techniques"
    assert (spec.id, spec.target, spec.task) == ("Id", ["SalePrice"], "regression")
    assert (spec.metric, spec.target_transform, spec.folds.kind) == ("log_rmse", "log", "shuffled")
    assert spec.columns.categories == ["MSSubClass"]
    assert spec.columns.ordered["ExterQual"] == ["Po", "Fa", "TA", "Gd", "Ex"]
    assert spec.columns.drop == spec.columns.dates == spec.columns.na_is_category == []
    assert load_tables(real("house-prices"), spec).train.shape == (1460, 79)
    assert "--metric NAME" not in text


@pytest.mark.real_data
@real_data
def test_titanic() -> None:
    _, spec, tables = drafted_and_loaded(real("titanic"))
    assert (spec.id, spec.target, spec.task, spec.metric) == ("PassengerId", ["Survived"], "binary", "accuracy")
    assert spec.files.sample_submission == "gender_submission.csv"
    assert spec.columns.categories == ["Pclass"]
    assert spec.columns.texts == ["Name", "Ticket", "Cabin"]
    assert spec.folds.kind == "stratified"
    assert tables.left_out == {}
    texts = [name for name, role in tables.roles.items() if role == "text"]
    assert texts == ["Name", "Ticket", "Cabin"]


@pytest.mark.real_data
@real_data
def test_bike_sharing_demand() -> None:
    _, spec, tables = drafted_and_loaded(real("bike-sharing-demand"), "rmsle")
    assert (spec.id, spec.target, spec.metric, spec.target_transform) == ("datetime", ["count"], "rmsle", "log1p")
    assert spec.columns.dates == ["datetime"]
    assert spec.columns.categories == ["season", "weather"]
    assert spec.folds.kind == "shuffled"
    assert "datetime_hour" in tables.train


@pytest.mark.slow
@pytest.mark.real_data
@real_data
def test_spaceship_titanic() -> None:
    text, spec, tables = drafted_and_loaded(real("spaceship-titanic"))
    assert (spec.target, spec.task, spec.metric) == (["Transported"], "binary", "accuracy")
    assert spec.columns.texts == ["PassengerId", "Cabin", "Name"]
    assert tables.classes == [False, True]
    assert "compound (3 parts between '/')" in text
    assert "the ids are compound" in text


@pytest.mark.slow
@pytest.mark.real_data
@real_data
def test_fashion_mnist(tmp_path: Path) -> None:
    tables = idx_tables(real("fashion-mnist"))
    for name, frame in (
        ("train", tables.train),
        ("test", tables.test),
        ("sample_submission", tables.sample_submission),
    ):
        frame.iloc[:2000].to_parquet(tmp_path / f"{name}.parquet", index=False)
    text, spec, loaded = drafted_and_loaded(tmp_path)
    assert (spec.id, spec.target, spec.task) == ("id", ["label"], "multiclass")
    assert spec.encoder.pixels
    assert "784 pixels with values from 0 to 255" in text
    assert spec.columns == type(spec.columns)()
    assert loaded.classes == list(range(10))


def test_a_table_of_codes_alone_is_one_of_categories(tmp_path: Path) -> None:
    codes = rng().choice(np.arange(1000, 90_000), 60, replace=False)
    names = ["RESOURCE", "MGR_ID", "ROLE_TITLE"]
    draws = {name: rng().choice(codes, 20 * N) for name in names}
    target = np.arange(20 * N) % 2
    test = {name: values[:N_TEST] for name, values in draws.items()}
    files: dict[str, Any] = {
        "train": {"id": ids(20 * N), **draws, "ACTION": target},
        "test": {"id": ids(N_TEST, 20 * N), **test},
        "sample_submission": {"id": ids(N_TEST, 20 * N), "ACTION": [0] * N_TEST},
    }
    text, spec = drafted(write(tmp_path, **files))
    assert sorted(spec.columns.categories) == sorted(names)
    assert "so are all 3 features, of which 'MGR_ID' is called a code" in text
    files["train"] |= {"size": rng().normal(size=20 * N)}  # beside a measurement the others may be some, too
    files["test"] |= {"size": rng().normal(size=N_TEST)}
    assert drafted(write(tmp_path, **files))[1].columns.categories == ["MGR_ID"]
