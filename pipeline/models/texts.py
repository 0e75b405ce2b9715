"""Linear models on the TF-IDF of text columns beside all other columns, sparse from end to end.

Knows frames, splits and terms; must not know stages. The penalty is chosen on a held part of each split's train rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.base.errors import SpecError
from pipeline.base.interruption import Stopped
from pipeline.base.seeds import derive_seed
from pipeline.competition.folds import Split
from pipeline.competition.problem import Problem
from pipeline.config.table import Table, bounded
from pipeline.encoders.table import Encode, TableEncoder
from pipeline.encoders.target import sigmoid, softmax
from pipeline.encoders.terms import TermWeights, Vocabulary, find_terms, weigh_terms
from pipeline.models.arrays.learners import Arrays
from pipeline.models.base import EpochScores, FitContext, out_of_fold
from pipeline.models.split_encoders import SplitEncoders
from pipeline.models.stored import StoredModel

MOST_ITERATIONS = 300
PENALTIES = (2.0, 0.5, 0.125, 0.03, 0.008)  # L2, strong to weak; the path ends where the held rows get worse
HELD_PARTS = 5  # one of them is held for the choice of the penalty
TOLERANCE = 1e-4  # largest slope of the loss at the end of a fit
NEVER = -30.0  # logit of a class that no fit row has
END = "\0"  # between the terms of a stored vocabulary; no term contains it


_Solution = tuple[NDArray[np.float32], FloatArray]  # coefficients (columns, outputs), intercepts (outputs,)


class TextParams(Table):
    """Parameters of `text_linear`."""

    words: int = bounded(2, ge=1, le=5, usual="1 to 3", description="longest term in words")
    characters: int = bounded(
        5, ge=0, le=8, usual="0 or 3 to 6", description="longest term in characters; less than 2: none"
    )
    most_terms: int = bounded(
        200_000,
        ge=100,
        le=5_000_000,
        usual="20,000 to 500,000",
        description="terms of each kind: the most frequent ones",
    )
    penalty: float | None = bounded(
        None, ge=1e-9, le=1e9, usual="0.01 to 100", description="L2 penalty; default: chosen on held train rows"
    )


class StoredTextModel(StoredModel):
    """`model.json` beside `members.npz`."""

    format: Literal[1] = 1
    n_classes: int
    vocabularies: list[tuple[Literal["words", "characters"], list[str], int]]  # kind, columns, longest


@dataclass(frozen=True)
class _Member:
    """The model of one split: terms, coefficients (columns, outputs) and intercepts (outputs,)."""

    terms: list[TermWeights]
    coefficients: NDArray[np.float32]
    intercept: FloatArray

    def arrays(self) -> Arrays:
        """As `of` reads it."""
        arrays: Arrays = {"coefficients": self.coefficients, "intercept": self.intercept}
        for number, terms in enumerate(self.terms):
            arrays |= {f"chosen-{number}": terms.chosen, f"idf-{number}": terms.idf}
        return arrays

    @classmethod
    def of(cls, arrays: Arrays) -> _Member:
        """The member whose `arrays` are given."""
        n_terms = sum(name.startswith("idf-") for name in arrays)
        terms = [TermWeights(arrays[f"chosen-{number}"], arrays[f"idf-{number}"]) for number in range(n_terms)]
        return cls(terms, arrays["coefficients"], arrays["intercept"])


@dataclass(frozen=True)
class TextModel:
    """`text_linear` with its parameters."""

    params: TextParams

    def with_epochs(self, n_epochs: int) -> TextModel:  # noqa: ARG002
        """The same model: it has no epochs."""
        return self

    def fit(
        self,
        problem: Problem,
        splits: Sequence[Split],
        *,
        seed: int,
        n_seeds: int,  # noqa: ARG002
        context: FitContext,
    ) -> FittedTextModel:
        """Fit a model for each split; it has no seeds. Raises SpecError for a table without texts."""
        columns = [name for name, role in problem.roles.items() if role == "text"]
        if not columns:
            raise SpecError(
                "the model 'text_linear' needs a column of texts",
                where="[columns] texts",
                hint="List the columns of free text there, or train another model, such as ridge.",
            )
        params = self.params
        vocabularies = find_terms(problem.train, columns, words=params.words, characters=params.characters)
        counts = [vocabulary.count(problem.train) for vocabulary in vocabularies]
        encoders = SplitEncoders.fit(problem, splits, view="onehot", seed=seed)
        stored = StoredTextModel(
            encoders=encoders.encoders,
            scalers=encoders.scalers,
            task=problem.task,
            n_classes=problem.n_classes,
            target_transform=problem.target_transform,
            n_seeds=1,
            is_flat=problem.target.ndim == 1,
            n_epochs=None,
            vocabularies=[(v.kind, list(v.columns), v.longest) for v in vocabularies],
        )
        fitted = FittedTextModel(stored, vocabularies)
        held = {}
        for number, split in enumerate(splits):
            if context.stop.is_set():
                raise Stopped
            path = None if context.checkpoints is None else context.checkpoints / f"split-{number}.npz"
            if path is not None and path.exists():
                fitted.members.append(_Member.of(files.read_arrays(path)))
            else:
                fitted.members.append(self._member(encoders, number, counts, seed))
                if path is not None:
                    files.write_arrays(path, fitted.members[-1].arrays())
            rows = split.valid_rows
            dense = stored.encoders[number].transform(problem.train.iloc[rows]).values
            held[number] = fitted.outputs(
                number, _columns(dense, [of[rows] for of in counts], fitted.members[-1].terms)
            )
            if context.on_progress is not None:
                context.on_progress((number + 1) / len(splits), [])
        fitted.oof_prediction = out_of_fold(problem, splits, lambda split: stored.prediction(held[split]))
        return fitted

    def _member(self, encoders: SplitEncoders, number: int, counts: Sequence[sparse.csr_matrix], seed: int) -> _Member:
        problem, rows = encoders.problem, encoders.splits[number].train_rows
        of_rows = [of[rows] for of in counts]
        terms = [weigh_terms(of, most=self.params.most_terms) for of in of_rows]
        encoded = encoders.encoders[number].transform(problem.train)
        encoders.correct_fit_rows(number, encoded.dense, encoded.dense_names)
        weight = problem.weights_of(encoders.splits[number])
        coefficients, intercept = _fit(
            _columns(encoded.rows(rows), of_rows, terms),
            encoders.scalers[number].scaled(encoders.target[rows]),
            None if weight is None else weight[rows] / weight[rows].mean(),
            problem.n_classes,
            self.params.penalty,
            derive_seed(seed, "split", number) % 2**31,
        )
        return _Member(terms, coefficients, intercept)


@dataclass
class FittedTextModel:
    """Vocabularies of all splits, and a member for each split."""

    stored: StoredTextModel
    vocabularies: list[Vocabulary]
    members: list[_Member] = field(default_factory=list)
    history: list[EpochScores] = field(default_factory=list)
    oof_prediction: FloatArray = field(default_factory=lambda: np.empty(0))

    @property
    def n_epochs(self) -> int | None:
        """None: it has no epochs."""
        return None

    @property
    def is_cut(self) -> bool:
        """False: its solver is not ended early."""
        return False

    def predict(
        self, frame: pd.DataFrame, splits: Sequence[int], *, encode: Encode = TableEncoder.transform
    ) -> FloatArray:
        """Average the members of `splits`, on the transformed scale for regression."""
        counts = [vocabulary.count(frame) for vocabulary in self.vocabularies]
        total = np.zeros(())
        for split in splits:
            dense = encode(self.stored.encoders[split], frame).values
            total = total + self.outputs(split, _columns(dense, counts, self.members[split].terms))
        return self.stored.prediction(total / len(splits))

    def outputs(self, split: int, x: sparse.csr_matrix) -> FloatArray:
        """(rows, targets) transformed values or (rows, targets or classes) probabilities of a split's member."""
        member = self.members[split]
        raw = np.asarray(x @ member.coefficients, dtype=np.float64) + member.intercept
        if self.stored.task == "regression":
            return self.stored.scalers[split].unscaled(raw)
        return sigmoid(raw) if self.stored.is_by_target else softmax(raw)

    def feature_importance(self) -> dict[str, float]:
        """{}: thousands of terms would hide the columns."""
        return {}

    def save(self, folder: Path) -> None:
        """Write `members.npz`, then `model.json`."""
        arrays: Arrays = {}
        for number, vocabulary in enumerate(self.vocabularies):
            arrays[f"vocabulary/{number}"] = np.frombuffer(END.join(vocabulary.terms).encode(), dtype=np.uint8)
        for number, member in enumerate(self.members):
            arrays |= {f"{number}/{name}": array for name, array in member.arrays().items()}
        files.write_arrays(folder / "members.npz", arrays)
        self.stored.write(folder / "model.json")

    @classmethod
    def load(cls, folder: Path) -> FittedTextModel:
        """Read what `save` wrote. Raises ArtifactError."""
        stored = StoredTextModel.read(folder / "model.json")
        arrays = files.read_arrays(folder / "members.npz")
        vocabularies = []
        for number, (kind, columns, longest) in enumerate(stored.vocabularies):
            text = arrays[f"vocabulary/{number}"].tobytes().decode()
            vocabularies.append(Vocabulary(kind, tuple(columns), longest, tuple(text.split(END)) if text else ()))
        members: dict[int, Arrays] = {}
        for key, array in arrays.items():
            number_text, name = key.split("/", 1)
            if number_text != "vocabulary":
                members.setdefault(int(number_text), {})[name] = array
        return cls(stored, vocabularies, [_Member.of(members[number]) for number in sorted(members)])


