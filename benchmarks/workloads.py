"""The workloads: each function gets the module under test, and returns a step to be timed.

A step returns what it computed, which is compared between the two sides before anything is timed.
Inputs come from NumPy with a fixed seed, so both sides have the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

Step = Callable[[], Any]
WORKLOADS: dict[str, Callable[[Any], Step]] = {}


def workload(make: Callable[[Any], Step]) -> Callable[[Any], Step]:
    """Lists a workload under its function's name."""
    WORKLOADS[make.__name__] = make
    return make


def normal(torch: Any, *shape: int, requires_grad: bool = False) -> Any:
    """A float32 tensor of normal numbers, the same on both sides."""
    numbers = np.random.default_rng(sum(shape)).standard_normal(shape, dtype=np.float32)
    return torch.tensor(numbers, requires_grad=requires_grad)


@workload
def tiny_add(torch: Any) -> Step:
    x, y = normal(torch, 10), normal(torch, 10)
    return lambda: x + y


@workload
def tiny_scale(torch: Any) -> Step:
    x = normal(torch, 10)
    return lambda: x * 2.0


@workload
def tiny_view(torch: Any) -> Step:
    x = normal(torch, 4, 6)
    return lambda: x.t().reshape(3, 8)[1:, ::2]


@workload
def tiny_matmul(torch: Any) -> Step:
    x, y = normal(torch, 8, 8), normal(torch, 8, 8)
    return lambda: x @ y


@workload
def tiny_gradient(torch: Any) -> Step:
    x, y = normal(torch, 10, requires_grad=True), normal(torch, 10)

    def step() -> Any:
        x.grad = None
        (x * y).exp().sum().backward()
        return x.grad

    return step


@workload
def large_pointwise(torch: Any) -> Step:
    x, y = normal(torch, 1_000_000), normal(torch, 1_000_000)
    return lambda: torch.tanh(x * y + x)


@workload
def large_sum(torch: Any) -> Step:
    x = normal(torch, 1000, 1000)
    return lambda: x.sum(dim=0)


@workload
def large_softmax(torch: Any) -> Step:
    x = normal(torch, 256, 1024)
    return lambda: torch.softmax(x, dim=-1)


@workload
def large_matmul(torch: Any) -> Step:
    x, y = normal(torch, 512, 512), normal(torch, 512, 512)
    return lambda: x @ y


@workload
def convolution(torch: Any) -> Step:
    x, weight = normal(torch, 8, 16, 28, 28), normal(torch, 32, 16, 3, 3)
    return lambda: torch.nn.functional.conv2d(x, weight, padding=1)


def _training(torch: Any, optimizer: Callable[[Any], Any], *sizes: int) -> Step:
    torch.manual_seed(0)
    nn = torch.nn
    layers: list[Any] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    optimize = optimizer(model.parameters())
    x, y = normal(torch, 64, sizes[0]), normal(torch, 64, sizes[-1])

    def step() -> Any:
        optimize.zero_grad()
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        optimize.step()
        return loss.detach()

    return step


@workload
def train_small_sgd(torch: Any) -> Step:
    return _training(torch, lambda weights: torch.optim.SGD(weights, lr=0.01), 8, 16, 1)


@workload
def train_large_adam(torch: Any) -> Step:
    return _training(torch, torch.optim.Adam, 256, 512, 10)
