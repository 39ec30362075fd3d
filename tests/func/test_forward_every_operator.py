"""Forward mode over every operator of the table, against reverse mode, and both in either order."""

import re

import numpy as np
import pytest
from operator_calls import Call
from operator_samples import ASKED, UNIQUE

import taper as torch
from taper.func import grad, jvp, linearize, vmap

pytestmark = [pytest.mark.filterwarnings("ignore")]

# Second derivatives that PyTorch doesn't have either.
ONCE_ONLY = """nn.functional.ctc_loss ctc_loss""".split()
# Change their argument in place, which a leaf can't be.
CHANGES = """index_put_ resize_as_ as_strided_""".split()
# The shape of the result depends on values.
SHAPED_BY_VALUES = """masked_select""".split()


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield


class Value:
    """A number made of all that an operator returns; and where, along what to differentiate."""

    def __init__(self, path):
        self.call = Call(path, only_floats=True)
        if self.call.positions:
            every = (True,) * len(self.call.positions)
            self.inputs = tuple(self.call.sample(0, every))
            self.direction = tuple(
                (0.7 * torch.arange(1, t.numel() + 1, dtype=torch.float64)).sin().reshape(t.shape)
                .to(t.dtype) for t in self.inputs
            )

    def __call__(self, *tensors):
        total = torch.zeros((), dtype=torch.float64)
        for t in self.call(*tensors):
            if t.is_floating_point() or t.is_complex():
                t = torch.view_as_real(t) if t.is_complex() else t
                weights = torch.arange(t.numel(), dtype=t.dtype).cos().reshape(t.shape)
                total = total + (t * weights).sum()
        return total

    def gradients(self, *tensors):
        return grad(self, argnums=tuple(range(len(tensors))))(*tensors)

    def along(self, *tensors):
        return jvp(self, tensors, self.direction)[1]


def differentiable(path):
    """The operator as a `Value`; the test is skipped if that has no derivative."""
    value = Value(path)
    if value.call.positions:
        leaves = [t.clone().requires_grad_() for t in value.inputs]
        try:
            total = value(*leaves)
            if total.requires_grad:
                total.backward()
                return value
        except RuntimeError as error:
            if not re.search("leaf Variable|not implemented|resize variables", str(error)):
                raise
    return pytest.skip("has no derivative")


ASKED_FOR = [p for p in ASKED if UNIQUE[p].derivatives or UNIQUE[p].is_composite]
every_operator = pytest.mark.parametrize("path", [
    p for p in ASKED_FOR if p not in ONCE_ONLY and p not in CHANGES
])


def inner(first, second):
    """The inner product of real numbers; complex ones are pairs of them."""
    total = 0
    for a, b in zip(first, second, strict=True):
        total = total + (a * b.conj()).real.sum() if a.is_complex() else total + (a * b).sum()
    return total


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, equal_nan=True, rtol=1e-6, atol=1e-8)


@every_operator
def test_forward_is_reverse(path):
    value = differentiable(path)
    expected = inner(value.gradients(*value.inputs), value.direction)
    assert_close(value.along(*value.inputs), expected)
    with torch.no_grad():
        assert_close(value.along(*value.inputs), expected)
    output, derivative = linearize(value, *value.inputs)
    assert_close(output, value(*value.inputs))
    assert_close(derivative(*value.direction), expected)


@every_operator
def test_second_derivatives(path):
    """Forward over reverse, reverse over forward and forward over forward: the same numbers."""
    value = differentiable(path)
    every = tuple(range(len(value.inputs)))

    def slope(*tensors):
        return inner(value.gradients(*tensors), value.direction)

    expected = grad(slope, argnums=every)(*value.inputs)
    forward_over_reverse = jvp(value.gradients, value.inputs, value.direction)[1]
    reverse_over_forward = grad(value.along, argnums=every)(*value.inputs)
    for found in (forward_over_reverse, reverse_over_forward):
        for a, b in zip(found, expected, strict=True):
            assert_close(a, b)
    forward_over_forward = jvp(value.along, value.inputs, value.direction)[1]
    assert_close(forward_over_forward, inner(expected, value.direction))


@every_operator
def test_vmap_of_jvp(path):
    if path in SHAPED_BY_VALUES:
        pytest.skip("its shape depends on values")
    value = differentiable(path)
    directions = tuple(torch.stack([t, 2 * t.flip(-1) if t.dim() else -t]) for t in value.direction)

    def along(*direction):
        return jvp(value, value.inputs, direction)[1]

    expected = torch.stack([along(*[d[i] for d in directions]) for i in range(2)])
    assert_close(vmap(along)(*directions), expected)