def _columns(
    dense: NDArray[np.float32], counts: Sequence[sparse.csr_matrix], terms: Sequence[TermWeights]
) -> sparse.csr_matrix:
    """The other columns' encoded values, then each vocabulary's weighted terms; a column of zeros if there are none."""
    weighted = [weights.weighted(of) for weights, of in zip(terms, counts, strict=True)]
    whole = sparse.csr_matrix(sparse.hstack([sparse.csr_matrix(dense), *weighted]), dtype=np.float32)
    return whole if whole.shape[1] else sparse.csr_matrix((len(dense), 1), dtype=np.float32)


def _fit(
    x: sparse.csr_matrix, y: FloatArray, weight: FloatArray | None, n_classes: int, penalty: float | None, seed: int
) -> _Solution:
    """Coefficients and intercepts, with the penalty given or chosen on held rows.

    Of several targets of classes, those of the odds of each one's second class.
    """
    if n_classes and y.shape[1] > 1:
        by_target = [_fit(x, y[:, [j]], weight, n_classes, penalty, seed) for j in range(y.shape[1])]
        coefficients = np.column_stack([of_one[:, 1] - of_one[:, 0] for of_one, _ in by_target])
        return coefficients, np.array([of_one[1] - of_one[0] for _, of_one in by_target])
    if n_classes and len(np.unique(y)) == 1:
        intercept = np.where(np.arange(n_classes) == int(y[0, 0]), 0.0, NEVER)
        return np.zeros((x.shape[1], n_classes), dtype=np.float32), intercept
    start = None
    if penalty is None:
        penalty, start = _chosen_penalty(x, y, weight, n_classes, seed)
    return _solved(x, y, weight, n_classes, penalty, start)


