"""What tests of changes between calls have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import taper as torch

CALLS = 4


def check_change(
    function: Callable[[Any], Any], change: Callable[[], Any], x: Any, *, is_captured: bool = True
) -> Any:
    """A function gives something else after a change, compiled as well. Before, it is captured;
    or may be. Returns the compiled function."""
    compiled = torch.compile(function)
    before = function(x)
    for _ in range(CALLS):
        assert torch.equal(compiled(x), before)
    assert compiled.explain().calls["compiled"] > 0 or not is_captured
    change()
    assert not torch.equal(function(x), before)
    for _ in range(CALLS):
        assert torch.equal(compiled(x), function(x))
    return compiled


def check_refused(function: Callable[[Any], Any]) -> None:
    """A function runs as it is, and so gives what it gives."""
    compiled = torch.compile(function)
    for _ in range(CALLS):
        assert torch.equal(compiled(torch.ones(2)), function(torch.ones(2)))
    assert compiled.explain().calls["compiled"] == 0
