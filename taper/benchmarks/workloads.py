"""The workloads: each function gets the module under test, and returns a step to be timed.

A step returns what it computed, which is compared between the two sides before anything is timed.
Inputs come from NumPy with a fixed seed, so both sides have the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["GROUPS", "WORKLOADS", "Step"]

Step = Callable[[], Any]
Make = Callable[[Any], Step]
WORKLOADS: dict[str, Make] = {}
GROUPS: dict[str, list[str]] = {}

TINY, MEMORY, COMPUTE, TRAINING = (
    "small tensors: the cost of a call", "large tensors: memory", "large tensors: arithmetic",
    "training steps",
)


def workload(group: str) -> Callable[[Make], Make]:
    """Lists a workload under its function's name."""

    def list_it(make: Make) -> Make:
        WORKLOADS[make.__name__] = make
        GROUPS.setdefault(group, []).append(make.__name__)
        return make

    return list_it


def normal(torch: Any, *shape: int, requires_grad: bool = False) -> Any:
    """A float32 tensor of normal numbers, the same on both sides."""
    numbers = np.random.default_rng(sum(shape)).standard_normal(shape, dtype=np.float32)
    return torch.tensor(numbers, requires_grad=requires_grad)


@workload(TINY)
def tiny_add(torch: Any) -> Step:
    x, y = normal(torch, 10), normal(torch, 10)
    return lambda: x + y


@workload(TINY)
def tiny_scale(torch: Any) -> Step:
    x = normal(torch, 10)
    return lambda: x * 2.0


@workload(TINY)
def tiny_view(torch: Any) -> Step:
    x = normal(torch, 4, 6)
    return lambda: x.t().reshape(3, 8)[1:, ::2]


@workload(TINY)
def tiny_matmul(torch: Any) -> Step:
    x, y = normal(torch, 8, 8), normal(torch, 8, 8)
    return lambda: x @ y


@workload(TINY)
def tiny_gradient(torch: Any) -> Step:
    x, y = normal(torch, 10, requires_grad=True), normal(torch, 10)

    def step() -> Any:
        x.grad = None
        (x * y).exp().sum().backward()
        return x.grad

    return step


@workload(MEMORY)
def large_pointwise(torch: Any) -> Step:
    x, y = normal(torch, 1_000_000), normal(torch, 1_000_000)
    return lambda: torch.tanh(x * y + x)


@workload(MEMORY)
def large_sum(torch: Any) -> Step:
    x = normal(torch, 1000, 1000)
    return lambda: x.sum(dim=0)


@workload(MEMORY)
def large_choice(torch: Any) -> Step:
    x, y = normal(torch, 1_000_000), normal(torch, 1_000_000)
    return lambda: torch.where(x > y, x, y.clamp(-1, 1))


@workload(MEMORY)
def large_gather(torch: Any) -> Step:
    x = normal(torch, 10_000, 64)
    places = torch.tensor(np.random.default_rng(1).integers(0, 10_000, 20_000))
    return lambda: x[places]


@workload(MEMORY)
def large_sort(torch: Any) -> Step:
    x = normal(torch, 200_000)
    return lambda: x.sort().values


@workload(MEMORY)
def large_layer_norm(torch: Any) -> Step:
    x = normal(torch, 2048, 256)
    return lambda: torch.nn.functional.layer_norm(x, (256,))


@workload(MEMORY)
def large_softmax(torch: Any) -> Step:
    x = normal(torch, 256, 1024)
    return lambda: torch.softmax(x, dim=-1)


@workload(COMPUTE)
def large_matmul(torch: Any) -> Step:
    x, y = normal(torch, 512, 512), normal(torch, 512, 512)
    return lambda: x @ y


@workload(COMPUTE)
def convolution(torch: Any) -> Step:
    x, weight = normal(torch, 8, 16, 28, 28), normal(torch, 32, 16, 3, 3)
    return lambda: torch.nn.functional.conv2d(x, weight, padding=1)


@workload(COMPUTE)
def attention(torch: Any) -> Step:
    q, k, v = (normal(torch, 2, 4, 256, 64) for _ in range(3))
    attend = torch.nn.functional.scaled_dot_product_attention
    return lambda: attend(q, k, v, is_causal=True)


@workload(COMPUTE)
def solve(torch: Any) -> Step:
    a, b = normal(torch, 200, 200) + 20 * torch.eye(200), normal(torch, 200, 4)
    return lambda: torch.linalg.solve(a, b)


@workload(COMPUTE)
def fourier(torch: Any) -> Step:
    x = normal(torch, 64, 4096)
    return lambda: torch.fft.rfft(x).abs()


def _steps(torch: Any, model: Any, optimize: Any, loss_of: Callable[[Any], Any]) -> Step:
    """A training step, compiled where the module under test is asked to."""

    def step() -> Any:
        optimize.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimize.step()
        return loss.detach()

    compiled: Step = torch.compile(step) if COMPILED[0] else step
    return compiled


COMPILED = [False]  # whether training steps are compiled in this process


def _perceptron(torch: Any, optimizer: Callable[[Any], Any], *sizes: int) -> Step:
    torch.manual_seed(0)
    nn = torch.nn
    layers: list[Any] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    x, y = normal(torch, 64, sizes[0]), normal(torch, 64, sizes[-1])
    return _steps(
        torch, model, optimizer(model.parameters()), lambda model: ((model(x) - y) ** 2).mean()
    )


@workload(TRAINING)
def train_small_sgd(torch: Any) -> Step:
    return _perceptron(torch, lambda weights: torch.optim.SGD(weights, lr=0.01), 8, 16, 1)


@workload(TRAINING)
def train_large_adam(torch: Any) -> Step:
    return _perceptron(torch, torch.optim.Adam, 256, 512, 10)


@workload(TRAINING)
def train_convolutions(torch: Any) -> Step:
    torch.manual_seed(0)
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(32, 10),
    )
    x, y = normal(torch, 16, 1, 28, 28), torch.arange(16) % 10
    loss = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    return _steps(torch, model, optimizer, lambda model: loss(model(x), y))


@workload(TRAINING)
def train_transformer(torch: Any) -> Step:
    torch.manual_seed(0)
    nn = torch.nn
    layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
    x, y = normal(torch, 4, 32, 64), normal(torch, 4, 32, 64)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-4)
    return _steps(torch, layer, optimizer, lambda layer: ((layer(x) - y) ** 2).mean())
