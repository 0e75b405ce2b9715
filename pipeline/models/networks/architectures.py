"""The networks of the registry: their own parameters, and the architecture for a table's columns.

Knows encoded columns; must not know how networks are trained or stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, field_validator

from pipeline.base.errors import SpecError
from pipeline.competition.problem import Problem
from pipeline.config.table import bounded
from pipeline.models.networks.columns import Columns
from pipeline.models.networks.params import NeuralParams
from pipeline.models.networks.pixels import PixelGrid, pixel_grid
from pipeline.nets.convolutional import ConvNet
from pipeline.nets.embeddings import CategoryEmbedding, NumberEmbedding, NumberEmbeddingName
from pipeline.nets.networks import MLP, Activation, Initialisation

FEW_NUMBERS = 128  # encoded columns; embedding more is not worth the time


class MLPParams(NeuralParams):
    """Parameters of `linear` and `mlp`."""

    hidden_sizes: tuple[Annotated[int, Field(ge=1, le=65_536)], ...] = Field(
        default=(),
        max_length=64,
        description="units of each hidden layer",
        json_schema_extra={"usual": "1 to 3 layers of 32 to 512"},
    )
    activation: Activation = Field(default="relu", description="activation function of the hidden layers")
    initialisation: Initialisation = Field(default="torch", description="initial weights")
    input_scale: bool = Field(default=False, description="a learned factor per input column")
    number_embedding: NumberEmbeddingName | Literal["auto"] = Field(
        default="none", description="periodic features of every number; auto: pbld for tables with few numbers"
    )
    number_embedding_size: int = bounded(4, ge=2, le=1024, usual="2 to 16", description="outputs per number")
    n_frequencies: int = bounded(16, ge=1, le=4096, usual="8 to 64", description="periodic features per number")
    frequency_scale: float = bounded(
        0.1, gt=0.0, le=1000.0, usual="0.02 to 1", description="standard deviation of the initial frequencies"
    )
    category_embedding: int = bounded(
        0, ge=0, le=4096, usual="0 to 32", description="size of learned category embeddings; 0: one-hot"
    )
    layer_norm: bool = Field(default=False, description="normalise before every activation")
    residual: bool = Field(
        default=False, description="add a layer's input to its output where both have the same width"
    )
    heads: int = bounded(
        1, ge=1, le=1024, usual="1 to 32", description="networks that share hidden weights (TabM); 1: a plain network"
    )

    def network(self, columns: Columns, n_outputs: int) -> MLP:
        """The architecture for these columns."""
        return MLP(
            n_inputs=columns.n_columns,
            hidden_sizes=self.hidden_sizes,
            n_outputs=n_outputs,
            activation=self.activation,
            initialisation=self.initialisation,
            has_input_scale=self.input_scale,
            numbers=NumberEmbedding(
                self._embedding(len(columns.dense)),
                len(columns.dense),
                self.n_frequencies,
                self.frequency_scale,
                self.number_embedding_size,
            ),
            categories=CategoryEmbedding(len(columns.slots), columns.n_onehot, self.category_embedding),
            has_layer_norm=self.layer_norm,
            is_residual=self.residual,
            n_heads=self.heads,
        )

    def _embedding(self, n_numbers: int) -> NumberEmbeddingName:
        if self.number_embedding != "auto":
            return self.number_embedding
        return "pbld" if n_numbers <= FEW_NUMBERS else "none"


class ConvNetParams(NeuralParams):
    """Parameters of `cnn`."""

    channels: tuple[Annotated[int, Field(ge=1, le=8192)], ...] = Field(
        default=(24, 48),
        min_length=1,
        max_length=16,
        description="channels of each convolution; each halves the image",
        json_schema_extra={"usual": "2 or 3 layers of 16 to 128"},
    )
    kernel: int = bounded(3, ge=1, le=63, usual="3 or 5", description="width of the convolutions in pixels, odd")
    hidden: int = bounded(
        128, ge=1, le=65_536, usual="64 to 512", description="units of the layer between convolutions and outputs"
    )
    image_shape: tuple[Annotated[int, Field(ge=1, le=8192)], Annotated[int, Field(ge=1, le=8192)]] | None = Field(
        default=None, description="height and width; default: from the names of the pixels, else a square"
    )

    @field_validator("kernel")
    @classmethod
    def _is_odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd, so that the image keeps its size")
        return value

    def network(self, columns: Columns, n_outputs: int) -> ConvNet:
        """The architecture for the columns of `arranged`."""
        grid = self._grid(columns.dense, [])
        return ConvNet(grid.height, grid.width, self.channels, self.hidden, n_outputs, self.kernel)

    def arranged(self, columns: Columns, problem: Problem) -> Columns:
        """The pixels row by row, with zeros for those left out of the table. Raises SpecError if they form no image."""
        names = [*columns.dense, *(name for slot in columns.slots for name in slot)]
        return Columns(self._grid(names, problem.left_out).names, [])

    def _grid(self, names: Sequence[str], left_out: Sequence[str]) -> PixelGrid:
        grid = pixel_grid(names, left_out, self.image_shape)
        if min(grid.height, grid.width) < 2 ** len(self.channels):
            raise SpecError(
                f"images of {grid.height} x {grid.width} pixels cannot be halved {len(self.channels)} times",
                where="[params] channels",
                hint="Give fewer channels, e.g. --set channels=[16].",
            )
        return grid
