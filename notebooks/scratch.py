"""Classifiers written out by hand, to be read: every gradient a formula, every update an assignment, no autograd.

Knows tensors only. The pipeline trains with `pipeline.nets.training`; the tests check that loop against this module.

Shapes: x (batch, inputs), logits (batch, outputs), labels (batch,) class codes. A `step` returns its batch's loss
before the update. Formulas: Bishop, "Pattern Recognition and Machine Learning" (2006), sections 4.3.4 and 5.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

# ---- the parts of a classifier


def softmax(logits: Tensor) -> Tensor:
    """Probabilities (batch, outputs). The largest logit of a row is subtracted first: exp never overflows."""
    e = torch.exp(logits - logits.max(dim=1, keepdim=True).values)
    return e / e.sum(dim=1, keepdim=True)


def log_sum_exp(logits: Tensor) -> Tensor:
    """(batch,) log of the sum of exponentials, with the largest logit taken out of the sum."""
    largest = logits.max(dim=1).values
    return largest + torch.exp(logits - largest[:, None]).sum(dim=1).log()


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of -log softmax(logits)[label], as log-sum-exp minus the label's logit: never a log of a rounded 0."""
    return (log_sum_exp(logits) - logits[torch.arange(len(labels)), labels]).mean()


def cross_entropy_gradient(logits: Tensor, labels: Tensor) -> Tensor:
    """Its derivative by the logits: (softmax - one_hot) / batch."""
    return (softmax(logits) - one_hot(labels, logits.shape[1])) / len(labels)


def binary_cross_entropy(probability: Tensor, target: Tensor) -> Tensor:
    """-(t log p + (1 - t) log(1 - p)), summed over the outputs, averaged over the rows; logs are cut off at -100."""
    logs = target * probability.log().clamp_min(-100.0) + (1.0 - target) * (1.0 - probability).log().clamp_min(-100.0)
    return -logs.sum(dim=1).mean()


def one_hot(labels: Tensor, n_classes: int) -> Tensor:
    """(batch,) codes -> (batch, classes) of 0 and 1."""
    return torch.eye(n_classes, device=labels.device)[labels]


def accuracy(scores: Tensor, labels: Tensor) -> float:
    """Share of rows whose highest score stands at their label."""
    return float((scores.argmax(dim=1) == labels).float().mean())


def sgd(parameters: Sequence[Tensor], gradients: Sequence[Tensor], lr: float) -> None:
    """One step down the gradient, in place."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter -= lr * gradient


def minibatches(n_rows: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Every row once, shuffled, in batches; the last may be short."""
    yield from torch.split(torch.randperm(n_rows, generator=generator), batch_size)


# ---- the epoch


class Classifier(Protocol):
    """What `train_epoch` and `evaluate` need."""

    def forward(self, x: Tensor) -> Tensor:
        """x (batch, inputs) -> scores (batch, outputs), the highest at the predicted class."""
        ...

    def step(self, x: Tensor, labels: Tensor, lr: float) -> tuple[float, float]:
        """One update from one batch: its loss and accuracy before the update."""
        ...


class Epoch(NamedTuple):
    """Means over the rows of an epoch, each batch seen before its own update."""

    loss: float
    accuracy: float


def train_epoch(
    model: Classifier, x: Tensor, labels: Tensor, *, batch_size: int, lr: float, generator: torch.Generator
) -> Epoch:
    """One pass over the rows in a new order."""
    loss = right = 0.0
    for rows in minibatches(len(x), batch_size, generator):
        batch_loss, batch_accuracy = model.step(x[rows], labels[rows], lr)
        loss += batch_loss * len(rows)
        right += batch_accuracy * len(rows)
    return Epoch(loss / len(x), right / len(x))


def evaluate(model: Classifier, x: Tensor, labels: Tensor) -> float:
    """Accuracy on rows that need not be the trained ones; nothing is updated."""
    return accuracy(model.forward(x), labels)


# ---- softmax regression, and one hidden layer


