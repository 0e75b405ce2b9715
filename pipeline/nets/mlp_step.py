"""Forward and backward of a packed MLP written out, in buffers that are made once.

The same numbers as autograd's, without its allocations: at these sizes they cost as much as the matrix products.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.nets.losses import Loss
from pipeline.nets.networks import MLP, Dropout, ParameterPack

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
    """Gradients of one pack; rebuilt when members leave."""

    def __init__(self, network: MLP, parameters: ParameterPack, n_members: int, batch_size: int) -> None:
        self.network, self.parameters, self.n_members = network, parameters, n_members
        self.by_hand = network.activation in BACKWARD and not network.has_input_scale
        widths = (*network.hidden_sizes, network.n_outputs) if self.by_hand else ()
        sizes = [n_members * batch_size * width for width in widths]
        new = parameters.buffer.new_empty
        self._outputs = [new(size) for size in sizes]
        self._dropped = [new(size) for size in sizes[:-1]]
        self._masks = [new(size) for size in sizes[:-1]]
        self._upstream = [new(size) for size in sizes[:-1]]

    def differentiate(self, x: Tensor, y: Tensor, weight: Tensor | None, loss: Loss, dropout: Dropout | None) -> None:
        """Fill the pack's gradient from one batch: x (members, batch, inputs), y and weight as `losses` takes them."""
        if self.by_hand:
            self._by_hand(x, y, weight, loss, dropout)
        else:
            output = self.network.forward(self.parameters.views, x, dropout)
            self.parameters.differentiate(loss(output, y, weight).sum())

    def _by_hand(self, x: Tensor, y: Tensor, weight: Tensor | None, loss: Loss, dropout: Dropout | None) -> None:
        views, gradients = self.parameters.views, self.parameters.gradients
        n_hidden = len(self.network.hidden_sizes)
        inputs, before, after, masks = [x], [], [], []
        with torch.no_grad():
            for layer in range(n_hidden + 1):
                weights = views[f"weight_{layer}"]
                room = self._room(self._outputs[layer], x.shape[1], weights.shape[2])
                output = torch.baddbmm(views[f"bias_{layer}"], inputs[-1], weights, out=room)
                if layer == n_hidden:
                    break
                active = self._activate(output)
                before.append(output)
                after.append(active)
                if dropout is None:
                    inputs.append(active)
                    continue
                mask = dropout.fill(self._room(self._masks[layer], *active.shape[1:]))
                masks.append(mask)
                inputs.append(torch.mul(active, mask, out=self._room(self._dropped[layer], *active.shape[1:])))
        d = loss.gradient(output, y, weight)
        with torch.no_grad():
            for layer in reversed(range(n_hidden + 1)):
                torch.bmm(inputs[layer].transpose(1, 2), d, out=gradients[f"weight_{layer}"])
                torch.sum(d, dim=1, keepdim=True, out=gradients[f"bias_{layer}"])
                if layer == 0:
                    break
                weights = views[f"weight_{layer}"]
                room = self._room(self._upstream[layer - 1], x.shape[1], weights.shape[1])
                d = torch.bmm(d, weights.transpose(1, 2), out=room)
                if dropout is not None:
                    d.mul_(masks[layer - 1])
                d = BACKWARD[self.network.activation](d, before[layer - 1], after[layer - 1])

    def _activate(self, x: Tensor) -> Tensor:
        """relu overwrites its input, which its backward does not need."""
        if self.network.activation == "relu":
            return functional.relu_(x)
        return self.network.activate(x, None)

    def _room(self, buffer: Tensor, n_rows: int, width: int) -> Tensor:
        """(members, rows, width) contiguous at the start of `buffer`: the last batch may be short."""
        return buffer[: self.n_members * n_rows * width].view(self.n_members, n_rows, width)
