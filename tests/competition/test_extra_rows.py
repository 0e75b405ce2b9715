"""Laws of extra rows: they train and are never scored, twins of train rows are left out, all else is as before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pipeline.base import files
from pipeline.base.errors import PipelineError
from pipeline.competition.folds import NEVER_VALIDATED
from pipeline.competition.store import FeatureStore
from pipeline.competition.tables.loading import CompetitionTables, load_tables
from pipeline.config.spec import CompetitionSpec, load_spec
from pipeline.config.table import validated
from pipeline.kaggle.notebook.bundle import make_bundle
from pipeline.models.run_configuration import load_run_config
from pipeline.scoring.cross_validation import scores_of
from pipeline.scoring.data_check import trust_in
from tests.conftest import TINY, Toy, toy_tables

EXTRA = '\n[[extra_rows]]\nfile = "original.csv"\n'
N_OWN, N_EXTRA = 64, 30


def original(n_rows: int = N_EXTRA) -> pd.DataFrame:
    """Rows like train's that are not in train: every year is later."""
    train, _ = toy_tables()
    return train.iloc[:n_rows].assign(year=lambda frame: frame["year"] + 100).drop(columns="id")


def with_original(toy: Toy, frame: pd.DataFrame, *, keys: str = "", spec: str = "") -> Toy:
    frame.to_csv(toy.workspace.raw / "original.csv", index=False)
    toy.workspace.spec.write_text(toy.workspace.spec.read_text() + spec + EXTRA + keys)
    return toy


def built(toy: Toy, frame: pd.DataFrame, *, keys: str = "", spec: str = "") -> FeatureStore:
    """The features with these extra rows."""
    done = with_original(toy, frame, keys=keys, spec=spec).run("features")
    assert done.exit_code == 0, done.output
    return toy.store()


def tables_of(toy: Toy, frame: pd.DataFrame, *, keys: str = "", spec: str = "") -> CompetitionTables:
    with_original(toy, frame, keys=keys, spec=spec)
    return load_tables(toy.workspace.raw, load_spec(toy.workspace.spec))


def test_own_rows_and_folds_are_those_without_extra_rows(toy: Toy) -> None:
    assert toy.run("features").exit_code == 0
    plain = toy.store()
    train, folds, target = plain.train, plain.fold_of_row, plain.target
    store = built(toy, original())
    pd.testing.assert_frame_equal(store.own(store.train), train)
    np.testing.assert_array_equal(store.own(store.fold_of_row), folds)
    np.testing.assert_array_equal(store.own(store.target), target)
    assert (store.fold_of_row[N_OWN:] == NEVER_VALIDATED).all()
    assert (store.manifest.n_train_rows, store.manifest.n_extra_rows) == (N_OWN, N_EXTRA)
    assert store.manifest.n_never_validated == 0
    assert store.train_rows["id"].tolist()[N_OWN:] == [f"original.csv:{row}" for row in range(1, N_EXTRA + 1)]
    np.testing.assert_array_equal(store.target[N_OWN:], original()["price"])


def test_every_fold_trains_on_the_extra_rows_and_none_validates_them(toy: Toy) -> None:
    store = built(toy, original())
    for split in store.splits:
        assert (split.valid_rows < N_OWN).all()
        assert set(range(N_OWN, N_OWN + N_EXTRA)) <= set(split.train_rows)
    for fold_of_row in store.other_folds(2):
        assert (fold_of_row[N_OWN:] == NEVER_VALIDATED).all()
        assert set(fold_of_row[:N_OWN]) == {0, 1, 2, 3}


def test_no_extra_row_is_in_a_score(toy: Toy) -> None:
    with_original(toy, original().assign(price=1e6))
    toy.submit()
    run, store = toy.only_run(), toy.store()
    frame = files.read_parquet(run.oof)
    assert frame[N_OWN:].filter(like="prediction").isna().all(axis=None)
    own = frame[:N_OWN]
    assert own.filter(like="prediction").notna().all(axis=None)
    metric = replace(store.metric, rows=None)
    assert scores_of(own, metric) == scores_of(frame, store.metric)
    assert len(pd.read_csv(toy.submission())) == 20


def test_twins_of_train_rows_are_left_out(toy: Toy) -> None:
    train, _ = toy_tables()
    twins = train.iloc[[3, 60, 7]].drop(columns="id")
    other_target = train.iloc[[5]].drop(columns="id").assign(price=1.0)
    tables = tables_of(toy, pd.concat([original(4), twins, other_target]))
    assert tables.n_extra_rows == 5
    told = "original.csv: 3 of 8 rows are train rows as well, by target and all columns, and are left out"
    assert told in tables.notes
    assert tables.train_ids.tolist()[N_OWN:] == [f"original.csv:{row}" for row in (1, 2, 3, 4, 8)]


