"""vmap against PyTorch's own, on the samples that PyTorch tests its operators with."""

import random
import re
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from test_forward_mode import (  # noqa: E402
    is_inexact,
    mapped,
    numbers,
    our_constant,
    our_function,
    results_of,
    samples_of,
)
from torch.testing._internal.common_methods_invocations import op_db  # noqa: E402

import taper  # noqa: E402

# Entries of PyTorch's dispatcher; results that are unique up to a sign, a phase or an order, that
# are random, or not initialized; dtypes and layouts that can't be compared in NumPy.
LEFT_OUT = frozenset("""
    slice _batch_norm_with_update _native_batch_norm_legit _softmax_backward_data
    _unsafe_masked_index _unsafe_masked_index_put_accumulate _upsample_bilinear2d_aa
    max_pool2d_with_indices_backward torch.ops.aten._safe_softmax.default
    eig linalg.eig linalg.eigh linalg.svd svd svd_lowrank pca_lowrank bernoulli cauchy exponential
    geometric log_normal multinomial normal nn.functional.alpha_dropout nn.functional.dropout
    nn.functional.dropout2d nn.functional.dropout3d nn.functional.feature_alpha_dropout
    nn.functional.multi_head_attention_forward nn.functional.rrelu empty empty_like empty_permuted
    empty_strided new_empty new_empty_strided nn.functional.fractional_max_pool2d
    nn.functional.fractional_max_pool3d rand_like randn_like randint_like
    bfloat16 chalf to_sparse
    """.split())

OPERATORS = [
    op for op in op_db
    if op.supports_autograd and op.name not in LEFT_OUT and our_function(op) is not None
]


# The result's shape follows from the values of a tensor that is batched.
SHAPED_BY_VALUES = ("masked_select", "repeat_interleave", "tensor_split")


def variant(tensor):
    """Another sample like this one: its numbers are smaller."""
    return tensor.detach() * 0.75 if is_inexact(tensor) else tensor.clone()


class Call:
    """A call of an operator as a function of the tensors among its arguments."""

    def __init__(self, function, structure, kind, constants=lambda c: c):
        self.function = function
        self.structure = structure
        self.kind = kind
        self.constants = constants

    def __call__(self, *tensors):
        given = iter(tensors)
        first, args, kwargs = mapped(lambda t: next(given), self.structure, self.constants)
        return tuple(results_of(self.function(first, *args, **kwargs), self.kind))


def seed():
    random.seed(0)
    torch.manual_seed(0)
    taper.manual_seed(0)


# What vmap can't do, here and there.
REFUSED = re.compile(
    r"dynamic shape|data-dependent|\.item\(\)|random operation|inplace arithmetic|data pointer"
)


def expected_of(call, samples):
    """What PyTorch's vmap gives; where it has no rule, the results of the samples, stacked.

    None where it refuses for a reason of vmap's own.
    """
    seed()
    try:
        return torch.vmap(call)(*[torch.stack(column) for column in zip(*samples, strict=True)])
    except (RuntimeError, ValueError, NotImplementedError, IndexError, TypeError) as error:
        if REFUSED.search(str(error)):
            return None
        results = [call(*[t.clone() for t in s]) for s in samples]
        return [torch.stack(column) for column in zip(*results, strict=True)]


def ours(tensor):
    return taper.from_numpy(numbers(tensor).copy())


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.full_name)
def test_vmap(op):
    if op.name in SHAPED_BY_VALUES:
        pytest.xfail("vmap can't batch values that say what shape the result has")
    compared = 0
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for sample in samples_of(op, torch.float64):
            compared += compare(op, (sample.input, sample.args, sample.kwargs))
    if not compared:
        pytest.skip("has no sample with a result of a fixed shape")


def compare(op, structure):
    """Asserts equal results; says whether the loop over samples has any."""
    tensors = []
    mapped(tensors.append, structure)
    constants = [v for v in (*structure[1], *structure[2].values())
                 if not isinstance(v, torch.Tensor)]
    if any(callable(v) for v in constants):
        return False
    samples = [[t.detach() for t in tensors], [variant(t) for t in tensors]]
    if all(t.numel() == 0 for t in tensors):
        return False
    try:
        expected = expected_of(Call(op.op, structure, torch.Tensor), samples)
    except (RuntimeError, TypeError, ValueError):
        return False  # shapes depend on values, or the smaller numbers are not allowed
    seed()
    call = taper.vmap(Call(our_function(op), structure, taper.Tensor, our_constant))
    arguments = [ours(torch.stack(column)) for column in zip(*samples, strict=True)]
    if expected is None:
        # Some of these need no rule here. A result is right if it is that of each sample.
        try:
            call(*arguments)
        except RuntimeError as error:
            assert REFUSED.search(str(error)), error
        return True
    if not expected:
        return False
    found = call(*arguments)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert tuple(a.shape) == tuple(b.shape)
        np.testing.assert_allclose(numbers(a), numbers(b), rtol=1e-6, atol=1e-8)
    return True


