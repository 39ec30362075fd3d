"""Writes to parts of arrays, and gradients of reading parts, are kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from needed_kernels import needs_kernels

import taper as torch
from taper.core.settings import settings

pytestmark = needs_kernels


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_native", "now")


def agree(
    function: Callable[..., Any], *several: tuple[Any, ...], python_calls: int | None = 0
) -> None:
    """Compiled calls give eager's bits, with so many calls of Python functions."""
    compiled = torch.compile(function)
    for arguments in (*several, *several, *several):
        wanted, found = function(*arguments), compiled(*arguments)
        assert found.dtype == wanted.dtype and found.stride() == wanted.stride()
        assert torch.equal(found.isnan(), wanted.isnan())
        same = found == wanted
        assert bool((same | found.isnan()).all())
        if found.is_floating_point():
            assert torch.equal(found.signbit(), wanted.signbit())
    assert compiled.explain().calls["compiled"] >= len(several)
    if python_calls is None:
        return
    text = f", {python_calls} calls of Python functions"
    assert str(compiled.explain()).count(text) == compiled.explain().graph_count


def values(*shape: int) -> torch.Tensor:
    found = torch.randn(*shape)
    found.view(-1)[:: 5] = torch.tensor(float("nan"))
    found.view(-1)[1 :: 7] = -0.0
    found.view(-1)[2 :: 9] = float("-inf")
    return found


@pytest.mark.parametrize("position", [0, 2, -1])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("fill", [0.0, -0.0, float("nan")])
def test_one_position(axis: int, position: int, fill: float) -> None:
    index = (slice(None),) * axis + (position,)

    def write(x: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        made = torch.full_like(x, fill)
        made[index] = value
        return made + x

    shape = [3, 4, 5]
    del shape[axis]
    agree(write, (values(3, 4, 5), values(*shape)))
    agree(write, (values(3, 4, 5), values(shape[1])))  # repeated
    agree(write, (values(3, 4, 5), values(1, 1)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.int32, torch.bool])
def test_dtypes_and_numbers(dtype: torch.dtype) -> None:
    def write(x: torch.Tensor) -> torch.Tensor:
        made = torch.zeros_like(x)
        made[:, 1] = 1
        made[:, 3] = x[:, 0]
        return made

    agree(write, ((torch.randn(6, 5) > 0).to(dtype),))


def test_gradients_of_coordinates() -> None:
    def gradient(boxes: torch.Tensor) -> torch.Tensor:
        boxes.grad = None
        x, y, w, h = (boxes[..., i] for i in range(4))
        ((x - w / 2).clamp(0) * (y + h / 2) + boxes[..., 2] * boxes[..., 3]).sum().backward()
        return boxes.grad.clone()

    agree(gradient, (torch.randn(7, 4, requires_grad=True),),
          (torch.randn(2, 3, 4, requires_grad=True),))


def test_gradients_of_steps_in_time() -> None:
    def gradient(x: torch.Tensor) -> torch.Tensor:
        x.grad = None
        state = torch.zeros(x.shape[0])
        for step in range(x.shape[1]):
            state = state * 0.5 + x[:, step, 0] * x[:, step, 1]
        state.sum().backward()
        return x.grad.clone()

    agree(gradient, (torch.randn(2, 20, 3, requires_grad=True),),
          (torch.randn(5, 20, 3, requires_grad=True),),
          (torch.randn(4, 20, 3, requires_grad=True),))


def test_a_line_of_a_long_array_is_written_in_place() -> None:
    def write(x: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        y = x * 2
        y[17] = value
        return y

    agree(write, (torch.randn(100, 3), torch.randn(3)), python_calls=1)
    agree(write, (torch.randn(100, 3)[:, :1], torch.randn(1)), python_calls=1)


WINDOWS: dict[str, Any] = {
    "first": (slice(None), slice(0, 2)),
    "last": (slice(None), slice(-2, None)),
    "inner": (slice(1, 2), slice(1, 4), slice(2, 3)),
    "ellipsis": (..., slice(1, 3)),
    "lines": (1, slice(1, 3), 2),
    "line of lines": (0, 1),
    "nothing": (slice(2, 2), slice(1, 3)),
    "all": (slice(None), slice(0, 9)),
    "one": (0, 1, -1),
}


@pytest.mark.parametrize("fill", [0.0, -0.0])
@pytest.mark.parametrize("name", WINDOWS)
def test_windows(name: str, fill: float) -> None:
    index = WINDOWS[name]

    def write(x: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        made = torch.full_like(x, fill)
        made[index] = value
        written = x * 1
        written[index] = made[index] - 1
        return made + written

    shape = torch.zeros(2, 4, 5)[index].shape
    agree(write, (values(2, 4, 5), values(*shape) if shape else torch.ones(())), python_calls=None)
    agree(lambda x: write(x, torch.tensor(3.0)), (values(2, 4, 5),), python_calls=None)


@pytest.mark.parametrize("index", [
    (slice(None), slice(1, None)), (slice(None), slice(1, 3), slice(None, 2)),
    (slice(None), 2, slice(1, 4)), (..., slice(2, 4))])
def test_gradients_of_windows(index: Any) -> None:
    def gradient(x: torch.Tensor) -> torch.Tensor:
        x.grad = None
        (x[index].square().sum() + (x[:, 1:] * x[:, :-1]).sum()).backward()
        return x.grad.clone()

    several = [(torch.randn(n, 4, 5, requires_grad=True),) for n in (3, 2, 6, 7)]
    agree(gradient, *several)


def test_steps_are_left_to_numpy() -> None:
    def write(x: torch.Tensor) -> torch.Tensor:
        made = torch.zeros_like(x)
        made[:, ::2] = x[:, ::2]
        return made

    agree(write, (values(3, 6),), python_calls=1)


def test_no_rows() -> None:
    def write(x: torch.Tensor) -> torch.Tensor:
        made = torch.zeros_like(x)
        made[:, 1] = x[:, 0]
        return made

    agree(write, (torch.randn(0, 4),), (torch.randn(3, 4),), python_calls=None)
