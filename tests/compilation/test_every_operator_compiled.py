"""Every operator of the table, compiled, gives what it gives as it is: forward and backward."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taper as torch

sys.path.insert(0, str(Path(__file__).parent.parent / "ops"))
from gradient_samples import RANDOM
from operator_samples import (
    ASKED,
    CONSTANT,
    FINISH,
    PREPARE,
    Maker,
    mapped,
    results_of,
    sample,
    tensors_in,
)

from taper.ops.declare import OPERATORS

pytestmark = [
    pytest.mark.filterwarnings("ignore"), pytest.mark.filterwarnings("error:taper couldn't make"),
]

# Such calls run as they are: the shapes of their results, or what they do, depend on values; they
# change what programs leave alone; or they raise.
AS_THEY_ARE = frozenset("""
    equal allclose is_nonzero masked_select masked_scatter nonzero argwhere unique
    unique_consecutive bincount frombuffer detach_ index_put_ as_strided_ resize_as_
""".split())


@pytest.fixture(autouse=True)
def quiet() -> Any:
    with np.errstate(all="ignore"):
        yield


def step_of(path: str, seed: int | None = None) -> tuple[Any, Any]:
    """The operator as a function of its arguments, which returns results and gradients."""
    args, keywords = RANDOM[path](Maker(path)) if seed is not None else sample(path)
    prepare = PREPARE.get(path, lambda *args: args)
    finish = FINISH.get(path, lambda *results: results)
    function = OPERATORS[path].function

    def step(args: Any, keywords: Any, leaves: Any) -> Any:
        results = [t.clone() for t in results_of(function(*prepare(*args), **keywords))]
        shown = [t for t in finish(*results) if t.requires_grad]
        if not shown or not leaves:
            return results
        loss = sum((t * t.conj()).real.sum() if t.is_complex() else (t * t).sum() for t in shown)
        return [*results, *torch.autograd.grad(loss, leaves, allow_unused=True)]

    return step, (args, keywords)


def fresh(path: str, arguments: Any) -> Any:
    constant = CONSTANT.get(path, ())
    numbers = iter(range(1000))

    def leaf(t: Any) -> Any:
        wanted = t.is_floating_point() and next(numbers) not in constant
        return t.detach().clone().requires_grad_(wanted)

    args, keywords = mapped(leaf, arguments)
    return args, keywords, [t for t in tensors_in((args, keywords)) if t.requires_grad]


def check(path: str, seed: int | None) -> Any:
    step, arguments = step_of(path, seed)
    compiled = torch.compile(step)
    for _ in range(3):
        torch.manual_seed(0)
        try:
            expected = step(*fresh(path, arguments))
        except RuntimeError as error:
            with pytest.raises(type(error)):
                compiled(*fresh(path, arguments))
            return None
        state = torch.get_rng_state()
        torch.manual_seed(0)
        found = compiled(*fresh(path, arguments))
        assert torch.equal(torch.get_rng_state(), state)
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            if b is None:
                assert a is None
                continue
            assert a.shape == b.shape and a.dtype is b.dtype
            if path not in ("empty_like", "empty_strided", "empty_permuted", "new_empty"):
                torch.testing.assert_close(a, b, equal_nan=True)
    return compiled.explain()


@pytest.mark.parametrize("path", ASKED)
def test_compiled(path: str) -> None:
    found = check(path, None)
    assert found is None or found.graph_count or path in AS_THEY_ARE, found


@pytest.mark.parametrize("path", RANDOM)
def test_random_operators_compiled(path: str) -> None:
    check(path, 0)