# -- transforms of functions, in each other --------------------------------------------------------

W = np.array([0.3, -1.2, 0.7])
X = np.array([[0.5, 1.5, -0.4], [1.1, -0.2, 0.9], [-0.8, 0.6, 1.3], [0.2, -1.1, 0.4]])


def f(x, w):
    return (x * w).sin().sum() * x.prod() + (x * x * w).exp().sum()


def in_place(x):
    y = x.clone()
    y[0] = y[1] * 2
    y.mul_(3)
    y[1:] += x[:2]
    y.view(3, 1).add_(1)
    return (y**2).sum()


def ensemble(t, models, x):
    for i, model in enumerate(models):
        for p in model.parameters():
            p.data.fill_(i + 1)
    parameters, _ = t.func.stack_module_state(models)
    return t.func.vmap(
        lambda p, x: t.func.functional_call(models[0], p, (x,)), in_dims=(0, None))(parameters, x)


# Each is a function of the module, of x (4, 3) and w (3).
PROGRAMS = {
    "per-sample gradients": lambda t, x, w: (
        t.func.vmap(t.func.grad(f, argnums=(0, 1)), in_dims=(0, None))(x, w)),
    "jacrev of vmap of grad": lambda t, x, w: (
        t.func.jacrev(lambda w: t.func.vmap(t.func.grad(f), in_dims=(0, None))(x, w))(w)),
    "jacfwd of jacrev of vmap of grad": lambda t, x, w: (
        t.func.jacfwd(t.func.jacrev(
            lambda w: t.func.vmap(t.func.grad(f), in_dims=(0, None))(x, w)))(w)),
    "jacrev of jacfwd of vmap of grad": lambda t, x, w: (
        t.func.jacrev(t.func.jacfwd(
            lambda w: t.func.vmap(t.func.grad(f), in_dims=(0, None))(x, w)))(w)),
    "vmap of hessian": lambda t, x, w: t.func.vmap(t.func.hessian(f), in_dims=(0, None))(x, w),
    "grad of vmap of jacrev of grad": lambda t, x, w: (
        t.func.grad(lambda w: t.func.vmap(
            lambda a: t.func.jacrev(t.func.grad(f))(a, w).sin().sum())(x).sum())(w)),
    "vmap of vmap of grad": lambda t, x, w: (
        t.func.vmap(t.func.vmap(t.func.grad(f), in_dims=(None, 0)), in_dims=(0, None))(
            x, t.stack([w, 2 * w]))),
    "jvp of vmap of vjp": lambda t, x, w: t.func.jvp(
        t.func.vmap(lambda a: t.func.vjp(lambda b: b.sin() * w, a)[1](a)[0]),
        (x,), (x,)),
    "in place": lambda t, x, w: t.func.vmap(t.func.grad(in_place))(x),
    "jacrev in place": lambda t, x, w: t.func.vmap(t.func.jacrev(t.func.grad(in_place)))(x),
    "grads batched": lambda t, x, w: t.autograd.grad(
        (w.requires_grad_() * x).sin(), w, t.ones(2, 4, 3, dtype=t.float64).cumsum(0),
        is_grads_batched=True),
    "vectorized jacobian": lambda t, x, w: t.autograd.functional.jacobian(
        lambda x, w: ((x * w).sum(0), x.prod()), (x, w), vectorize=True),
    "vectorized hessian": lambda t, x, w: t.autograd.functional.hessian(
        lambda w: f(x[0], w), w, vectorize=True),
    "same numbers": lambda t, x, w: (
        t.manual_seed(3),
        t.func.vmap(lambda a: a + t.randn(3, dtype=t.float64), randomness="same")(x))[1],
    "different numbers": lambda t, x, w: (
        t.manual_seed(3),
        t.func.vmap(lambda a: a + t.rand(3, dtype=t.float64), randomness="different")(x))[1],
    "dropout, nested": lambda t, x, w: (
        t.manual_seed(3),
        t.func.vmap(t.func.vmap(t.nn.functional.dropout, randomness="different"),
                    randomness="different")(t.stack([x, x])))[1],
    "chunks": lambda t, x, w: t.func.vmap(f, in_dims=(0, None), chunk_size=3)(x, w),
    "ensemble": lambda t, x, w: ensemble(t, [t.nn.Linear(3, 2).double() for _ in range(3)], x),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name):
    expected = PROGRAMS[name](torch, torch.tensor(X), torch.tensor(W))
    found = PROGRAMS[name](taper, taper.tensor(X), taper.tensor(W))
    for a, b in zip(results_of(found, taper.Tensor), results_of(expected, torch.Tensor),
                    strict=True):
        assert tuple(a.shape) == tuple(b.shape)
        np.testing.assert_allclose(numbers(a.detach()), numbers(b.detach()), rtol=1e-10)


