"""The parameters that all packed networks share, and the training plan they make.

Must not know how networks are packed, or what an architecture is.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.base.errors import SpecError
from pipeline.competition.problem import Problem
from pipeline.config.table import Table
from pipeline.models.networks.columns import Columns
from pipeline.nets.losses import REGRESSION_LOSSES, Loss, cross_entropy
from pipeline.nets.networks import Network
from pipeline.nets.optimizers import OptimizerName, ScheduleName, Update
from pipeline.nets.plan import Plan, Precision

# parameters in which members of a pack may differ, besides those of their networks
MEMBER_PARAMS = {"lr", "weight_decay", "dropout", "momentum", "beta2", "label_smoothing", "schedule"}


class NeuralParams(Table):
    """Parameters of all architectures; each adds its own. The registry has the defaults of each model."""

    dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="dropout rate of the hidden units")
    loss: Literal["auto", "mse", "mae", "huber", "log_rmse", "cross_entropy"] = Field(
        default="auto", description="what is minimised; auto: mse for numbers, cross_entropy for classes"
    )
    label_smoothing: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="share of the label spread over all classes"
    )
    scale_target: bool = Field(default=True, description="centre and scale the target on the fit rows")
    optimizer: OptimizerName = Field(default="adamw", description="update rule")
    lr: float = Field(default=1e-3, gt=0.0, description="learning rate; the peak of a schedule")
    momentum: float = Field(default=0.0, ge=0.0, lt=1.0, description="momentum of sgd")
    beta2: float = Field(default=0.999, gt=0.0, lt=1.0, description="second-moment decay of adam and adamw")
    weight_decay: float = Field(default=0.0, ge=0.0, description="weight decay; decoupled in adamw")
    decay_biases: bool = Field(default=False, description="decay biases as well")
    schedule: ScheduleName = Field(default="constant", description="how the learning rate changes over the epochs")
    epochs: int = Field(default=50, ge=1, description="passes over the fit rows")
    batch_size: int = Field(default=64, ge=1, description="rows per step")
    patience: int | None = Field(
        default=None, ge=1, description="stop after this many evaluations without a better valid score; default: never"
    )
    precision: Precision = Field(
        default="float32", description="precision of matrix products; tf32 on CUDA only, bf16 also on CPUs that have it"
    )
    evaluate_every: int = Field(default=1, ge=1, description="epochs between evaluations")

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
            batch_size=self.batch_size,
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
        return REGRESSION_LOSSES[name] if is_regression else cross_entropy()
