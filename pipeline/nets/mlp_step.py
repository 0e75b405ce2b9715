"""Gradients of a batch: the forward and backward pass of a packed MLP by hand, in preallocated buffers.

Gives autograd's numbers without its allocations, which cost as much as the products here. Must not know updates.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.nets.dropout import PackedDropout
from pipeline.nets.inputs import Inputs, linear, linear_gradient
from pipeline.nets.losses import Loss
from pipeline.nets.networks import MLP, Network
from pipeline.nets.parameters import ParameterPack
from pipeline.nets.products import affine, input_gradient, weight_gradient

aten = torch.ops.aten

# (gradient, input of the activation, its output) -> gradient of the input
BACKWARD: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "relu": lambda d, _, y: aten.threshold_backward.grad_input(d, y, 0.0, grad_input=d),
    "leaky_relu": lambda d, x, _: aten.leaky_relu_backward(d, x, 0.01, False),
    "sigmoid": lambda d, _, y: aten.sigmoid_backward(d, y),
    "tanh": lambda d, _, y: aten.tanh_backward(d, y),
    "gelu": lambda d, x, _: aten.gelu_backward(d, x),
    "silu": lambda d, x, _: aten.silu_backward(d, x),
}


class MLPStep:
    """Gradients of one pack; rebuilt when members leave. Networks other than a plain MLP use autograd."""

    def __init__(self, network: Network, parameters: ParameterPack, n_members: int, batch_size: int) -> None:
        self.network, self.parameters, self.n_members = network, parameters, n_members
        is_by_hand = isinstance(network, MLP) and network.is_plain and network.activation in BACKWARD
        self.mlp = network if isinstance(network, MLP) and is_by_hand else None
        widths = (*network.hidden_sizes, network.n_outputs) if is_by_hand else ()
        sizes = [n_members * batch_size * width for width in widths]
        new = parameters.buffer.new_empty
        self._outputs = [new(size) for size in sizes]
        self._dropped, self._masks, self._upstream = ([new(size) for size in sizes[:-1]] for _ in range(3))

    def differentiate(
        self, x: Inputs, y: Tensor, weight: Tensor | None, loss: Loss, dropout: PackedDropout | None
    ) -> None:
        """Fill the gradient of the pack from a batch: x (members, batch, ...), y and weight as in `losses`."""
        if self.mlp is not None:
            self._by_hand(self.mlp, x, y, weight, loss, dropout)
            return
        output, heads = self.network.forward(self.parameters.views, x, dropout), self.network.n_heads
        if heads > 1:  # every head learns every row
            y = y.repeat_interleave(heads, dim=1)
            weight = None if weight is None else weight.repeat_interleave(heads, dim=1)
        self.parameters.differentiate(loss(output, y, weight).sum())

    @torch.no_grad()
    def _by_hand(
        self, mlp: MLP, x: Inputs, y: Tensor, weight: Tensor | None, loss: Loss, dropout: PackedDropout | None
    ) -> None:
        views, gradients = self.parameters.views, self.parameters.gradients
        n_hidden, n_rows = len(mlp.hidden_sizes), x.dense.shape[1]
        inputs: list[Tensor] = []  # of the layers after the first
        before, after, masks = [], [], []  # inputs and outputs of activations
        for layer in range(n_hidden + 1):
            weights = views[f"weight_{layer}"]
            out = self._batch_of(self._outputs[layer], n_rows, weights.shape[2])
            if layer == 0:
                output = linear(x, weights, views["bias_0"], out)
            else:
                output = affine(inputs[-1], weights, views[f"bias_{layer}"], out)
            if layer == n_hidden:
                break
            active = mlp.activate(output, None)
            before.append(output)
            after.append(active)
            if dropout is not None:
                shape = active.shape[1:]
                masks.append(self._batch_of(self._masks[layer], *shape))
                active = dropout.drop(active, layer, masks[-1], out=self._batch_of(self._dropped[layer], *shape))
            inputs.append(active)
        d = loss.gradient(output, y, weight)
        for layer in range(n_hidden, 0, -1):
            torch.sum(d, dim=1, keepdim=True, out=gradients[f"bias_{layer}"])
            weight_gradient(inputs[layer - 1], d, gradients[f"weight_{layer}"])
            weights = views[f"weight_{layer}"]
            d = input_gradient(d, weights, self._batch_of(self._upstream[layer - 1], n_rows, weights.shape[1]))
            if dropout is not None:
                dropout.drop_gradient(d, layer - 1, masks[layer - 1])
            d = BACKWARD[mlp.activation](d, before[layer - 1], after[layer - 1])
        torch.sum(d, dim=1, keepdim=True, out=gradients["bias_0"])
        linear_gradient(x, d, out=gradients["weight_0"])

    def _batch_of(self, buffer: Tensor, n_rows: int, width: int) -> Tensor:
        """Return the start of `buffer` as (members, rows, width), contiguous even if the last batch is short."""
        return buffer[: self.n_members * n_rows * width].view(self.n_members, n_rows, width)
