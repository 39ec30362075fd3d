"""Every operator, and its derivative, is recorded and replayed: the graph computes the same.

Samples are those of operator_samples.py.
"""

import numpy as np
import pytest
from operator_samples import CONSTANT, mapped, missing_sample, sample, unique_operators

import taper as torch
from taper import Tensor
from taper.capture import record
from taper.ops.declare import OPERATORS

ASKED = [path for path in unique_operators() if missing_sample(path) is None]

# A graph has shapes, and no values to give to Python.
REFUSED = """masked_select nonzero argwhere unique unique_consecutive bincount equal allclose
    is_nonzero""".split()
REFUSED_BACKWARD = [*REFUSED, "masked_scatter"]

pytestmark = [pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield


def tensors_in(value):
    """Each tensor of a structure once; named tuples are no structures to rebuild."""
    found = []
    if isinstance(value, Tensor):
        return [value]
    for v in value.values() if isinstance(value, dict) else value if isinstance(
        value, (tuple, list)
    ) else ():
        found += [t for t in tensors_in(v) if all(t is not other for other in found)]
    return found


def arguments_of(path, requires_grad):
    constant = CONSTANT.get(path, ())
    numbers = iter(range(1000))

    def leaf(t):
        wanted = next(numbers) not in constant and t.dtype.is_floating_point and requires_grad
        return t.detach().clone().requires_grad_(wanted)

    return mapped(leaf, sample(path))


def assert_replays(step, inputs):
    values = [t.detach().numpy().copy() for t in inputs]
    torch.manual_seed(0)
    graph = record(step, *inputs)
    torch.manual_seed(0)
    found = graph.run(*[v.copy() for v in values])
    torch.manual_seed(0)
    expected = step(*inputs)
    results = [found[name] for name in found if name.startswith("result")]
    assert len(results) == len(expected)
    for value, t in zip(results, expected, strict=True):
        assert value.dtype == t.detach().numpy().dtype
        np.testing.assert_allclose(value, t.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("path", ASKED)
def test_forward(path):
    args, keywords = arguments_of(path, False)
    inputs = tensors_in((args, keywords))
    if not inputs:
        return

    def step(*values):
        given = dict(zip(map(id, inputs), values, strict=True))
        a, k = mapped(lambda t: given[id(t)], (args, keywords))
        return tensors_in(OPERATORS[path].function(*a, **k))

    if path in REFUSED:
        with pytest.raises(NotImplementedError):
            record(step, *inputs)
        return
    assert_replays(step, inputs)


@pytest.mark.parametrize("path", ASKED)
def test_derivative(path):
    args, keywords = arguments_of(path, True)
    inputs = tensors_in((args, keywords))
    leaves = [i for i, t in enumerate(inputs) if t.requires_grad]

    def step(*values):
        given = dict(zip(map(id, inputs), values, strict=True))
        a, k = mapped(lambda t: given[id(t)], (args, keywords))
        results = [t for t in tensors_in(OPERATORS[path].function(*a, **k)) if t.requires_grad]
        if not results:
            return []
        loss = sum(((t * t.conj()).real if t.is_complex() else t * t).sum() for t in results)
        found = torch.autograd.grad(loss, [values[i] for i in leaves], allow_unused=True)
        return [g for g in found if g is not None]

    if not leaves:
        return
    if path in REFUSED_BACKWARD:
        with pytest.raises(NotImplementedError):
            record(step, *inputs)
        return
    try:
        step(*inputs)
    except (RuntimeError, NotImplementedError) as error:
        # No derivative, or it changes its input, which is a leaf here; asked elsewhere.
        assert any(words in str(error) for words in (
            "not implemented", "leaf Variable", "resize variables", "no derivative",
        )), error
        return
    assert_replays(step, inputs)


@pytest.mark.parametrize("path", [
    p for p in ASKED if unique_operators()[p].has_inplace
    and p not in ("floor_divide", "heaviside", "masked_scatter")  # no derivative, or not recorded
])
def test_in_place_on_a_view(path):
    """A write into half of a tensor, and the gradient through it."""
    args, keywords = arguments_of(path, True)
    inputs = tensors_in((args, keywords))
    leaves = [i for i, t in enumerate(inputs) if t.requires_grad]
    expected = OPERATORS[path].function(*args, **keywords)
    if expected.shape != args[0].shape or expected.dtype is not args[0].dtype:
        return

    def step(*values):
        given = dict(zip(map(id, inputs), values, strict=True))
        (first, *rest), k = mapped(lambda t: given[id(t)], (args, keywords))
        pair = torch.stack([first, first])
        unique_operators()[path].inplace(pair[1], *rest, **k)
        if not pair.requires_grad:
            return [pair]
        loss = (pair * pair).sum()
        found = torch.autograd.grad(loss, [values[i] for i in leaves], allow_unused=True)
        return [pair, *[g for g in found if g is not None]]

    assert_replays(step, inputs)
