"""Convolutions and pooling in programs: native launches, with what is fused into them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from needed_kernels import needs_kernels
from test_program import check

import taper as torch
from taper import nn
from taper.compilation.program import Program
from taper.compiler.machine import vector_bytes

pytestmark = needs_kernels

F = torch.nn.functional


def with_gradients(function: Callable[..., Any]) -> Callable[..., Any]:
    """The value of a function, and the gradients of its tensors."""

    def compute(*tensors: torch.Tensor) -> Any:
        own = [t.clone().requires_grad_() for t in tensors]
        y = function(*own)
        loss = (y * y * torch.arange(y.numel()).reshape(y.shape).div(y.numel()).cos()).sum()
        return y, *torch.autograd.grad(loss, own)

    return compute


def steps_of(program: Program) -> list[str]:
    return [line for line in program.describe().split("\n") if not line.startswith("    ")]


def is_native(program: Program) -> bool:
    return not any(line.startswith("call") for line in steps_of(program))


CONVOLUTIONS = {
    "3 x 3": ((2, 8, 9, 10), (12, 8, 3, 3), {"padding": 1}),
    "stride": ((2, 5, 9, 11), (7, 5, 3, 3), {"stride": 2, "padding": 1}),
    "dilation": ((2, 3, 12, 9), (4, 3, 3, 2), {"dilation": (2, 3)}),
    "groups": ((2, 6, 8, 8), (9, 2, 3, 3), {"groups": 3, "padding": 1}),
    "of pixels": ((2, 4, 6, 7), (5, 4, 1, 1), {}),
    "line": ((3, 4, 40), (6, 4, 5), {"padding": 2}),
    "volume": ((1, 2, 5, 6, 7), (4, 2, 3, 3, 3), {"padding": 1}),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("has_bias", [False, True])
def test_convolutions(case: str, has_bias: bool) -> None:
    size, window, options = CONVOLUTIONS[case]
    function = getattr(F, f"conv{len(size) - 2}d")
    torch.manual_seed(0)
    x, weight, bias = torch.randn(size), torch.randn(window), torch.randn(window[0])
    if has_bias:
        program = check(with_gradients(lambda x, w, b: function(x, w, b, **options)),
                        x, weight, bias, ulps=64)
    else:
        program = check(with_gradients(lambda x, w: function(x, w, **options)), x, weight, ulps=64)
    assert is_native(program)


@pytest.mark.parametrize("options", [{"stride": 2, "padding": 1, "output_padding": 1}, {}])
def test_transposed_convolutions(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 6, 5, 7), torch.randn(6, 9, 3, 3), torch.randn(9)
    program = check(with_gradients(lambda x, w, b: F.conv_transpose2d(x, w, b, **options)),
                    x, weight, bias, ulps=64)
    assert is_native(program)


POOLS: dict[str, Callable[[Any], Any]] = {
    "max": lambda x: F.max_pool2d(x, 2),
    "max of others": lambda x: F.max_pool2d(x, 3, 2, 1),
    "mean": lambda x: F.avg_pool2d(x, 2),
    "mean of others": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, (5, 1)),
    "of all": lambda x: F.adaptive_avg_pool2d(x, 1),
    "after a floor": lambda x: F.max_pool2d(F.relu(x), 2),
}


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("size", [(10, 12), (15, 27)])
def test_pooling(name: str, size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    x = torch.randn(2, 3, *size)
    program = check(with_gradients(POOLS[name]), x, ulps=32)
    assert is_native(program)


def test_a_floor_is_part_of_the_convolution_and_of_the_gradient() -> None:
    torch.manual_seed(2)
    x, weight, bias = torch.randn(2, 8, 12, 12), torch.randn(8, 8, 3, 3), torch.randn(8)
    program = check(
        with_gradients(lambda x, w, b: F.max_pool2d(F.relu(F.conv2d(x, w, b, padding=1)), 2)),
        x, weight, bias, ulps=64)
    steps = steps_of(program)
    assert is_native(program)
    assert not any("maximum" in step or "less_equal" in step for step in steps)
    if vector_bytes() >= 32:
        assert any("convolve" in step and ": convolution" in step for step in steps)


def test_a_floor_of_what_others_read_is_not() -> None:
    torch.manual_seed(3)
    x, weight = torch.randn(2, 4, 6, 6), torch.randn(5, 4, 3, 3)

    def both(x: Any, weight: Any) -> Any:
        y = F.conv2d(x, weight)
        return F.relu(y) + y

    check(with_gradients(both), x, weight, ulps=64)


def test_a_floor_behind_a_view_of_the_result_is_a_step_of_its_own() -> None:
    torch.manual_seed(5)
    x, weight = torch.randn(3, 6, 6), torch.randn(5, 3, 3, 3)  # an image without a batch
    check(lambda x, w: F.relu(F.conv2d(x, w)), x, weight, ulps=64)
    check(lambda x, w: F.conv2d(x, w, dilation=2).relu_().clone(), x, weight, ulps=64)


def test_operands_that_lie_otherwise() -> None:
    torch.manual_seed(4)
    x, weight = torch.randn(2, 7, 9, 8).permute(0, 3, 1, 2), torch.randn(9, 3, 3, 8)
    program = check(
        with_gradients(lambda x, w: F.max_pool2d(F.conv2d(x, w.permute(0, 3, 1, 2)).mT, 2)),
        x, weight, ulps=64)
    assert is_native(program)


def test_a_network_follows_the_eager_one() -> None:
    class Block(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(width)
            self.second = nn.Conv2d(width, width, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.relu(x + self.second(F.relu(self.norm(self.first(x)))))

    def run(is_compiled: bool) -> list[float]:
        torch.manual_seed(5)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), Block(8), nn.MaxPool2d(2),
            nn.ConvTranspose2d(8, 4, 2, stride=2), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.Linear(16, 5))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        x, y = torch.randn(6, 3, 16, 16), torch.randint(0, 5, (6,))

        def step() -> torch.Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            return loss.detach()

        call = torch.compile(step) if is_compiled else step
        return [float(call()) for _ in range(8)]

    wanted, found = run(False), run(True)
    assert wanted[-1] < wanted[0]
    assert found == pytest.approx(wanted, rel=1e-4)
