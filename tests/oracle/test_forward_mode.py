"""Forward mode against PyTorch's own, on the samples that PyTorch tests its operators with."""

import itertools
import random
import re
import types
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch.autograd import forward_ad as their_forward_ad  # noqa: E402
from torch.testing._internal.common_methods_invocations import op_db  # noqa: E402

import taper  # noqa: E402
from taper.autograd import forward_ad as our_forward_ad  # noqa: E402

SAMPLES = {"float64": 4, "complex128": 2}
LARGEST = 20_000

# Entries of PyTorch's dispatcher; results that are unique up to a sign, a phase or an order, or
# that are drawn in an order of our own.
LEFT_OUT = frozenset("""
    slice _batch_norm_with_update _native_batch_norm_legit _softmax_backward_data
    _unsafe_masked_index _unsafe_masked_index_put_accumulate _upsample_bilinear2d_aa
    max_pool2d_with_indices_backward torch.ops.aten._safe_softmax.default
    eig linalg.eig linalg.eigh linalg.svd svd svd_lowrank pca_lowrank bernoulli cauchy exponential
    geometric log_normal multinomial nn.functional.alpha_dropout nn.functional.dropout
    nn.functional.dropout2d nn.functional.dropout3d nn.functional.feature_alpha_dropout
    nn.functional.multi_head_attention_forward nn.functional.rrelu empty empty_like empty_permuted
    empty_strided new_empty new_empty_strided resize_ resize_as_ nn.functional.fractional_max_pool2d
    nn.functional.fractional_max_pool3d linalg.lstsq nn.functional.max_unpool1d
    nn.functional.max_unpool2d nn.functional.max_unpool3d
    """.split())

# What differs, and why.
DIFFERENT = {
    ("as_strided.partial_views", "float64"): "the samples are parts of larger memory",
    ("as_strided.partial_views", "complex128"): "the samples are parts of larger memory",
    ("logcumsumexp", "complex128"): "PyTorch gives NaN where the derivative is finite",
}


def ours_by_path(path):
    found = taper
    for name in path.split("."):
        found = getattr(found, name, None)
        if found is None:
            return None
    return found


def our_function(op):
    """taper's function for an entry of PyTorch's database; None if that is nothing public."""
    paths = [op.name, f"Tensor.{op.name}"]
    module = (getattr(op.op, "__module__", None) or "").removeprefix("torch").removeprefix(".")
    name = getattr(op.op, "__name__", "")
    paths.append(f"{module}.{name}" if module else name)
    for path in paths:
        theirs = torch
        for part in path.split("."):
            theirs = getattr(theirs, part, None)
        if theirs is not None and theirs is op.op:
            return ours_by_path(path)
    if isinstance(op.op, types.FunctionType) and "torch" in op.op.__globals__:
        return types.FunctionType(  # the same code, with taper for torch
            op.op.__code__, {**op.op.__globals__, "torch": taper}, op.op.__name__,
            op.op.__defaults__, op.op.__closure__,
        )
    return None


OPERATORS = [
    op for op in op_db
    if op.supports_forward_ad and op.name not in LEFT_OUT and our_function(op) is not None
]


