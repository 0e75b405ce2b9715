"""A drafted spec -> its guesses with their evidence, what else each could have been, and what to check first.

Reads the spec's text; must not know how anything was guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.competition.draft.files import DraftFiles
from pipeline.config.spec import CompetitionSpec
from pipeline.metrics import METRICS

N_CHECKS = 3
MAX_LISTED = 8
GUESSED = "guessed: "
ROLES = {  # a list of columns -> what a column in it may be instead
    "categories": "a quantity, if larger values mean more of something",
    "ordered": "categories without an order",
    "dates": "categories, or texts",
    "texts": "categories, if the same values come again in new rows",
    "drop": "a second target",
    "na_is_category": "missing cells",
}
CHECKS = {  # key -> question for a person, the most doubtful first
    "scoring.weight": "What does each row of {value} weigh in the metric? ({evidence})",
    "metric": "Is {value} the metric on the competition's Evaluation page?",
    "task": "Is {value} the right task for the target? ({evidence})",
    "target": "Is {value} what is to be predicted? ({evidence})",
    "ids.train": "Is {value} right for the ids of train? ({evidence})",
    "folds.kind": "Do {value} folds split train as Kaggle split it from test? ({evidence})",
    "columns.drop": "Is nothing dropped that could help? {value}: {evidence}.",
    "columns.categories": "Are the numbers in {value} only names? ({evidence})",
    "tables.by": "Do further tables join by the right keys, {value}? ({evidence})",
    "files.labels": "Are the targets in {value}? ({evidence})",
    "columns.texts": "Are {value} free texts, of which models see only parts? ({evidence})",
    "columns.dates": "Are the dates in {value} known when a prediction is made? ({evidence})",
    "target_transform": "Is the target best learned by {value}? ({evidence})",
    "id": "Does {value} name each row to predict? ({evidence})",
}
SURE = re.compile(
    "a column of both |the same values in |numbers, |the target has |whole numbers, [^;]*$"
)  # little doubt
PLAIN_FOLDS = ("the target is numeric", "the target is a class")
RELATED = (
    "Are train rows independent? If several belong to one thing or moment (a customer, a day), set group or time folds."
)
OTHER_FOLDS = {
    "shuffled": "if rows are independent",
    "stratified": "if rows are independent and the target is a class",
    "group": "if several rows belong to one thing, such as a customer",
    "time": "if test comes after train",
}


@dataclass(frozen=True)
class Guess:
    """One guess of a drafted spec: `key` with its section, such as folds.kind, and the value as it is written."""

    key: str
    value: str
    evidence: str
    otherwise: str = ""

    @property
    def lines(self) -> list[str]:
        """The guess for a reader, its evidence and its alternatives below."""
        return [f"{self.key} = {self.value}", f"  because  {self.evidence}", f"  or else  {self.otherwise}"]


def guesses_of(text: str) -> list[Guess]:
    """Return the guesses of a drafted spec, in its order.

    >>> guesses_of('[folds]\\n# guessed: the target is a class\\nkind = "stratified"\\n')[0].key
    'folds.kind'
    """
    found: list[Guess] = []
    section = evidence = listed = ""
    for line in text.splitlines():
        if header := re.fullmatch(r"\[(.+)\]", line):
            section = f"{header[1].strip('[]')}."
        elif line.startswith(f"# {GUESSED}"):
            evidence = line.removeprefix(f"# {GUESSED}")
        elif item := re.fullmatch(rf" +(.+),  # {GUESSED}(.*)", line):
            found.append(Guess(listed, item[1], item[2]))
        elif entry := re.fullmatch(r"([^\s#][^=]*) = (.+)", line):
            listed = section + entry[1]
            if evidence:
                found.append(Guess(listed, entry[2], evidence))
            evidence = ""
    return found


def explained(text: str, spec: CompetitionSpec, files: DraftFiles) -> list[Guess]:
    """Return the guesses in the text of a spec, each with what else it could have been."""
    return [Guess(one.key, one.value, one.evidence, _otherwise(one, spec, files)) for one in guesses_of(text)]


def checks_of(text: str) -> list[str]:
    """Return the questions about a drafted spec that a person should answer first, at most N_CHECKS of them."""
    by_key: dict[str, list[Guess]] = {}
    for guess in guesses_of(text):
        by_key.setdefault(guess.key, []).append(guess)
    known = [key for key in CHECKS if key in by_key]
    is_sure = {key: bool(SURE.match(by_key[key][0].evidence)) for key in known}
    return [_question(key, by_key[key]) for key in sorted(known, key=is_sure.__getitem__)[:N_CHECKS]]


def _question(key: str, guesses: list[Guess]) -> str:
    if key == "folds.kind" and guesses[0].evidence in PLAIN_FOLDS:
        return RELATED
    evidence = _listed((guess.evidence for guess in guesses), most=1)
    return CHECKS[key].format(
        value=_listed(guess.value if guess.value != '""' else "no column" for guess in guesses), evidence=evidence
    )


def _otherwise(guess: Guess, spec: CompetitionSpec, files: DraftFiles) -> str:
    section, _, name = guess.key.rpartition(".")
    if section in ("columns", "columns.ordered"):
        return ROLES.get("ordered" if section == "columns.ordered" else name, "the line left out")
    if guess.key == "id":
        test = files.test.frame
        others = [column for column in test if column != files.id and test[column].is_unique]
        return (
            f"{_listed(others)}: also different in each row" if others else f"no other column of {files.test.path.name}"
        )
    if guess.key == "target":
        others = [column for column in files.train_only_columns if column not in spec.target]
        return f"{_listed(others)}: also only in train" if others else "no other column is in train alone"
    if guess.key == "task":
        return _listed(task for task in ("regression", "binary", "multiclass") if task != spec.task)
    if guess.key == "metric":
        return _listed(name for name, metric in METRICS.items() if spec.task in metric.tasks and name != spec.metric)
    if guess.key == "folds.kind":
        return "; ".join(f"{kind}, {when}" for kind, when in OTHER_FOLDS.items() if kind != spec.folds.kind)
    if guess.key == "target_transform":
        return _listed(one for one in ("none", "standardise", "log", "log1p") if one != spec.target_transform)
    return "the line left out"


def _listed(names: Iterable[object], most: int = MAX_LISTED) -> str:
    shown = [str(name) for name in dict.fromkeys(names)]
    return ", ".join(shown[:most]) + (", ..." if len(shown) > most else "")
