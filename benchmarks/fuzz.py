"""Random tables, specs, settings, presets and search spaces through the real command line, in this process.

A command must end with exit code 0 or 2 and without a traceback. `python benchmarks/fuzz.py --examples 10000 --seed 0`
counts the faults and prints the smallest example of each; `tests/stages/test_fuzz.py` runs a sample.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import json
import os
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.config.run import RunConfig, as_toml
from pipeline.metrics import METRICS
from pipeline.models.registry import MODELS

NAME = "toy"
# fmt: off
ODD_NAMES = [
    "", " ", "fold", "target", "prediction_0", "target_0", "index", "nan", "None", "Unnamed: 0", "a, b", 'q"', "x\ny",
    "{x: [1]}", "улица", "😀", "1", "n" * 300, "Width", "width", "a=b", "[x]", "id ", "\ufeffx", "sample_weight",
]
ODD_CELLS = [
    "", "NA", "nan", "None", "inf", "-inf", "1e39", "-1e60", "1.7976931348623157e308", "1e-320", "-0", "+5", "1e5",
    "007", " 7 ", "0.10", "1_000", "1,000", "0x10", "9" * 25, "9" * 400, "$5", "50%", "?", "-", "True", "false",
    "2020-01-01", "31/12/1999", "0001-01-01", "99999-01-01", "12:30", "ж", "😀", "a/b/1", "A 12, x", "\n", '"', "'",
]
ODD_VALUES = [
    "nan", "inf", "-inf", "0", "-1", "1", "2", "0.5", "1e9", "1e-9", "1e400", "9" * 30, "true", '"x"', "[]", "[0]",
    "[1]", "[2, 3]", "{}", "{a = 1}", "2020-01-01", "[[1]]", "", "=", "x", "'", "[[[[", "none", "auto", "null",
]
# fmt: on
MODELS_TO_TRAIN = [name for name in MODELS if name != "cnn"]
QUICK = {
    "extra_trees": ["n_trees=3"],
    "random_forest": ["n_trees=3"],
    "histogram_boosting": ["max_rounds=3"],
    "lightgbm": ["rounds=3"],
    "xgboost": ["rounds=3"],
    "catboost": ["rounds=3"],
    "linear": ["epochs=2", "seeds=1"],
    "mlp": ["epochs=2", "seeds=1", "hidden_sizes=[4]"],
}
FEATURES = [f"features.{name}" for name in RunConfig.model_fields["features"].annotation.model_fields]  # type: ignore[union-attr]
FOLD_KINDS = ["shuffled", "contiguous", "stratified", "group", "stratified_group", "time", "column", "holdout", "file"]
SPACE_KEYS = ["low", "high", "log", "whole", "choices", "when", "most_numbers", "tasks"]


@dataclass(frozen=True)
class Example:
    """The files of a competition and one command on it."""

    files: dict[str, str]  # path below `data/toy/` -> text
    command: list[str]

    def __repr__(self) -> str:
        files = "\n".join(f"--- {name}\n{text}" for name, text in self.files.items())
        return f"{files}\n--- command\n{self.command!r}"


@dataclass
class Tally:
    """What the examples ended with."""

    n_examples: int = 0
    exits: Counter[str] = field(default_factory=Counter)  # command and exit code
    faults: Counter[str] = field(default_factory=Counter)  # signature
    reported: set[str] = field(default_factory=set)


class Fault(AssertionError):
    """An example that ended with a traceback or another exit code."""


def run(example: Example, tally: Tally) -> None:
    """Run the example in a folder of its own. Raises Fault for a fault that was not reported yet."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = Path(folder)
        for name, text in example.files.items():
            path = root / "data" / NAME / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode("utf-8"))
        command = [part.replace("{data}", str(root / "data" / NAME)) for part in example.command]
        where = [NAME] if command[0] == "init" else ["--competition", NAME]
        result = CliRunner().invoke(app, [command[0], *where, "--root", str(root), *command[1:]])
    tally.n_examples += 1
    tally.exits[f"{command[0]} {result.exit_code}"] += 1
    error = result.exception
    if result.exit_code in (0, 2) and (error is None or isinstance(error, SystemExit)):
        return
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    own = [frame for frame in frames if "/pipeline/" in frame.filename] or frames
    place = f"{Path(own[-1].filename).name}:{own[-1].lineno} {own[-1].name}" if own else f"exit code {result.exit_code}"
    signature = f"{type(error).__name__} in {place}"
    tally.faults[signature] += 1
    if signature not in tally.reported:
        raise Fault(signature) from error


