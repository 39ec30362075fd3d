"""Threads that share tensors with a step that another one records."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import taper as torch
from taper import nn

SECONDS = 1.5


@pytest.mark.parametrize("is_compiled", [False, True])
def test_calls_beside_recordings(is_compiled: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))
    x = torch.randn(4, 16)
    with torch.no_grad():
        expected = model(x)
    shared: Callable[..., Any] = torch.compile(model) if is_compiled else model
    problems: list[Any] = []
    end = time.monotonic() + SECONDS

    def call(make: Callable[[], Callable[..., Any]], calls: int) -> None:
        while time.monotonic() < end:
            function = make()
            for _ in range(calls):
                try:
                    with torch.no_grad():
                        if not torch.allclose(function(x), expected, atol=1e-5):
                            problems.append("other numbers")
                except Exception as error:
                    problems.append(error)

    threads = [threading.Thread(target=call, args=(lambda: shared, 1)) for _ in range(2)]
    for thread in threads:
        thread.start()
    call(lambda: torch.compile(lambda x: model(x) * 1), 3)
    for thread in threads:
        thread.join()
    assert not problems


def test_a_call_that_takes_long_is_not_waited_for() -> None:
    weight = torch.ones(3)
    go_on, is_inside = threading.Event(), threading.Event()

    def waits(x: Any) -> Any:
        is_inside.set()
        go_on.wait(20)
        return x * weight

    slow = torch.compile(waits)
    thread = threading.Thread(target=slow, args=(torch.ones(3),))
    thread.start()
    is_inside.wait(20)
    compiled = torch.compile(lambda x: x * weight)
    try:
        for _ in range(4):
            assert torch.equal(compiled(torch.ones(3)), weight)
        assert compiled.explain().calls["compiled"] == 0
    finally:
        go_on.set()
        thread.join()
    time.sleep(1.1)  # nobody tries again at once
    for _ in range(4):
        compiled(torch.ones(3))
    assert compiled.explain().calls["compiled"] > 0