@dataclass
class SoftmaxRegression:
    """logits = x W + b."""

    weight: Tensor  # (inputs, classes)
    bias: Tensor  # (classes,)

    @classmethod
    def initial(cls, n_inputs: int, n_classes: int, generator: torch.Generator, std: float = 0.01) -> SoftmaxRegression:
        """Weights from N(0, std), biases 0."""
        return cls(torch.randn(n_inputs, n_classes, generator=generator) * std, torch.zeros(n_classes))

    def parameters(self) -> list[Tensor]:
        """Weight, bias."""
        return [self.weight, self.bias]

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return x @ self.weight + self.bias

    def gradients(self, x: Tensor, labels: Tensor) -> list[Tensor]:
        """Derivatives of the cross-entropy by weight and bias: x^T d and the sum of d over the batch."""
        d = cross_entropy_gradient(self.forward(x), labels)
        return [x.T @ d, d.sum(dim=0)]

    def step(self, x: Tensor, labels: Tensor, lr: float) -> tuple[float, float]:
        """One update from one batch: its loss and accuracy before the update."""
        logits = self.forward(x)
        d = cross_entropy_gradient(logits, labels)
        sgd(self.parameters(), [x.T @ d, d.sum(dim=0)], lr)
        return float(cross_entropy(logits, labels)), accuracy(logits, labels)