def names() -> st.SearchStrategy[str]:
    """Column names, plain and odd."""
    characters = st.characters(codec="utf-8", exclude_characters="\0")
    return st.one_of(
        st.sampled_from(["a", "b", "c", "when", "x1"]), st.sampled_from(ODD_NAMES), st.text(characters, max_size=6)
    )


@st.composite
def columns(draw: st.DrawFn, n: int) -> list[str]:
    """The cells of a column as text; mostly numbers or words."""
    rare = ["date", "constant", "empty", "flag", "odd", "numbers as words"]
    kind = draw(st.sampled_from([*["number", "whole", "word"] * 3, *rare]))
    if kind == "constant":
        return [draw(st.sampled_from(["7", "same", "", "1e30"]))] * n
    cells = {
        "number": st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: f"{x:.4g}"),
        "whole": st.integers(-3, 9).map(str),
        "word": st.sampled_from(["red", "blue", "green", "Ж", "a b", "A/1/x"]),
        "date": st.dates().map(str),
        "empty": st.sampled_from(["", "NA"]),
        "flag": st.sampled_from(["True", "False"]),
        "odd": st.sampled_from(ODD_CELLS),
        "numbers as words": st.sampled_from(["1", "2.5", "three", ""]),
    }[kind]
    values = draw(st.lists(cells, min_size=n, max_size=n))
    if kind in ("number", "whole", "word", "date") and draw(st.integers(0, 2)) == 0:
        values[draw(st.integers(0, n - 1))] = draw(st.sampled_from(ODD_CELLS))
    return values


@st.composite
def targets(draw: st.DrawFn, n: int) -> tuple[str, list[str]]:
    """The task, and the cells of a target that mostly fits it."""
    task = draw(st.sampled_from(["regression", "binary", "multiclass"]))
    labels = draw(st.sampled_from([["no", "yes"], ["0", "1"], ["True", "False"], ["1.0", "2.5"], ["NA", "b"]]))
    if task == "regression":
        usual = st.floats(0.1, 1e4).map(lambda x: f"{x:.4g}")
        cells = draw(st.sampled_from([usual, usual, st.integers(-2, 3).map(str), st.just("1.5")]))
        values = draw(st.lists(cells, min_size=n, max_size=n))
    else:
        labels = labels if task == "binary" else [*labels, "third", "4"]
        values = [*labels, *draw(st.lists(st.sampled_from(labels), min_size=n, max_size=n))][:n]
    if draw(st.integers(0, 11)) == 11:
        values[draw(st.integers(0, n - 1))] = draw(st.sampled_from(ODD_CELLS))
    return task, values


