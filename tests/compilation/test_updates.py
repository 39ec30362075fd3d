"""State that is changed by Python functions within a program: random steps of such changes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

import taper as torch

pytestmark = pytest.mark.filterwarnings("error:taper couldn't make")

Buffers = list[Any]
CHANGES: list[Callable[[Any, Any], Any]] = [
    lambda a, b: a.copy_(torch.cumsum(b, 0)),
    lambda a, b: a.copy_(b.sort(0)[0] if not b.is_complex() else b.cumprod(0)),
    lambda a, b: a.add_(b),
    lambda a, b: a.mul_(0.5),
    lambda a, b: a.copy_(b),
    lambda a, b: a.cumsum_(0),
    lambda a, b: a.t().copy_(torch.cumsum(b, 1)),
    lambda a, b: a[1:].copy_(torch.cumsum(b, 0)[:-1]),
    lambda a, b: a.normal_(),
    lambda a, b: a.copy_(torch.cat([b[:2], torch.cumsum(b, 0)[2:]])),
    lambda a, b: a.sub_(b.mean(0)),
    lambda a, b: a.index_add_(0, torch.tensor([0, 1]), b[:2]),
    lambda a, b: a.copy_(torch.linalg.qr(b.clone().normal_())[0]),
    lambda a, b: a.addmm_(b, b),
]
RESULTS: list[Callable[[Any], Any]] = [
    lambda a: None, lambda a: a.clone(), lambda a: torch.cumsum(a, 0), lambda a: a, lambda a: a[0],
    lambda a: (a.sum(), torch.cumsum(a, 0).t()),
]
DTYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]


@pytest.mark.parametrize("native", ["now", "off"])
@pytest.mark.parametrize("seed", range(25))
def test_updates_by_functions(seed: int, native: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(torch.settings, "native", native)
    choose = random.Random(seed)
    dtype, size = choose.choice(DTYPES), choose.choice([3, 4, 64])
    count = choose.choice([1, 2, 3])
    lies_across = [choose.random() < 0.3 for _ in range(count)]
    plan = [(choose.choice(CHANGES), choose.randrange(count), choose.randrange(count))
            for _ in range(choose.choice([1, 2, 3, 5]))]
    result, of = choose.choice(RESULTS), choose.randrange(count)

    def start(turn: int = 0) -> Buffers:
        torch.manual_seed(100 * seed + turn)
        made = [torch.randn(size, size, dtype=dtype) for _ in range(count)]
        return [b.t().contiguous().t() if across else b
                for b, across in zip(made, lies_across, strict=True)]

    def run(buffers: Buffers) -> Any:
        for change, to, source in plan:
            change(buffers[to], buffers[source])
        return result(buffers[of])

    eager, own = start(), start()
    compiled = torch.compile(lambda: run(own))
    for turn in range(4):
        for a, b, new in zip(own, eager, start(turn), strict=True):
            a.copy_(new)
            b.copy_(new)
        state = torch.get_rng_state()
        run(eager)
        torch.set_rng_state(state)
        compiled()
        for a, b in zip(own, eager, strict=True):
            scale = float(b.abs().max()) + 1.0
            torch.testing.assert_close(a / scale, b / scale, rtol=1e-4, atol=1e-5)
    assert compiled.explain().calls["compiled"] == 3, compiled.explain()
