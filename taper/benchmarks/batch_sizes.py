"""What a batch size costs that wasn't there before: `python -m taper.benchmarks.batch_sizes`.

Training steps are compiled and called with two batch sizes, which are recorded, and then with
others. Printed are the time of the first call at each of those, that of later ones, and that of the
same step as it is, in milliseconds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import taper as torch
from taper import nn
from taper.benchmarks.peak_memory import transformer

__all__ = ["main"]

_RECORDED, _OTHERS = (48, 40), (56, 36, 44, 52)
_CLASSES, _TOKENS = 10, 64
Step = Callable[..., Any]


def _perceptron() -> Any:
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, _CLASSES))


def _convolutions() -> Any:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(8 * 13 * 13, _CLASSES))


def _cases() -> Iterator[tuple[str, Step, Callable[[int], tuple[Any, Any]]]]:
    """Names, steps, and what makes a batch of a size."""
    def labels(size: int) -> Any:
        return torch.randint(0, _CLASSES, (size,))

    model = _perceptron()
    yield "MLP, Adam", _step_of(model, torch.optim.Adam(model.parameters())), (
        lambda size: (torch.randn(size, 64), labels(size)))
    model = _convolutions()
    yield "CNN, SGD", _step_of(model, torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)), (
        lambda size: (torch.randn(size, 1, 28, 28), labels(size)))
    model = transformer(torch, 4)
    yield "GPT, AdamW", _step_of(model, torch.optim.AdamW(model.parameters())), (
        lambda size: (torch.randint(0, 65, (size, _TOKENS)), torch.randint(0, 65, (size, _TOKENS))))


def _step_of(model: Any, optimizer: Any) -> Step:
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        scores = model(x)
        loss = nn.functional.cross_entropy(scores.view(-1, scores.shape[-1]), y.view(-1))
        loss.backward()
        optimizer.step()
        return loss

    return step


def _milliseconds(step: Step, batch: tuple[Any, Any]) -> float:
    start = time.perf_counter()
    step(*batch).item()
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    """Prints a line for each step."""
    torch.manual_seed(0)
    print(f"{'':12} {'first call':>10} {'later':>8} {'as it is':>8}")
    for name, step, batch in _cases():
        compiled = torch.compile(step)
        for size in (*_RECORDED * 2, *_RECORDED):
            _milliseconds(compiled, batch(size))
        first, later = [], []
        for size in _OTHERS:
            first.append(_milliseconds(compiled, batch(size)))
            later.append(min(_milliseconds(compiled, batch(size)) for _ in range(5)))
        plain = min(_milliseconds(step, batch(_OTHERS[0])) for _ in range(5))
        print(f"{name:12} {statistics.median(first):10.1f} {statistics.median(later):8.1f} "
              f"{plain:8.1f}")


if __name__ == "__main__":
    main()
