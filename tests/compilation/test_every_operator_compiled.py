"""Every operator of the table, compiled, gives what it gives as it is: forward and backward.

Programs that NumPy runs give the same bits, but for what sums in another order; programs of machine
code, which has sums and elementary functions of its own, are within UNITS of the last place of the
largest element (or of 1, if that is more).
"""

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

UNITS = 32
SUMS = frozenset("""
    linalg.det linalg.matrix_norm masked.log_softmax masked.softmin nn.functional.cross_entropy
    nn.functional.linear_cross_entropy nn.functional.log_softmax nn.functional.nll_loss
    nn.functional.multi_head_attention_forward nn.functional.softmax nn.functional.softmin
    softmax log_softmax stft
""".split())
UNINITIALIZED = frozenset("empty_like empty_strided empty_permuted new_empty".split())


@pytest.fixture(autouse=True, params=["off", "now"])
def native(request: Any) -> Any:
    """Programs run by NumPy, or all their kernels are compiled at once."""
    before, torch.settings.native = torch.settings.native, request.param
    with np.errstate(all="ignore"):
        yield request.param
    torch.settings.native = before


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


def units_off(found: Any, expected: Any) -> float:
    """By how many units of the last place of the largest element two tensors differ."""
    assert found.shape == expected.shape and found.dtype is expected.dtype
    if found.layout is not torch.strided:
        found, expected = found.to_dense(), expected.to_dense()
    a, b = found.detach().numpy(), expected.detach().numpy()
    if np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"):
        return 0.0
    finite = np.isfinite(b)
    if a.dtype.kind not in "fc" or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return np.inf
    largest = max(1.0, np.abs(b[finite]).max())
    return float(np.abs(a[finite] - b[finite]).max() / largest / np.finfo(a.dtype).eps)


def check(path: str, seed: int | None, native: str) -> Any:
    step, arguments = step_of(path, seed)
    compiled = torch.compile(step)
    allowed = UNITS if native == "now" or path in SUMS else 0
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
            assert (a is None) is (b is None)
            if b is not None and path not in UNINITIALIZED:
                assert units_off(a, b) <= allowed
    return compiled.explain()


@pytest.mark.parametrize("path", ASKED)
def test_compiled(path: str, native: str) -> None:
    found = check(path, None, native)
    assert found is None or found.graph_count or path in AS_THEY_ARE, found


@pytest.mark.parametrize("path", RANDOM)
def test_random_operators_compiled(path: str, native: str) -> None:
    check(path, 0, native)
