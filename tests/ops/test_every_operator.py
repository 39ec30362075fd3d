"""Asks every operator of the table the same questions, on the samples of operator_samples.py."""

import re
from collections import Counter

import numpy as np
import pytest
from gradient_samples import CALLS, NO_DERIVATIVE, OPTIONS, RANDOM, SPARSE, calls
from operator_samples import (
    ASKED,
    CONSTANT,
    FINISH,
    PREPARE,
    UNIQUE,
    Maker,
    mapped,
    missing_sample,
    results_of,
    sample,
    tensors_in,
)

import taper as torch
from taper import Tensor
from taper.autograd import gradcheck, gradgradcheck
from taper.ops import without_data
from taper.ops.declare import OPERATORS


def call(path, args, keywords, **more):
    return OPERATORS[path].function(*args, **keywords, **more)


def assert_equal(found, expected):
    found, expected = results_of(found), results_of(expected)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape and a.dtype is b.dtype
        torch.testing.assert_close(a, b, equal_nan=True)


pytestmark = [pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield


def test_most_operators_are_asked():
    reasons = Counter(missing_sample(path) for path in UNIQUE)
    assert len(ASKED) > 600 and reasons["takes what no rule makes"] == 0, reasons


# -- documentation --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", UNIQUE)
def test_says_what_it_does(path):
    text = UNIQUE[path].forward.__doc__
    assert text, "no docstring"
    summary = text.strip().split("\n\n")[0]
    first = summary.split("\n")[0]
    assert re.search(r"[.:]$", first) or re.search(r"[.:]$", summary) or ". " in summary, summary


# -- derivatives -----------------------------------------------------------------------------------

# PyTorch has no derivative either, and says so in backward().
WITHOUT_DERIVATIVE = """floor_divide heaviside linalg.ldl_factor linalg.ldl_factor_ex
    linalg.ldl_solve geqrf unique unique_consecutive histogram histogramdd""".split()

def differentiable_call(path, arguments=None, seed=None):
    """The operator as a function of its floating inputs, and those inputs; None if it has none."""
    args, keywords = arguments or sample(path)
    tensors = tensors_in((args, keywords))
    leaves = [t for i, t in enumerate(tensors) if i not in CONSTANT.get(path, ())
              and t.dtype in (torch.float64, torch.complex128)]
    prepare = PREPARE.get(path, lambda *args: args)
    finish = FINISH.get(path, lambda *results: results)
    if not leaves:
        return None

    def results(*values):
        replacement = dict(zip(map(id, leaves), values, strict=True))
        new_args, new_keywords = mapped(lambda t: replacement.get(id(t), t), (args, keywords))
        if seed is not None:
            torch.manual_seed(seed)
        return finish(*results_of(call(path, prepare(*new_args), new_keywords)))

    inputs = tuple(t.detach().clone().requires_grad_() for t in leaves)
    try:
        recorded = [i for i, t in enumerate(results(*inputs)) if t.requires_grad]
    except RuntimeError as error:
        if "leaf Variable" in str(error) or "resize variables" in str(error):
            return None
        raise
    if not recorded:
        return None
    return lambda *values: tuple(results(*values)[i] for i in recorded), inputs


@pytest.mark.parametrize("path", [p for p in ASKED if UNIQUE[p].derivatives])
def test_records(path):
    """What has a derivative rule makes results that require grad."""
    assert differentiable_call(path) is not None


@pytest.mark.parametrize("path", ASKED)
def test_derivatives(path):
    found = differentiable_call(path)
    if found is None:
        return
    function, inputs = found
    if path in WITHOUT_DERIVATIVE:
        with pytest.raises(RuntimeError, match="not implemented"):
            sum(t.sum() for t in function(*inputs)).backward()
        return
    assert gradcheck(function, inputs)
    assert gradgradcheck(function, inputs)


@pytest.mark.parametrize("path", sorted(OPTIONS.keys() | CALLS.keys()))
def test_derivatives_with_options(path):
    for number, arguments in enumerate(calls(path)):
        found = differentiable_call(path, arguments)
        assert found is not None, number
        assert gradcheck(*found), number
        assert gradgradcheck(*found, fast_mode=True), number


@pytest.mark.parametrize("path", RANDOM)
def test_derivatives_of_random_operators(path):
    found = differentiable_call(path, RANDOM[path](Maker(path)), seed=3)
    assert gradcheck(*found)
    assert gradgradcheck(*found)


@pytest.mark.parametrize("path", SPARSE)
def test_derivatives_of_sparse_operators(path):
    function, make = SPARSE[path]
    inputs = tuple(t.requires_grad_() for t in make(Maker(path)))
    assert gradcheck(function, inputs)
    assert gradgradcheck(function, inputs)


def test_no_derivative_is_forgotten():
    asked = {*ASKED, *RANDOM, *SPARSE}
    assert set(UNIQUE) - asked == set(NO_DERIVATIVE)


def with_imaginary_part(t):
    """Complex numbers from the floats, away from the real axis."""
    if not t.is_floating_point():
        return t
    return torch.complex(t, t.flatten().flip(0).reshape(t.shape) * 0.5 + 0.1)


# They take complex numbers, in PyTorch as here, but what they compute is not complex:
NOT_COMPLEX = {
    **dict.fromkeys("""linalg.ldl_factor linalg.ldl_factor_ex linalg.ldl_solve
        geqrf""".split(), "no derivative, as in PyTorch"),
    "masked.median": "orders complex numbers by their real parts, as PyTorch does",
}
# Their complex second derivatives are those of hundreds of products, sums and tanh, which are asked
# for themselves; together they take half a minute.
RECURRENT = frozenset("lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell".split())
REFUSED = ("not implemented for", "complex", "Complex", "floating", "float or double",
           "Half, Float or Double", "Half, BFloat16, Float, Double")


@pytest.mark.parametrize("path", [path for path in ASKED if path not in NOT_COMPLEX])
def test_derivatives_of_complex_numbers(path):
    """Or an operator says that it doesn't take them."""
    arguments = mapped(with_imaginary_part, sample(path))
    if not any(t.is_complex() for t in tensors_in(arguments)):
        return
    try:
        found = differentiable_call(path, arguments)
    except (RuntimeError, ValueError) as error:
        assert any(words in str(error) for words in REFUSED), error
        return
    if found is not None:
        is_large = sum(t.numel() for t in found[1]) > 20
        assert gradcheck(*found, fast_mode=is_large)
        if path not in RECURRENT:
            assert gradgradcheck(*found, fast_mode=True)


# -- other forms -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [p for p in ASKED if UNIQUE[p].has_inplace])
def test_in_place(path):
    args, keywords = sample(path)
    expected = call(path, args, keywords)
    target = args[0].clone()
    if target.shape != expected.shape or target.dtype is not expected.dtype:
        return
    version = target._version
    assert UNIQUE[path].inplace(target, *args[1:], **keywords) is target
    assert_equal(target, expected)
    assert target._version > version


@pytest.mark.parametrize("path", [p for p in ASKED if UNIQUE[p].has_out])
def test_out(path):
    args, keywords = sample(path)
    expected = call(path, args, keywords)
    outs = [torch.empty(0, dtype=t.dtype) for t in results_of(expected)]
    out = outs[0] if isinstance(expected, Tensor) else tuple(outs)
    assert_equal(call(path, args, keywords, out=out), expected)
    assert_equal(outs, expected)


def spread_out(t):
    """The same values with gaps between them in memory, and the first two dimensions swapped."""
    if t.dim() == 0:
        return t
    wide = t.new_zeros((*t.shape[:-1], 2 * t.shape[-1]))
    if t.dim() > 1:
        wide = wide.transpose(0, 1).contiguous().transpose(0, 1)
    view = wide[..., ::2]
    view.copy_(t)
    return view


# These are about memory; view_as_complex takes pairs that lie together.
ABOUT_MEMORY = """as_strided as_strided_copy as_strided_scatter as_strided_ view_as_complex
    view_copy resize_as_""".split()


@pytest.mark.parametrize("path", [path for path in ASKED if path not in ABOUT_MEMORY])
def test_strides_do_not_matter(path):
    args, keywords = sample(path)
    expected = call(path, *mapped(torch.clone, (args, keywords)))
    found = call(path, *mapped(spread_out, (args, keywords)))
    assert_equal(found, expected)


# -- without data ----------------------------------------------------------------------------------

SHAPED_BY_VALUES = "masked_select nonzero argwhere unique unique_consecutive bincount".split()


@pytest.mark.parametrize("path", ASKED)
def test_shapes_without_data(path, monkeypatch):
    """Nothing is computed for them, not even for an example."""
    monkeypatch.setattr(without_data, "_example", None)
    args, keywords = sample(path)
    expected = results_of(call(path, args, keywords))
    if not expected or not tensors_in((args, keywords)):
        return
    on_meta = mapped(lambda t: t.to("meta"), (args, keywords))
    if path in SHAPED_BY_VALUES:
        with pytest.raises(NotImplementedError, match="depends on values"):
            call(path, *on_meta)
        return
    found = results_of(call(path, *on_meta))
    assert [(t.shape, t.dtype) for t in found] == [(t.shape, t.dtype) for t in expected]
    assert all(t.device.type == "meta" for t in found)


@pytest.mark.parametrize("path", [p for p in ASKED if p not in WITHOUT_DERIVATIVE])
def test_gradients_without_data(path):
    """They have the shapes and dtypes of gradients with data."""
    constant = CONSTANT.get(path, ())

    def gradients(device):
        numbers = iter(range(1000))

        def leaf(t):
            wanted = t.is_floating_point() and next(numbers) not in constant
            return t.detach().clone().to(device).requires_grad_(wanted)

        args, keywords = mapped(leaf, sample(path))
        leaves = [t for t in tensors_in((args, keywords)) if t.requires_grad]
        results = [t for t in results_of(call(path, args, keywords)) if t.requires_grad]
        if not results:
            return None
        loss = sum((t.real * t.real).sum() if t.is_complex() else (t * t).sum() for t in results)
        found = torch.autograd.grad(loss, leaves, allow_unused=True)
        return [None if g is None else (g.shape, g.dtype) for g in found]

    try:
        expected = gradients("cpu")
    except RuntimeError as error:
        assert "leaf Variable" in str(error) or "resize variables" in str(error)
        return
    if expected is None:
        return
    if path in (*SHAPED_BY_VALUES, "masked_scatter"):
        with pytest.raises(NotImplementedError, match="depends on values"):
            gradients("meta")
        return
    assert gradients("meta") == expected
