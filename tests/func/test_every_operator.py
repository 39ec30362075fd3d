"""vmap, grad and both of them in either order, over every operator of the table.

The results are compared with a loop over the samples.
"""

import numpy as np
import pytest
from operator_calls import SAMPLES, Call
from operator_samples import ASKED, UNIQUE

import taper as torch
from taper.func import grad, vmap

pytestmark = [pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield


# One sample has a result of another shape than the next, or the result is no tensor.
SHAPED_BY_VALUES = """nonzero argwhere unique unique_consecutive bincount""".split()
NO_TENSOR = """equal allclose is_nonzero""".split()
# Changes an argument in place, which must be batched if the others are.
CHANGES = """index_put_""".split()


def expected_error(path, way):
    if path in SHAPED_BY_VALUES or (path == "masked_select" and way[1]):
        return "dynamic shape"
    if path in NO_TENSOR:
        return "data-dependent control flow"
    if path in CHANGES and not way[0]:
        return "inplace arithmetic"
    return None


@pytest.mark.parametrize("path", ASKED)
def test_vmap(path):
    call = Call(path)
    if not call.positions:
        pytest.skip("takes no tensors")
    for way in call.ways():
        dims = tuple([0 if b else None for b in way])
        error = expected_error(path, way)
        if error:
            with pytest.raises(RuntimeError, match=error):
                vmap(call, in_dims=dims)(*call.stacked(way))
            continue
        found = vmap(call, in_dims=dims)(*call.stacked(way))
        expected = [call(*call.sample(i, way)) for i in range(SAMPLES)]
        assert len(found) == len(expected[0])
        for a, *b in zip(found, *expected, strict=True):
            torch.testing.assert_close(a, torch.stack(b), equal_nan=True)


# -- with derivatives ------------------------------------------------------------------------------


class Value:
    """A number made of all that an operator returns, so that it has one gradient."""

    def __init__(self, call):
        self.call = call

    def __call__(self, *tensors):
        total = torch.zeros((), dtype=torch.float64)
        for t in self.call(*tensors):
            if t.requires_grad:
                t = torch.view_as_real(t) if t.is_complex() else t
                weights = torch.arange(t.numel(), dtype=t.dtype).cos().reshape(t.shape)
                total = total + (t * weights).sum()
        return total

    def gradients(self, tensors):
        leaves = [t.clone().requires_grad_() for t in tensors]
        total = self(*leaves)
        if not total.requires_grad:
            return None
        found = torch.autograd.grad(total, leaves, allow_unused=True)
        return [torch.zeros_like(t) if g is None else g
                for g, t in zip(found, leaves, strict=True)]


def differentiable(path):
    """The operator as a `Value` and its gradients for each sample; None if it has none."""
    call = Call(path, only_floats=True)
    if not call.positions or path in SHAPED_BY_VALUES:
        return None
    value = Value(call)
    every = (True,) * len(call.positions)
    try:
        gradients = [value.gradients(call.sample(i, every)) for i in range(SAMPLES)]
    except RuntimeError as error:
        if "leaf Variable" in str(error) or "not implemented" in str(error) or (
            "resize variables" in str(error)
        ):
            return None
        raise
    return None if gradients[0] is None else (call, value, gradients)


DIFFERENTIABLE = [p for p in ASKED if UNIQUE[p].derivatives or UNIQUE[p].is_composite]


def assert_all_close(found, expected):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, equal_nan=True)


@pytest.mark.parametrize("path", DIFFERENTIABLE)
def test_vmap_of_grad(path):
    made = differentiable(path)
    if made is None:
        pytest.skip("has no derivative")
    call, value, gradients = made
    every = (True,) * len(call.positions)
    found = vmap(grad(value, argnums=tuple(range(len(every)))))(*call.stacked(every))
    assert_all_close(found, [torch.stack(column) for column in zip(*gradients, strict=True)])


@pytest.mark.parametrize("path", DIFFERENTIABLE)
def test_grad_of_vmap(path):
    """What is mapped over has the gradients of the samples, what they share has their sum."""
    made = differentiable(path)
    if made is None:
        pytest.skip("has no derivative")
    call, value, gradients = made
    for way in call.ways():
        dims = tuple([0 if b else None for b in way])
        if not all(way):
            gradients = [value.gradients(call.sample(i, way)) for i in range(SAMPLES)]

        def total(*tensors, dims=dims):
            return vmap(value, in_dims=dims)(*tensors).sum()

        found = grad(total, argnums=tuple(range(len(way))))(*call.stacked(way))
        columns = [torch.stack(column) for column in zip(*gradients, strict=True)]
        assert_all_close(
            found, [c if b else c.sum(0) for c, b in zip(columns, way, strict=True)])