def mapped(change, value, constants=lambda c: c):
    """A structure of arguments with `change` applied to its tensors, `constants` to the rest."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, torch.Size):
        return value
    if isinstance(value, (tuple, list)):
        return type(value)([mapped(change, v, constants) for v in value])
    if isinstance(value, dict):
        return {k: mapped(change, v, constants) for k, v in value.items()}
    return constants(value)


def our_constant(value):
    if isinstance(value, (torch.dtype, torch.memory_format, torch.layout)):
        return getattr(taper, str(value).removeprefix("torch."))
    return str(value) if isinstance(value, torch.device) else value


def results_of(value, kind):
    if isinstance(value, kind):
        return [value]
    if isinstance(value, (tuple, list)):
        return [t for v in value for t in results_of(v, kind)]
    return []


def samples_of(op, dtype):
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    if dtype not in op.supported_backward_dtypes("cpu"):
        return []
    found = list(itertools.islice(op.sample_inputs_func(op, "cpu", dtype, False), 200))
    tensors = [[], []]
    small = []
    for sample in found:
        tensors = []
        mapped(tensors.append, (sample.input, sample.args, sample.kwargs))
        if tensors and sum(t.numel() for t in tensors) < LARGEST and all(
            t.layout is torch.strided and t.device.type == "cpu" for t in tensors
        ):
            small.append(sample)
    count = SAMPLES[str(dtype).removeprefix("torch.")]
    return small[:: max(1, len(small) // count)][:count]


def is_inexact(t):
    return t.is_floating_point() or t.is_complex()


def test_nearly_all_are_compared():
    known = [op for op in op_db if op.supports_forward_ad and op.supports_autograd]
    assert len(OPERATORS) > 0.93 * len(known)


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.full_name)
@pytest.mark.parametrize("dtype", SAMPLES)
def test_tangents(op, dtype):
    if (op.full_name, dtype) in DIFFERENT:
        pytest.xfail(DIFFERENT[op.full_name, dtype])
    compared = 0
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for sample in samples_of(op, getattr(torch, dtype)):
            compared += compare(op, sample)
    if not compared:
        pytest.skip("PyTorch has no forward mode for these")


def compare(op, sample):
    """Asserts equal tangents; says whether PyTorch has any."""
    first, args, kwargs = sample.input, sample.args, sample.kwargs
    if any(callable(v) for v in (*args, *kwargs.values()) if not isinstance(v, torch.Tensor)):
        return False
    with their_forward_ad.dual_level():
        first, args, kwargs = mapped(random_dual, (first, args, kwargs))
        if re.search("triangular|hermitian|lambda", op.gradcheck_wrapper.__name__):
            first, args, kwargs = wrapped_arguments(op, first, args, kwargs)
        torch.manual_seed(0)
        try:
            expected = results_of(op.op(first, *args, **kwargs), torch.Tensor)
        except (NotImplementedError, RuntimeError):
            return False
        wanted = tangents_of(expected, their_forward_ad)
        with our_forward_ad.dual_level():
            first, args, kwargs = mapped(our_tensor, (first, args, kwargs), our_constant)
            taper.manual_seed(0)
            found = results_of(our_function(op)(first, *args, **kwargs), taper.Tensor)
            given = tangents_of(found, our_forward_ad)
    assert len(given) == len(wanted)
    for ours, theirs in zip(given, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    return True


def random_dual(tensor):
    if not is_inexact(tensor):
        return tensor
    return their_forward_ad.make_dual(tensor, torch.randn_like(tensor))


def wrapped_arguments(op, first, args, kwargs):
    """The arguments as PyTorch's tests make them symmetric or triangular."""
    seen = []

    def look(*args, **kwargs):
        seen.append((args[0], args[1:], kwargs))
        return args[0]

    op.gradcheck_wrapper(look, first, *args, **kwargs)
    return seen[0]


def our_tensor(tensor):
    """taper's tensor, with the same values and tangent."""
    primal, tangent = their_forward_ad.unpack_dual(tensor)
    ours = taper.from_numpy(numbers(primal).copy(order="K"))
    if tangent is None:
        return ours
    return our_forward_ad.make_dual(ours, taper.from_numpy(numbers(tangent).copy()))


def numbers(tensor):
    if isinstance(tensor, torch.Tensor):
        tensor = tensor.resolve_conj().resolve_neg()
    return tensor.numpy(force=True)


def tangents_of(results, module):
    """The tangents of the results, zeros where they have none."""
    return [
        np.zeros(tuple(t.shape)) if (tangent := module.unpack_dual(t).tangent) is None
        else numbers(tangent) for t in results if is_inexact(t)
    ]