def test_twins_are_told_by_the_columns_that_the_file_has(toy: Toy) -> None:
    train, _ = toy_tables()
    tables = tables_of(toy, pd.concat([original(4), train.iloc[:6]]).drop(columns=["id", "town"]))
    assert tables.n_extra_rows == 4
    assert tables.train["town"][N_OWN:].isna().all()
    assert "original.csv lacks 'town': missing in its rows" in tables.notes


def test_twins_may_have_other_ids(toy: Toy) -> None:
    toy.edit_spec('categories = ["code"]', 'categories = ["code", "id"]')
    train, _ = toy_tables()
    tables = tables_of(toy, pd.concat([original(4), train.iloc[:6]]).assign(id=range(1000, 1010)))
    assert "id" in tables.train
    assert tables.n_extra_rows == 4


def test_a_file_of_train_rows_alone_is_refused(toy: Toy) -> None:
    with pytest.raises(PipelineError, match=r"no row is left to train on: .*64 of 64 rows are train rows"):
        tables_of(toy, toy_tables()[0])


def test_rows_of_a_group_that_is_validated_are_left_out(toy: Toy) -> None:
    toy.edit_spec('kind = "shuffled"', 'kind = "group"\ngroup = "year"')
    old = original(6)
    old["year"] = old["year"].astype(float)  # written 1999.0
    old.loc[:1, "year"] = toy_tables()[0]["year"].iloc[40]
    store = built(toy, old)
    assert store.manifest.n_extra_rows == 4
    assert "original.csv: 2 of 6 rows have the 'year' of train rows, and are left out" in store.manifest.notes
    assert len(store.other_folds(1)[0]) == N_OWN + 4


@pytest.mark.parametrize(("keys", "own", "expected"), [("weight = 0.25\n", None, 0.25), ("", None, None), ("", 3, 1.0)])
def test_weights_reach_the_loss(toy: Toy, keys: str, own: float | None, expected: float | None) -> None:
    if own is not None:
        toy.edit("train.csv", lambda text: text.replace("\n", f",{own}\n").replace(f"price,{own}", "price,w"))
        toy.edit_spec("[columns]", '[columns]\nsample_weight = "w"')
    weight = built(toy, original(), keys=keys).problem(load_run_config("fast")).sample_weight
    if expected is None:
        assert weight is None
    else:
        assert weight is not None
        assert (weight[:N_OWN] == (own or 1.0)).all()
        assert (weight[N_OWN:] == expected).all()


def test_the_weight_of_the_metric_stays_that_of_own_rows(toy: Toy) -> None:
    toy.edit_spec('metric = "log_rmse"', 'metric = "mae"')
    store = built(toy, original(), keys="weight = 0.5\n", spec='[scoring]\nweight = "year"\n')
    weight = store.problem(load_run_config("fast")).sample_weight
    assert weight is not None
    np.testing.assert_array_equal(weight, [*toy_tables()[0]["year"], *[0.5] * N_EXTRA])
    rows = store.metric.rows
    assert rows is not None
    np.testing.assert_array_equal(rows[:N_OWN], toy_tables()[0]["year"])