def text_of(table: dict[str, list[str]]) -> str:
    """The table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    return text.getvalue()


ID_KINDS = [
    str,
    str,
    str,
    lambda i: str(10**18 + i),
    lambda i: f"{i}.0",
    lambda i: f"id {i}",
    lambda i: f" {i}",
    lambda i: f"{i}e5",
]


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, str], str, list[str]]:
    """Raw files, the task and the names of the feature columns."""
    n, n_test = draw(st.sampled_from([10, 10, 10, 16, 16, 24, 6, 3, 2, 1])), draw(st.sampled_from([1, 2, 5]))
    id_of = draw(st.sampled_from(ID_KINDS))
    found = draw(st.lists(names(), min_size=1, max_size=5, unique=True))
    found = [name for name in found if name not in ("id", "y")] or ["a"]
    both = {name: draw(columns(n + n_test)) for name in found}
    task, target = draw(targets(n))
    train = {"id": [id_of(i) for i in range(n)], **{name: cells[:n] for name, cells in both.items()}, "y": target}
    test_ids = [id_of(n + i) for i in range(n_test)]
    test = {"id": test_ids, **{name: cells[n:] for name, cells in both.items()}}
    sample = {"id": test_ids[::-1], "y": [draw(st.sampled_from(["0", "0.5", target[0]]))] * n_test}
    if draw(st.integers(0, 15)) == 15:
        train["id"][-1] = draw(st.sampled_from([train["id"][0], "", "NA"]))
    named = {"train": train, "test": test, "sample_submission": sample}
    return {f"raw/{name}.csv": text_of(table) for name, table in named.items()}, task, found


@st.composite
def specs(draw: st.DrawFn, task: str, found: list[str]) -> str:
    """A spec that mostly fits the tables, as TOML."""
    fitting = [name for name, metric in METRICS.items() if task in metric.tasks]
    column = st.sampled_from([*found * 6, "id", "y", "absent"])
    spec: dict[str, Any] = {"name": NAME, "kaggle_slug": NAME, "id": "id", "target": "y", "task": task}
    spec["metric"] = draw(st.sampled_from([*fitting * 3, "rmse", "accuracy", "map_at_3", "quantile_0.9"]))
    if task == "regression" and draw(st.booleans()):
        spec["target_transform"] = draw(st.sampled_from(["log", "log1p", "standardise", "none"]))
    kind, number = (
        draw(st.sampled_from([*["shuffled", "stratified"] * 6, *FOLD_KINDS])),
        draw(st.sampled_from([2, 2, 2, 3, 5])),
    )
    spec["folds"] = {"kind": kind, "number": number}
    for key in ("group", "time", "column"):
        if key in kind or draw(st.integers(0, 31)) == 31:
            spec["folds"][key] = draw(column)
    roles = st.dictionaries(
        st.sampled_from(["categories", "dates", "texts", "drop", "na_is_category"]),
        st.lists(column, max_size=1),
        max_size=1,
    )
    spec["columns"] = draw(roles)
    if draw(st.integers(0, 15)) == 15:
        spec["columns"]["sample_weight"] = draw(column)
    odd = st.sampled_from(
        [("folds", "seed", 2**40), ("folds", "bins", 1), ("folds", "share", 0.99), ("encoder", "pixels", True)]
    )
    odd |= st.sampled_from(
        [("encoder", "scope", "train+test"), ("submission", "writes", "label"), ("folds", "number", 10**6)]
    )
    odd |= st.tuples(
        st.sampled_from(["folds", "columns", "submission", "files"]), st.text("abcde", min_size=1), st.just(1)
    )
    for table, key, value in [draw(odd)] if draw(st.integers(0, 7)) == 7 else []:
        spec.setdefault(table, {})[key] = value
    return as_toml(spec)


@st.composite
def overrides(draw: st.DrawFn, model: str) -> list[str]:
    """Settings as `--set` takes them."""
    keys = [*MODELS[model].params.model_fields, *FEATURES, *RunConfig.model_fields, "params.x", "features.x", ""]
    values = st.sampled_from(ODD_VALUES) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
    chosen = draw(st.lists(st.tuples(st.sampled_from(keys), values), max_size=3))
    return list(itertools.chain.from_iterable(("--set", f"{key}={value}") for key, value in chosen))


@st.composite
def presets(draw: st.DrawFn) -> str:
    """The text of a preset file, broken or nearly right."""
    model = draw(st.sampled_from(list(MODELS)))
    lines = [
        f"{key} = {draw(st.sampled_from(ODD_VALUES))}"
        for key in draw(st.lists(st.sampled_from(list(RunConfig.model_fields)), max_size=2))
    ]
    inside = draw(st.lists(st.sampled_from([*MODELS[model].params.model_fields, "x"]), max_size=2))
    lines += ["[params]", *(f"{key} = {draw(st.sampled_from(ODD_VALUES))}" for key in inside)]
    part = draw(
        st.sampled_from(["", "[[parts]]\nmodel = 'ridge'", "[[parts]]\nweight = nan", "[features]\nx = 1", "parts = 3"])
    )
    return draw(st.sampled_from([f"model = '{model}'\n", "", "x", "model = 3\n"])) + "\n".join(lines) + "\n" + part


@st.composite
def spaces(draw: st.DrawFn, model: str) -> str:
    """A table [tune.<model>.<name>] of a spec."""
    name = draw(
        st.sampled_from([*MODELS[model].params.model_fields, "features.max_levels", "seeds", "x", "parts", "preset"])
    )
    usual = {"low": "1", "high": "3", "choices": "[1, 2]", "log": "true", "whole": "true", "when": "{lr = 1}"}
    keys = draw(
        st.sampled_from(
            [["low", "high"], ["choices"], ["low", "high", "whole"], ["low", "high", "log"], SPACE_KEYS[:1]]
        )
    )
    keys = [*keys, *draw(st.lists(st.sampled_from(SPACE_KEYS), max_size=1))]
    values = {key: draw(st.sampled_from([usual.get(key, "1"), *ODD_VALUES])) for key in keys}
    return (
        f"\n[tune.{model}.{json.dumps(name)}]\n" + "\n".join(f"{key} = {value}" for key, value in values.items()) + "\n"
    )


@st.composite
def examples(draw: st.DrawFn, is_cheap: bool = False) -> Example:
    """A competition and a command; one in about 20 trains, one in 100 tunes."""
    number = draw(st.integers(0, 99))
    if number >= 60 and number < 85:  # settings and presets alone
        model = draw(st.sampled_from(list(MODELS)))
        command = ["train", "--dry-run", "--workers", "1", *draw(overrides(model))]
        if draw(st.booleans()):
            name = draw(st.sampled_from(["mine.toml", "mine.toml", "mine.json", "a b.toml", ".toml", "x.txt"]))
            text = (
                draw(presets())
                if name.endswith("toml")
                else draw(st.sampled_from(["", "{", "null", '{"config": {}}', '{"config": 3}']))
            )
            return Example({name: text}, [*command, "--preset", "{data}/" + name])
        return Example({}, [*command, "--model", model])
    files, task, found = draw(tables())
    if number >= 90 or (number >= 85 and is_cheap):
        return Example(files, ["init", *draw(st.sampled_from([[], ["--metric", "rmse"], ["--metric", "log_loss"]]))])
    files["competition.toml"] = draw(specs(task, found))
    if number < 54 or is_cheap:
        return Example(files, ["features"])
    if number < 55:
        model = draw(st.sampled_from(["extra_trees", "ridge"]))
        files["competition.toml"] += draw(spaces(model))
        return Example(
            files, ["tune", "--model", model, "--trials", "1", "--workers", "1", *sets(QUICK.get(model, []))]
        )
    if number < 57:
        return Example(files, ["check"])
    model = draw(st.sampled_from(["ridge", *MODELS_TO_TRAIN]))
    options = [*sets(QUICK.get(model, [])), *(draw(overrides(model)) if draw(st.integers(0, 3)) == 0 else [])]
    return Example(files, ["final", "--model", model, "--workers", "1", "--device", "cpu", *options])


def sets(pairs: list[str]) -> list[str]:
    """`key=value` pairs as options."""
    return list(itertools.chain.from_iterable(("--set", pair) for pair in pairs))


def fuzz(n_examples: int, start: int, *, most_faults: int = 50) -> Tally:
    """Run the examples; print the smallest example of each new fault and go on."""
    tally = Tally()
    smallest: dict[str, Any] = {}  # signature -> example and error
    for number in range(most_faults):
        smallest.clear()
        left = n_examples - tally.n_examples
        if left <= 0:
            break

        @seed(start + number)
        @settings(
            max_examples=left,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )
        @given(examples())
        def try_all(example: Example) -> None:
            try:
                run(example, tally)
            except Fault as fault:
                smallest[str(fault)] = example, fault.__cause__
                raise

        try:
            try_all()
        except BaseException as error:
            if not smallest:
                raise
            for signature, (example, cause) in smallest.items():
                print(f"\n=== {signature}\n{example!r}\n{cause!r}", flush=True)
                tally.reported.add(signature)
            if isinstance(error, KeyboardInterrupt):
                break
    return tally


def main() -> None:
    """Run the examples and print the figures; exit 1 if there were faults."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given_ = parser.parse_args()
    for name in ("PIPELINE_DATA_DIR", "COMPETITION"):
        os.environ.pop(name, None)
    os.environ["HOME"] = tempfile.gettempdir()
    started = time.monotonic()
    tally = fuzz(given_.examples, given_.seed)
    print(f"{tally.n_examples} examples in {time.monotonic() - started:.0f} s: {sum(tally.faults.values())} faults")
    print("  ".join(f"{name}: {count}" for name, count in sorted(tally.exits.items())))
    for signature, count in tally.faults.most_common():
        print(f"{count:6}  {signature}")
    raise SystemExit(1 if tally.faults else 0)


if __name__ == "__main__":
    main()