@dataclass
class OneHiddenLayer:
    """logits = relu(x W1 + b1) W2 + b2, from raw matrices."""

    weight_1: Tensor  # (inputs, hidden)
    bias_1: Tensor  # (hidden,)
    weight_2: Tensor  # (hidden, classes)
    bias_2: Tensor  # (classes,)

    @classmethod
    def initial(
        cls, n_inputs: int, n_hidden: int, n_classes: int, generator: torch.Generator, std: float = 0.01
    ) -> OneHiddenLayer:
        """Weights from N(0, std), biases 0."""
        return cls(
            torch.randn(n_inputs, n_hidden, generator=generator) * std,
            torch.zeros(n_hidden),
            torch.randn(n_hidden, n_classes, generator=generator) * std,
            torch.zeros(n_classes),
        )

    def parameters(self) -> list[Tensor]:
        """In the order of the layers, weight before bias."""
        return [self.weight_1, self.bias_1, self.weight_2, self.bias_2]

    def hidden(self, x: Tensor) -> Tensor:
        """relu(x W1 + b1): (batch, hidden)."""
        return torch.clamp_min(x @ self.weight_1 + self.bias_1, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.hidden(x) @ self.weight_2 + self.bias_2

    def gradients(self, x: Tensor, labels: Tensor) -> list[Tensor]:
        """Derivatives of the cross-entropy by the four parameters, by the chain rule."""
        hidden = self.hidden(x)
        return self._gradients(x, hidden, cross_entropy_gradient(hidden @ self.weight_2 + self.bias_2, labels))

    def step(self, x: Tensor, labels: Tensor, lr: float) -> tuple[float, float]:
        """One update from one batch: its loss and accuracy before the update."""
        hidden = self.hidden(x)
        logits = hidden @ self.weight_2 + self.bias_2
        sgd(self.parameters(), self._gradients(x, hidden, cross_entropy_gradient(logits, labels)), lr)
        return float(cross_entropy(logits, labels)), accuracy(logits, labels)

    def _gradients(self, x: Tensor, hidden: Tensor, d: Tensor) -> list[Tensor]:
        d_hidden = (d @ self.weight_2.T) * (hidden > 0)  # a unit at 0 let nothing through, and gets nothing back
        return [x.T @ d_hidden, d_hidden.sum(dim=0), hidden.T @ d, d.sum(dim=0)]


# ---- sigmoid networks


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x)); its derivative is y (1 - y) in its own output y."""
    return 1.0 / (1.0 + torch.exp(-x))


def with_ones(x: Tensor) -> Tensor:
    """x with a last column of ones: (batch, inputs + 1)."""
    return torch.cat([x, x.new_ones(len(x), 1)], dim=1)


def sigmoid_two_layers(
    x: Tensor, weight_1: Tensor, bias_1: Tensor, weight_2: Tensor, bias_2: Tensor
) -> tuple[Tensor, Tensor]:
    """(hidden, probability) of a sigmoid network whose four parameters are given explicitly."""
    hidden = sigmoid(x @ weight_1 + bias_1)
    return hidden, sigmoid(hidden @ weight_2 + bias_2)


def sigmoid_two_layers_step(
    x: Tensor,
    target: Tensor,
    weight_1: Tensor,
    bias_1: Tensor,
    weight_2: Tensor,
    bias_2: Tensor,
    lr: float,
) -> float:
    """One update of the four parameters, each written out; `target` (batch, outputs) of 0 and 1. The loss before.

    With binary cross-entropy summed over the outputs and averaged over the rows, the derivative by the last layer's
    weighted sums is (probability - target) / batch: the sigmoid's own derivative cancels.
    """
    hidden, probability = sigmoid_two_layers(x, weight_1, bias_1, weight_2, bias_2)
    d_2 = (probability - target) / len(x)
    d_1 = (d_2 @ weight_2.T) * hidden * (1.0 - hidden)
    weight_2 -= lr * (hidden.T @ d_2)
    bias_2 -= lr * d_2.sum(dim=0)
    weight_1 -= lr * (x.T @ d_1)
    bias_1 -= lr * d_1.sum(dim=0)
    return float(binary_cross_entropy(probability, target))


class SigmoidLayer:
    """y = sigmoid([x, 1] W): the bias is the last row of the weights. Keeps what its backward pass needs."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight  # (inputs + 1, outputs)
        self.gradient = torch.zeros_like(weight)
        self._x = self._y = torch.empty(0)

    @classmethod
    def initial(cls, n_inputs: int, n_outputs: int, generator: torch.Generator) -> SigmoidLayer:
        """Weights and bias from N(0, 1)."""
        return cls(torch.randn(n_inputs + 1, n_outputs, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs) -> (batch, outputs)."""
        self._x = with_ones(x)
        self._y = sigmoid(self._x @ self.weight)
        return self._y

    def backward(self, d_y: Tensor) -> Tensor:
        """Derivative by y -> derivative by x; fills `gradient`."""
        return self.backward_from_sums(d_y * self._y * (1.0 - self._y))

    def backward_from_sums(self, d: Tensor) -> Tensor:
        """As `backward`, from the derivative by the weighted sums."""
        self.gradient = self._x.T @ d
        return d @ self.weight[:-1].T  # the column of ones is no input: its row goes no further back


class SigmoidNetwork:
    """A network from its topology, e.g. [2, 3, 3, 4]: inputs, hidden layers, one output a class."""

    def __init__(self, layers: Sequence[SigmoidLayer]) -> None:
        self.layers = list(layers)

    @classmethod
    def from_topology(cls, topology: Sequence[int], generator: torch.Generator) -> SigmoidNetwork:
        """One layer between each two numbers. Raises ValueError for fewer than two."""
        if len(topology) < 2:
            raise ValueError(f"a topology has at least inputs and outputs, not {list(topology)}")
        return cls([SigmoidLayer.initial(n_in, n_out, generator) for n_in, n_out in pairwise(topology)])

    def parameters(self) -> list[Tensor]:
        """The layers' weights, biases folded in."""
        return [layer.weight for layer in self.layers]

    def forward(self, x: Tensor) -> Tensor:
        """One probability an output."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def gradients(self, x: Tensor, labels: Tensor) -> list[Tensor]:
        """Derivatives of the binary cross-entropy by the layers' weights."""
        self._backward(self.forward(x), labels)
        return [layer.gradient for layer in self.layers]

    def step(self, x: Tensor, labels: Tensor, lr: float) -> tuple[float, float]:
        """One update from one batch: its loss and accuracy before the update."""
        probability = self.forward(x)
        target = self._backward(probability, labels)
        sgd(self.parameters(), [layer.gradient for layer in self.layers], lr)
        return float(binary_cross_entropy(probability, target)), accuracy(probability, labels)

    def _backward(self, probability: Tensor, labels: Tensor) -> Tensor:
        target = one_hot(labels, probability.shape[1])
        d = self.layers[-1].backward_from_sums((probability - target) / len(labels))
        for layer in reversed(self.layers[:-1]):
            d = layer.backward(d)
        return target
