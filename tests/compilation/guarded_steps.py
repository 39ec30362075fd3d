"""A step on two equal networks, one of them compiled, and what both have to give."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import taper as torch
from taper import nn
from taper.nn import functional as F


class Pair:
    """The same training step twice: one compiled, one not; whatever is done is done to both."""

    def __init__(
        self, optimizer: Callable[..., Any] = torch.optim.SGD, *, model: Any = None, **options: Any
    ) -> None:
        self.sides = []
        for compiled in (False, True):
            torch.manual_seed(0)
            net = nn.Sequential(
                nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2),
                nn.Linear(8, 3),
            ) if model is None else model()
            side = types.SimpleNamespace(net=net, opt=optimizer(net.parameters(), **options))
            side.step = make_step(side.net, side.opt)
            if compiled:
                side.step = torch.compile(side.step)
            self.sides.append(side)
        self.step = self.sides[1].step
        torch.manual_seed(1)
        self.x, self.y = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])

    def both(self, change: Callable[[Any], Any]) -> None:
        for side in self.sides:
            change(side)

    def run(self, times: int = 3, x: Any = None, y: Any = None) -> None:
        """Runs both sides and compares all there is."""
        x, y = self.x if x is None else x, self.y if y is None else y
        for _ in range(times):
            results = []
            state = torch.get_rng_state()
            for side in self.sides:
                torch.set_rng_state(state)
                loss = side.step(x, y)
                results.append((loss.detach(), torch.get_rng_state()))
            assert torch.equal(results[0][1], results[1][1])
            close(results[0][0], results[1][0])
        eager, compiled = (s.net.state_dict() for s in self.sides)
        for name in eager:
            close(compiled[name], eager[name])
        for p, q in zip(*[s.net.parameters() for s in self.sides], strict=True):
            assert (p.grad is None) == (q.grad is None)
            if p.grad is not None:
                close(q.grad, p.grad)
            assert p._version == q._version and p.requires_grad == q.requires_grad
        states = [s.opt.state_dict()["state"] for s in self.sides]
        assert states[0].keys() == states[1].keys()
        for key, entry in states[0].items():
            for name, value in entry.items():
                if isinstance(value, torch.Tensor):
                    close(states[1][key][name], value)

    def programs(self) -> int:
        return self.step.explain().graph_count

    def compiled_calls(self) -> int:
        return self.step.explain().calls["compiled"]


def close(a: Any, b: Any) -> None:
    assert a.dtype == b.dtype and a.shape == b.shape
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)


def make_step(net: Any, opt: Any) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        opt.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
        return loss

    return step