def _chosen_penalty(
    x: sparse.csr_matrix, y: FloatArray, weight: FloatArray | None, n_classes: int, seed: int
) -> tuple[float, _Solution | None]:
    """The penalty with the least loss of the held rows, and its solution on the others."""
    held = np.random.default_rng(seed).permutation(len(y)) % HELD_PARTS == 0
    if n_classes:  # a class that only held rows have cannot be learned
        held &= np.isin(y[:, 0], y[~held, 0])
    best: tuple[float, _Solution | None] = PENALTIES[0], None
    if not held.any() or (n_classes and len(np.unique(y[~held])) == 1):
        return best
    known, rest = (x[~held], y[~held], None if weight is None else weight[~held], n_classes), x[held]
    solution, best_loss = None, np.inf
    for penalty in PENALTIES:
        solution = _solved(*known, penalty, solution)
        loss = _loss(np.asarray(rest @ solution[0]) + solution[1], y[held], n_classes)
        if loss >= best_loss:
            break
        best, best_loss = (penalty, solution), loss
    return best


def _loss(raw: FloatArray, y: FloatArray, n_classes: int) -> float:
    if not n_classes:
        return float(np.mean((raw - y) ** 2))
    of_true = softmax(raw)[np.arange(len(y)), y[:, 0].astype(np.int64)]
    return float(-np.mean(np.log(np.clip(of_true, 1e-12, 1.0))))


def _solved(
    x: sparse.csr_matrix,
    y: FloatArray,
    weight: FloatArray | None,
    n_classes: int,
    penalty: float,
    start: _Solution | None = None,
) -> _Solution:
    """Minimise the squared error or log loss plus penalty / 2 times the squared coefficients, beginning at `start`."""
    from sklearn.linear_model import LogisticRegression, Ridge

    if not n_classes:
        ridge = Ridge(alpha=penalty, solver="sparse_cg", max_iter=MOST_ITERATIONS).fit(x, y, sample_weight=weight)
        return ridge.coef_.reshape(y.shape[1], -1).T.astype(np.float32), np.reshape(ridge.intercept_, -1)
    codes = y[:, 0].astype(np.int64)
    present = np.unique(codes)
    used = present if len(present) > 2 else present[1:]  # of two classes, the odds of the second
    model = LogisticRegression(C=1.0 / penalty, max_iter=MOST_ITERATIONS, tol=TOLERANCE, warm_start=True)
    if start is not None:
        model.coef_, model.intercept_ = start[0][:, used].T.astype(np.float64), start[1][used]
    model.fit(x, codes, sample_weight=weight)
    coefficients, intercept = np.zeros((x.shape[1], n_classes), dtype=np.float32), np.full(n_classes, NEVER)
    intercept[present] = 0.0
    coefficients[:, used], intercept[used] = model.coef_.T, model.intercept_
    return coefficients, intercept