def message_of(program, module):
    try:
        program(module, module.tensor(X), module.tensor(W))
    except Exception as error:
        return type(error).__name__, str(error)[:40]
    return None


ERRORS = {
    "item": lambda t, x, w: t.vmap(lambda x: x.sum().item())(x),
    "branch": lambda t, x, w: t.vmap(lambda x: x if x.sum() > 0 else -x)(x),
    "nonzero": lambda t, x, w: t.vmap(lambda x: x.nonzero())(x),
    "mask": lambda t, x, w: t.vmap(lambda x: x[x > 0])(x),
    "tolist": lambda t, x, w: t.vmap(lambda x: x.tolist())(x),
    "numpy": lambda t, x, w: t.vmap(lambda x: x.numpy())(x),
    "in place": lambda t, x, w: t.vmap(lambda x: t.zeros(3).mul_(x))(x),
    "copy": lambda t, x, w: t.vmap(lambda x: t.zeros(3).copy_(x))(x),
    "random": lambda t, x, w: t.vmap(lambda x: t.rand(3))(x),
    "refill": lambda t, x, w: t.vmap(
        lambda x: t.zeros(3).normal_(), randomness="different")(x),
    "randomness": lambda t, x, w: t.vmap(f, randomness="all")(x),
    "no inputs": lambda t, x, w: t.vmap(f)(),
    "in_dims": lambda t, x, w: t.vmap(f, in_dims="a")(x, w),
    "in_dims too large": lambda t, x, w: t.vmap(f, in_dims=2)(x, w),
    "in_dims structure": lambda t, x, w: t.vmap(f, in_dims=(0, 0, 0))(x, w),
    "sizes": lambda t, x, w: t.vmap(f)(x, w),
    "no tensor": lambda t, x, w: t.vmap(f)(x, 2.0),
    "nothing mapped": lambda t, x, w: t.vmap(f, in_dims=(None, None))(x, w),
    "returns no tensor": lambda t, x, w: t.vmap(lambda x: 1)(x),
    "out_dims": lambda t, x, w: t.vmap(lambda x: x, out_dims="a")(x),
    "out_dims structure": lambda t, x, w: t.vmap(lambda x: (x, x), out_dims=(0,))(x),
    "out_dims None": lambda t, x, w: t.vmap(lambda x: x, out_dims=None)(x),
    "chunk_size": lambda t, x, w: t.vmap(f, chunk_size=0)(x, w),
    "no scalar": lambda t, x, w: t.func.grad(lambda x: x)(x),
    "scalar is no tensor": lambda t, x, w: t.func.grad(lambda x: 1.0)(x),
    "argument is no tensor": lambda t, x, w: t.func.grad(f)(2.0, w),
    "integers": lambda t, x, w: t.func.grad(lambda x: x.sum())(x.long()),
    "argnums": lambda t, x, w: t.func.grad(f, argnums=2)(x, w),
    "argnums twice": lambda t, x, w: t.func.grad(f, argnums=(0, 0))(x, w),
    "argnums type": lambda t, x, w: t.func.grad(f, argnums="a")(x, w),
    "aux": lambda t, x, w: t.func.grad(f, has_aux=True)(x, w),
    "leaf": lambda t, x, w: t.func.grad(lambda x: x.add_(1).sum())(x),
    "cotangent": lambda t, x, w: t.func.vjp(lambda x: x * 2, x)[1](w),
    "cotangents": lambda t, x, w: t.func.vjp(lambda x: x * 2, x)[1]((x,)),
    "jacrev of integers": lambda t, x, w: t.func.jacrev(lambda x: x.long())(x),
    "strict and vectorized": lambda t, x, w: t.autograd.functional.jacobian(
        f, (x, w), strict=True, vectorize=True),
    "grads not batched": lambda t, x, w: t.autograd.grad(
        w.requires_grad_() * x, w, x, is_grads_batched=True),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    expected = message_of(ERRORS[name], torch)
    assert expected is not None
    assert message_of(ERRORS[name], taper) == expected
