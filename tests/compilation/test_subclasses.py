"""Users' subclasses of taper's classes: taper's own code reads their attributes and methods."""
# ruff: noqa: PLW0108 - what is compiled is a function of a user, as it is written

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import taper as torch
from taper import nn

gain = [2.0]


class Dropped(nn.Dropout):
    pass


class Normed(nn.BatchNorm1d):
    pass


class Padded(nn.Conv1d):
    def _conv_forward(self, input: Any, weight: Any, bias: Any) -> Any:
        return super()._conv_forward(input, weight, bias) * gain[0]


class Block(nn.TransformerEncoderLayer):
    def _ff_block(self, x: Any) -> Any:
        return super()._ff_block(x) * gain[0]


class Scaled(torch.distributions.transforms.ExpTransform):
    def _call(self, x: Any) -> Any:
        return x * gain[0]


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 2

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad * gain[0]


class Repeated(nn.Module):
    def extra_repr(self) -> str:
        return "x" * int(gain[0])

    def get_extra_state(self) -> Any:
        return gain[0]


torch.manual_seed(0)
dropped, normed = Dropped(0.0), Normed(3).eval()
padded, block = Padded(2, 2, 1), Block(4, 2, 8, dropout=0.0).eval()
linear, scaled, repeated = nn.Linear(3, 3), Scaled(), Repeated()
tagged = nn.Parameter(torch.ones(3))
tagged.tag = "first"  # type: ignore[attr-defined]


def gradient(x: Any) -> Any:
    x = x.clone().requires_grad_()
    Doubled.apply(x).sum().backward()
    return x.grad


def gradient_of_tagged(x: Any) -> Any:
    tagged.grad = None
    (tagged * x).sum().backward()
    return tagged.grad.clone()  # type: ignore[union-attr]


def more(_: Any) -> None:
    gain[0] += 1


CHANGES: dict[str, tuple[Callable[..., Any], Callable[[Any], Any]]] = {
    "an attribute of a layer": (
        lambda x: dropped(x), lambda _: setattr(dropped, "p", 1.0 - dropped.p)),
    "another attribute": (lambda x: normed(x), lambda _: setattr(normed, "eps", normed.eps + 1)),
    "a method that forward calls": (
        lambda x: padded(x.reshape(1, 1, 6).expand(1, 2, 6)), more),
    "a method of a block": (lambda x: block(x.reshape(1, 6)[:, :4].reshape(1, 1, 4)), more),
    "a method of a transform": (lambda x: scaled(x), more),
    "the backward of a function": (gradient, more),
    "what a text has": (lambda x: x * len(repr(repeated)), more),
    "what a state has": (lambda x: x * repeated.state_dict()["_extra_state"], more),
    "a new attribute": (
        lambda x: x * getattr(linear, "gain", 1.0), lambda _: setattr(linear, "gain", 3.0)),
    "a method of one layer": (
        lambda x: linear(x), lambda _: setattr(linear, "forward", lambda x: x * 5)),
    "a hook of a tensor that has an attribute": (
        gradient_of_tagged, lambda _: tagged.register_hook(lambda grad: grad * 7)),
}


@pytest.mark.parametrize("case", CHANGES)
def test_changes_between_calls(case: str) -> None:
    function, change = CHANGES[case]
    compiled = torch.compile(function)
    x = torch.arange(1.0, 7.0).reshape(2, 3)
    for then in (None, change, change):
        if then is not None:
            then(None)
        for _ in range(4):
            assert torch.allclose(compiled(x), function(x), atol=1e-6)
    assert compiled.explain().calls["compiled"] > 2


def test_schedulers_count_once() -> None:
    class Halved(torch.optim.lr_scheduler.LRScheduler):
        def get_lr(self) -> list[float]:
            return [base * 0.5 ** self.last_epoch for base in self.base_lrs]

    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=1.0)
    scheduler = Halved(optimizer)

    def step(x: Any) -> Any:
        optimizer.step()
        scheduler.step()
        return x * 2

    compiled = torch.compile(step)
    for i in range(1, 6):
        compiled(torch.ones(2))
        assert scheduler.last_epoch == i and optimizer.param_groups[0]["lr"] == 0.5 ** i


def test_effects_of_methods_that_own_code_calls() -> None:
    seen = []

    class Checked(nn.BatchNorm1d):
        def _check_input_dim(self, input: Any) -> None:
            seen.append(input.shape[0])

    layer = Checked(3)
    compiled = torch.compile(lambda x: layer(x))
    for _ in range(5):
        compiled(torch.randn(4, 3))
    assert seen == [4] * 5
