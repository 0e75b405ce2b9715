"""The parameters that all packed networks share, and the training plan they make.

Must not know how networks are packed, or what an architecture is.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.base.errors import SpecError
from pipeline.competition.problem import Problem
from pipeline.config.table import MOST_ROWS, Table, bounded
from pipeline.models.networks.columns import Columns
from pipeline.nets.losses import REGRESSION_LOSSES, Loss, binary_cross_entropy, cross_entropy
from pipeline.nets.networks import Network
from pipeline.nets.optimizers import OptimizerName, ScheduleName, Update
from pipeline.nets.plan import Plan, Precision

# parameters in which members of a pack may differ, besides those of their networks
MEMBER_PARAMS = {"lr", "weight_decay", "dropout", "momentum", "beta2", "label_smoothing", "schedule"}


class NeuralParams(Table):
    """Parameters of all architectures; each adds its own. The registry has the defaults of each model."""

    dropout: float = bounded(0.0, ge=0.0, le=0.95, usual="0 to 0.5", description="dropout rate of the hidden units")
    loss: Literal["auto", "mse", "mae", "huber", "log_rmse", "cross_entropy"] = Field(
        default="auto", description="what is minimised; auto: mse for numbers, cross_entropy for classes"
    )
    label_smoothing: float = bounded(
        0.0, ge=0.0, le=0.9, usual="0 to 0.1", description="share of the label spread over all classes"
    )
    scale_target: bool = Field(default=True, description="centre and scale the target on the fit rows")
    optimizer: OptimizerName = Field(default="adamw", description="update rule")
    lr: float = bounded(
        1e-3, gt=0.0, le=1000.0, usual="0.0005 to 0.02", description="learning rate; the peak of a schedule"
    )
    momentum: float = bounded(0.0, ge=0.0, lt=1.0, usual="0.8 to 0.95", description="momentum of sgd")
    beta2: float = bounded(
        0.999, gt=0.0, lt=1.0, usual="0.95 to 0.999", description="second-moment decay of adam and adamw"
    )
    weight_decay: float = bounded(
        0.0, ge=0.0, le=100.0, usual="0 to 0.5", description="weight decay; decoupled in adamw"
    )
    decay_biases: bool = Field(default=False, description="decay biases as well")
    schedule: ScheduleName = Field(default="constant", description="how the learning rate changes over the epochs")
    epochs: int = bounded(50, ge=1, le=100_000, usual="10 to 200", description="passes over the fit rows")
    batch_size: int = bounded(
        64, ge=1, le=MOST_ROWS, usual="32 to 1024", description="rows per step; all of them if there are fewer"
    )
    patience: int | None = bounded(
        None,
        ge=1,
        le=100_000,
        usual="5 to 50",
        description="stop after this many evaluations without a better valid score; default: never",
    )
    precision: Precision = Field(
        default="float32",
        description="precision of matrix products; tf32: on CUDA; bf16: on CPUs that have it, on CUDA as tf32",
    )
    evaluate_every: int = bounded(1, ge=1, le=100_000, usual="1 to 10", description="epochs between evaluations")

    @property
    def has_momentum(self) -> bool:
        """Whether the update rule stores a momentum."""
        return self.optimizer == "sgd" and self.momentum > 0

    @property
    def scales_target(self) -> bool:
        """Whether the target is centred and scaled; the log_rmse loss needs raw values."""
        return self.scale_target and self.loss != "log_rmse"

    def pack_key(self) -> str:
        """Equal for parameters whose networks can share a pack, if the networks themselves can."""
        names = NeuralParams.model_fields.keys() - MEMBER_PARAMS
        return f"{self.model_dump_json(include=set(names))} {self.has_momentum}"

    def network(self, columns: Columns, n_outputs: int) -> Network:
        """The architecture for these columns."""
        raise NotImplementedError

    def arranged(self, columns: Columns, problem: Problem) -> Columns:  # noqa: ARG002 (subclasses use it)
        """The columns in the order of the network's inputs. Raises SpecError if it cannot read them."""
        return columns

    def plan(self, problem: Problem, *, stops_at_failure: bool) -> Plan:
        """The training plan of a pack. Raises SpecError."""
        return Plan(
            loss=self._loss(problem),
            epochs=self.epochs,
            batch_size=min(self.batch_size, len(problem.target)),  # a larger batch holds every row
            update=Update(self.optimizer, self.has_momentum, self.decay_biases),
            precision=self.precision,
            patience=self.patience,
            evaluate_every=self.evaluate_every,
            greater_is_better=problem.metric.greater_is_better,
            stops_at_failure=stops_at_failure,
        )

    def _loss(self, problem: Problem) -> Loss:
        is_regression = problem.task == "regression"
        name = self.loss if self.loss != "auto" else "mse" if is_regression else "cross_entropy"
        if (name == "cross_entropy") == is_regression:
            raise SpecError(
                f"the loss {name!r} does not fit a {problem.task} task",
                where="[params] loss",
                hint=f"One of: {', '.join(REGRESSION_LOSSES) if is_regression else 'cross_entropy'}, auto.",
            )
        if name == "log_rmse" and problem.target_transform != "none":
            raise SpecError(
                "the loss 'log_rmse' takes logs itself", where="[params] loss", hint='Set target_transform = "none".'
            )
        if is_regression:
            return REGRESSION_LOSSES[name]
        return cross_entropy() if problem.target.ndim == 1 else binary_cross_entropy()