def test_a_sample_takes_the_same_share_of_both(toy: Toy) -> None:
    with_original(toy, original())
    toy.edit_spec("number = 4", "number = 2")
    assert toy.run("features").exit_code == 0
    store = replace(toy.store(), n_rows=48)
    assert (store.n_own_rows, len(store.train)) == (48, 48 + 48 * N_EXTRA // N_OWN)
    assert (store.own(store.fold_of_row) >= 0).all()
    assert (store.fold_of_row[48:] == NEVER_VALIDATED).all()
    assert [len(folds) for folds in store.other_folds(1)] == [len(store.train)]


def test_the_data_check_looks_at_own_rows(toy: Toy) -> None:
    assert toy.run("features").exit_code == 0
    before = trust_in(toy.store(), n_columns=5)
    assert trust_in(built(toy, pd.concat([original()] * 2)), n_columns=5) == before


def test_what_fits_train_by_name_alone_is_told(toy: Toy) -> None:
    frame = original().assign(source="elsewhere", price=lambda one: one["price"].mask(one.index < 5))
    tables = tables_of(toy, frame, keys="weight = 0.5\n")
    assert "original.csv: 'source' not in train.csv: ignored" in tables.notes
    assert "5 of 30 rows of original.csv lack a target and are left out (the first is row 1)" in tables.notes
    assert "original.csv: 25 extra rows to train on, never validated, each with the weight 0.5" in tables.notes
    assert tables.train_ids.iloc[N_OWN] == "original.csv:6"


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (original().drop(columns="price"), r"no column 'price', which the spec names as target"),
        (original().assign(price=-1.0), r"original.csv, column 'price', row 1"),
        (original().assign(year="old"), r"original.csv, column 'year', row 1.*'old' is not a finite number"),
        (original()[["price"]].assign(z=1), "has none of the columns that models read"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(toy: Toy, frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        tables_of(toy, frame)


def of_classes(toy: Toy, labels: list[object], extra: list[object]) -> CompetitionTables:
    """Train rows with these labels in turn, extra rows with those."""
    train, test = toy_tables()
    train.assign(price=np.resize(labels, len(train))).to_csv(toy.workspace.raw / "train.csv", index=False)
    sample = pd.DataFrame({"id": test["id"], "price": 0.5})
    sample.to_csv(toy.workspace.raw / "sample_submission.csv", index=False)
    for old, new in (("regression", "binary"), ("log_rmse", "roc_auc"), ('target_transform = "log"', "")):
        toy.edit_spec(old, new)
    return tables_of(toy, original(len(extra)).assign(price=extra))


def test_a_class_that_train_lacks_is_refused(toy: Toy) -> None:
    with pytest.raises(PipelineError, match=r"original.csv, column 'price', row 2.*no train row has the class 'maybe'"):
        of_classes(toy, ["no", "yes"], ["yes", "maybe"])


def test_labels_may_be_spelled_otherwise(toy: Toy) -> None:
    tables = of_classes(toy, [0, 1], [True, False, True])
    assert tables.target["price"].tolist()[N_OWN:] == [1, 0, 1]
    assert "original.csv: labels are written as in train: 'False' as '0', 'True' as '1'" in tables.notes


def test_a_column_that_the_file_lacks_is_missing_whatever_its_kind(toy: Toy) -> None:
    for name in ("train", "test"):
        frame = pd.read_csv(toy.workspace.raw / f"{name}.csv")
        day = pd.date_range("2020-01-01", periods=len(frame)).strftime("%Y-%m-%d")
        more = {"day": day, "flag": np.resize(["True", "False"], len(frame)), "note": "some words " + day}
        frame.assign(**more, grade=np.resize(["a", "b"], len(frame))).to_csv(
            toy.workspace.raw / f"{name}.csv", index=False
        )
    toy.edit_spec("[columns]", '[columns]\ndates = ["day"]\ntexts = ["note"]\nordered.grade = ["a", "b"]')
    tables = tables_of(toy, original()[["area", "price"]].assign(price=5.0))
    assert list(tables.train.dtypes) == list(tables.test.dtypes)
    assert tables.train.drop(columns="area")[N_OWN:].isna().all(axis=None)


def test_tables_are_joined_where_the_file_has_the_key(toy: Toy) -> None:
    towns = pd.DataFrame({"town": ["north", "south", "east"], "people": [1, 2, 3]})
    towns.to_csv(toy.workspace.raw / "towns.csv", index=False)
    joined = '\n[[tables]]\nfile = "towns.csv"\nby = "town"\n'
    tables = tables_of(toy, original(), spec=joined)
    people = original()["town"].map(dict(towns.to_numpy().tolist())).to_numpy(dtype=np.float64)
    np.testing.assert_array_equal(tables.train["towns.people"][N_OWN:], people)
    without = original().drop(columns="town")
    without.to_csv(toy.workspace.raw / "original.csv", index=False)
    assert load_tables(toy.workspace.raw, load_spec(toy.workspace.spec)).train["towns.people"][N_OWN:].isna().all()


BASE = {"name": "toy", "kaggle_slug": "toy", "id": "id", "task": "regression", "metric": "rmse", "target": "price"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": {"kind": "time", "time": "year"}}, 'cannot be used with .time. or folds of kind "time"'),
        ({"extra_rows": [{"file": "train.csv"}]}, "the spec names this file twice"),
        ({"extra_rows": [{"file": "a.csv"}, {"file": "a.csv"}]}, "the spec names this file twice"),
        ({"extra_rows": [{"file": "a.csv", "weight": 0.0}]}, "weight"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        validated(CompetitionSpec, BASE | {"extra_rows": [{"file": "original.csv"}]} | changes, where="the spec")


def test_a_changed_file_builds_the_features_again(toy: Toy) -> None:
    built(toy, original())
    original(12).to_csv(toy.workspace.raw / "original.csv", index=False)
    toy.workspace.source.unlink()
    again = toy.run("features")
    assert "the original.csv (extra rows) file changed; the features are built again" in again.output
    assert "64 train rows and 12 extra rows, 20 test rows" in again.output


def test_a_notebook_that_would_not_find_the_file_is_refused(toy: Toy) -> None:
    with_original(toy, original())
    with pytest.raises(PipelineError, match=r"would not find original.csv"):
        make_bundle(toy.workspace, load_spec(toy.workspace.spec), load_run_config("fast"))


def test_the_command_line_trains_reports_and_refits_with_extra_rows(toy: Toy) -> None:
    with_original(toy, original(), keys="weight = 0.5\n")
    toy.submit("--set", "final=refit")
    report = toy.run("report")
    assert report.exit_code == 0, report.output
    page = (toy.workspace.folder / "report" / "index.html").read_text()
    assert "64 train and 20 test rows (and 30 extra rows that only train" in page
    repeated = toy.run("train", *TINY, "--set", "final=refit", "--repeats", "1")
    assert repeated.exit_code == 0, repeated.output
