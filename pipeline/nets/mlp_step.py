"""Gradients of a batch: forward and backward of a packed MLP written out, in buffers that are made once.

The same numbers as autograd's, without its allocations: at these sizes they cost as much as the matrix products.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.nets.inputs import Inputs, linear, linear_gradient
from pipeline.nets.losses import Loss
from pipeline.nets.networks import MLP, Dropout, Network
from pipeline.nets.parameters import ParameterPack
from pipeline.nets.products import affine, input_gradient, weight_gradient

aten = torch.ops.aten

# (gradient, what the activation was given, what it gave) -> gradient before the activation
BACKWARD: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "relu": lambda d, _, y: aten.threshold_backward.grad_input(d, y, 0.0, grad_input=d),
    "leaky_relu": lambda d, x, _: aten.leaky_relu_backward(d, x, 0.01, False),
    "sigmoid": lambda d, _, y: aten.sigmoid_backward(d, y),
    "tanh": lambda d, _, y: aten.tanh_backward(d, y),
    "gelu": lambda d, x, _: aten.gelu_backward(d, x),
    "silu": lambda d, x, _: aten.silu_backward(d, x),
}


class MLPStep:
    """Gradients of one pack; rebuilt when members leave. What is no plain MLP, autograd differentiates."""

    def __init__(self, network: Network, parameters: ParameterPack, n_members: int, batch_size: int) -> None:
        self.network, self.parameters, self.n_members = network, parameters, n_members
        self.mlp = _written_out(network)
        widths = () if self.mlp is None else (*self.mlp.hidden_sizes, self.mlp.n_outputs)
        sizes = [n_members * batch_size * width for width in widths]
        new = parameters.buffer.new_empty
        self._outputs = [new(size) for size in sizes]
        self._dropped = [new(size) for size in sizes[:-1]]
        self._masks = [new(size) for size in sizes[:-1]]
        self._upstream = [new(size) for size in sizes[:-1]]

    def differentiate(self, x: Inputs, y: Tensor, weight: Tensor | None, loss: Loss, dropout: Dropout | None) -> None:
        """Fill the pack's gradient from one batch: x (members, batch, ...), y and weight as `losses` takes them."""
        if self.mlp is not None:
            self._by_hand(self.mlp, x, y, weight, loss, dropout)
        else:
            output, heads = self.network.forward(self.parameters.views, x, dropout), self.network.n_heads
            if heads > 1:  # every head learns every row
                y = y.repeat_interleave(heads, dim=1)
                weight = None if weight is None else weight.repeat_interleave(heads, dim=1)
            self.parameters.differentiate(loss(output, y, weight).sum())

    def _by_hand(
        self, mlp: MLP, x: Inputs, y: Tensor, weight: Tensor | None, loss: Loss, dropout: Dropout | None
    ) -> None:
        views, gradients = self.parameters.views, self.parameters.gradients
        n_hidden = len(mlp.hidden_sizes)
        n_rows = x.dense.shape[1]
        inputs: list[Tensor] = []  # of the layers after the first
        before, after, masks = [], [], []
        with torch.no_grad():
            for layer in range(n_hidden + 1):
                weights = views[f"weight_{layer}"]
                room = self._room(self._outputs[layer], n_rows, weights.shape[2])
                if layer == 0:
                    output = linear(x, weights, views["bias_0"], out=room)
                else:
                    output = affine(inputs[-1], weights, views[f"bias_{layer}"], room)
                if layer == n_hidden:
                    break
                active = mlp.activate(output, None)
                before.append(output)
                after.append(active)
                if dropout is None:
                    inputs.append(active)
                    continue
                mask = dropout.fill(self._room(self._masks[layer], *active.shape[1:]), layer)
                masks.append(mask)
                inputs.append(torch.mul(active, mask, out=self._room(self._dropped[layer], *active.shape[1:])))
        d = loss.gradient(output, y, weight)
        with torch.no_grad():
            for layer in reversed(range(n_hidden + 1)):
                torch.sum(d, dim=1, keepdim=True, out=gradients[f"bias_{layer}"])
                if layer == 0:
                    linear_gradient(x, d, out=gradients["weight_0"])
                    break
                weight_gradient(inputs[layer - 1], d, gradients[f"weight_{layer}"])
                weights = views[f"weight_{layer}"]
                room = self._room(self._upstream[layer - 1], n_rows, weights.shape[1])
                d = input_gradient(d, weights, room)
                if dropout is not None:
                    d.mul_(masks[layer - 1])
                d = BACKWARD[mlp.activation](d, before[layer - 1], after[layer - 1])

    def _room(self, buffer: Tensor, n_rows: int, width: int) -> Tensor:
        """(members, rows, width) contiguous at the start of `buffer`: the last batch may be short."""
        return buffer[: self.n_members * n_rows * width].view(self.n_members, n_rows, width)


def _written_out(network: Network) -> MLP | None:
    """The network, if its gradient is written out here."""
    return network if isinstance(network, MLP) and network.is_plain and network.activation in BACKWARD else None
