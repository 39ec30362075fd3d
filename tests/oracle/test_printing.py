"""Printing against PyTorch: the same tensor, the same options, the same text."""

from __future__ import annotations

import functools
import operator
import random

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import ml_dtypes  # noqa: E402
from torch import _tensor_str as oracle  # noqa: E402

from taper.core import dtype as dtypes  # noqa: E402
from taper.core import printing  # noqa: E402

INTEGERS = ["uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "bfloat16", "float32", "float64"]
FLOAT8 = ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"]
COMPLEX = ["complex64", "complex128"]
ALL = ["bool", *INTEGERS, *FLOATS, *FLOAT8, *COMPLEX]


class Tensor:
    """The attributes that printing reads, without the tensor."""

    __module__ = "torch"
    layout = "torch.strided"
    requires_grad = False
    grad_fn = None

    def __init__(self, array, device="cpu", **attributes):
        self._array = array
        self.shape = array.shape
        self.dtype = dtypes.from_numpy_dtype(array.dtype)
        self.device = torch.device(device)
        self.__dict__.update(attributes)


def to_array(tensor):
    """The elements as NumPy (or ml_dtypes) has them, bit for bit."""
    name = str(tensor.dtype).removeprefix("torch.")
    if name in ("bfloat16", *FLOAT8):
        bits = tensor.contiguous().view(torch.int16 if name == "bfloat16" else torch.uint8)
        return bits.numpy().view(getattr(ml_dtypes, name))
    return tensor.detach().numpy()


def to_taper(tensor):
    """Our tensor with the elements of PyTorch's; a stand-in while there is no Tensor."""
    import taper

    array = to_array(tensor)
    from_numpy = getattr(taper, "from_numpy", None)
    if from_numpy is None:
        return Tensor(array, requires_grad=tensor.requires_grad)
    made = from_numpy(array)
    return made.requires_grad_() if tensor.requires_grad else made


@pytest.fixture(autouse=True)
def default_options():
    yield
    set_both(profile="default")
    set_default("float32")


def set_both(**options):
    torch.set_printoptions(**options)
    printing.set_printoptions(**options)


def set_default(name):
    torch.set_default_dtype(getattr(torch, name))
    dtypes.set_default_dtype(getattr(dtypes, name))


def check(tensor, made=None):
    made = to_taper(tensor) if made is None else made
    expected = repr(tensor)
    got = printing.tensor_str(made)
    assert got == expected, f"\n{got}\n--- torch:\n{expected}\n{oracle.PRINT_OPTS}"
    if not isinstance(made, Tensor):
        assert repr(made) == expected


def random_shape(rng):
    ndim = rng.choice([0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5])
    longest = {0: 1, 1: 40, 2: 14, 3: 8, 4: 5, 5: 4}[ndim]
    return tuple(rng.randint(0 if rng.random() < 0.05 else 1, longest) for _ in range(ndim))


def random_reals(rng, generator, shape):
    kind = rng.randrange(10)
    normal = generator.standard_normal(shape)
    if kind < 2:
        values = normal
    elif kind == 2:
        values = np.round(normal * 10 ** rng.randint(0, 10))
    elif kind == 3:
        values = normal * 10.0 ** rng.randint(-8, 10)
    elif kind == 4:
        values = normal * 10.0 ** generator.integers(-6, 7, shape)
    elif kind == 5:
        values = generator.choice([0.0, -0.0, 1.0, -1.0, 2.5, 100.0], shape)
    elif kind == 6:
        values = generator.choice([0.0, np.inf, -np.inf, np.nan, -0.0], shape)
    elif kind == 7:
        values = np.zeros(shape)
    elif kind == 8:
        values = generator.choice([1e-4, 9.9e-5, 1e8, 1e8 + 8, 1000, 1001, 0.5, 500, 501], shape)
    else:
        values = normal * 10.0 ** generator.integers(-300, 300, shape)
    values = np.asarray(values)
    if rng.random() < 0.2 and values.size:
        values = np.where(generator.random(shape) < 0.2, rng.choice([np.nan, np.inf, 0.0]), values)
    return values


def random_tensor(rng, name, shape):
    generator = np.random.default_rng(rng.randrange(2**32))
    target = getattr(torch, name)
    if name == "bool":
        return torch.from_numpy(np.asarray(generator.random(shape) < rng.choice([0, 0.5, 1])))
    if name in INTEGERS:
        limits = np.iinfo(name)
        small = rng.random() < 0.6
        low, high = (max(limits.min, -120), 120) if small else (limits.min, limits.max)
        drawn = generator.integers(low, high, shape, dtype=name, endpoint=True)
        return torch.from_numpy(np.asarray(drawn))
    reals = torch.from_numpy(random_reals(rng, generator, shape))
    if name in COMPLEX:
        imaginary = torch.from_numpy(random_reals(rng, generator, shape))
        return torch.complex(reals, imaginary).to(target)
    if name == "float8_e8m0fnu":
        reals = reals.abs()
    return reals.to(torch.float32).to(target) if name in FLOAT8 else reals.to(target)


def random_options(rng):
    if rng.random() < 0.4:
        return {"profile": rng.choice(["default", "short", "full"])}
    return {
        "precision": rng.choice([0, 1, 2, 4, 4, 8, 15]),
        "threshold": rng.choice([0, 5, 30, 1000, float("inf")]),
        "edgeitems": rng.choice([0, 1, 2, 3, 5]),
        "linewidth": rng.choice([0, 20, 40, 80, 80, 120, 200]),
        "sci_mode": rng.choice([None, None, True, False]),
    }


@pytest.mark.parametrize("name", ALL)
@pytest.mark.filterwarnings("ignore")
def test_random_tensors_print_alike(name):
    rng = random.Random(name)
    for _ in range(400):
        options = random_options(rng)
        shape = random_shape(rng)
        if options.get("edgeitems") == 0 and not shape:
            continue  # PyTorch sizes a summarised number by uninitialised memory
        set_both(**options)
        set_default(rng.choice(["float32", "float32", "float64", "float16", "bfloat16"]))
        tensor = random_tensor(rng, name, shape)
        if tensor.is_floating_point() and name not in FLOAT8 and rng.random() < 0.2:
            tensor.requires_grad_()
        check(tensor)


@pytest.mark.parametrize("linewidth", range(20, 100))
def test_line_breaks_at_every_width(linewidth):
    set_both(linewidth=linewidth)
    generator = torch.Generator().manual_seed(linewidth)
    check(torch.randn(40, generator=generator))
    check(torch.randn(2, 30, generator=generator, dtype=torch.complex128))
    check(torch.randn(3, generator=generator, dtype=torch.float64).requires_grad_())
    check(torch.randint(0, 50, (3, 2, 25), generator=generator, dtype=torch.int16))


@pytest.mark.parametrize("shape", [(1001,), (40, 40), (2, 600), (600, 2), (11, 11, 11),
                                   (7, 7, 7, 7), (2, 2000, 1), (1, 1, 1001)])
def test_summaries_of_large_tensors(shape):
    for name in ("float32", "int64", "complex64", "bool", "bfloat16"):
        check((torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 9).to(
            getattr(torch, name)))


def test_views_print_their_own_elements():
    base = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5)
    for view in (base.transpose(0, 2), base[:, ::2, 1:], base[1], base[..., :1].expand(3, 4, 6)):
        check(view)


class Device:
    def __init__(self, name):
        self.type = name

    def __str__(self):
        return self.type


class Node:
    def __init__(self, name):
        self._name = name

    def name(self):
        return self._name


def stand_in(tensor, **attributes):
    return Tensor(to_array(tensor.detach()), **attributes)


def test_history():
    leaf = torch.ones(2, requires_grad=True)

    class MySineFunction(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.sin()

        @staticmethod
        def backward(ctx, grad):
            return grad

    for result in (leaf + 1, leaf.double() * 2, leaf.sum(), MySineFunction.apply(leaf),
                   (leaf.expand(30, 2) * 1.5).sin(), leaf.new_zeros(0, 3) * leaf[0]):
        node = Node(result.grad_fn.name())
        check(result, stand_in(result, requires_grad=True, grad_fn=node))


def test_meta():
    for tensor in (torch.empty(2, 3, device="meta"), torch.empty((), device="meta"),
                   torch.empty(4, 0, dtype=torch.int64, device="meta"),
                   torch.empty(3, dtype=torch.complex64, device="meta", requires_grad=True)):
        array = np.broadcast_to(to_array(torch.zeros((), dtype=tensor.dtype)), tensor.shape)
        check(tensor, Tensor(array, device="meta", requires_grad=tensor.requires_grad))


def test_subclasses_and_parameters():
    theirs = type("MyTensor", (torch.Tensor,), {})
    ours = type("MyTensor", (Tensor,), {"__module__": "somewhere"})
    for values in ([1.0, 2.0], [[1.5, 2.0], [3.0, 4.0]], 1.0):
        tensor = torch.tensor(values, dtype=torch.float64)
        check(tensor.as_subclass(theirs), ours(to_array(tensor)))
    own_parameter = type("Parameter", (Tensor,), {"__module__": "torch.nn.parameter"})
    for tensor in (torch.randn(3, 4), torch.randn(30), torch.zeros(0, 2)):
        made = own_parameter(to_array(tensor), requires_grad=True)
        assert printing.parameter_str(made) == repr(torch.nn.Parameter(tensor))
    theirs = type("MyParameter", (torch.nn.Parameter,), {})
    ours = type("MyParameter", (own_parameter,), {"__module__": "somewhere"})
    made = ours(to_array(tensor), requires_grad=True)
    assert printing.parameter_str(made) == repr(theirs(tensor))
    marked = type("MyTensor", (Tensor,), {"__module__": "somewhere", "_is_param": True})
    theirs = torch.nn.Parameter(tensor.as_subclass(type("MyTensor", (torch.Tensor,), {})))
    check(theirs, marked(to_array(tensor), requires_grad=True))
    lazy = torch.nn.UninitializedParameter()
    assert printing.uninitialized_str(lazy) == repr(lazy)


def sparse_stand_in(tensor):
    is_coo = tensor.layout is torch.sparse_coo
    names = ["_indices", "_values"] if is_coo else ["values"]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        names += ["crow_indices", "col_indices"]
    elif not is_coo:
        names += ["ccol_indices", "row_indices"]
    plain = tensor.detach()
    attributes = {}
    for name in names:
        part = stand_in(getattr(plain, name)())
        attributes[name] = functools.partial(operator.itemgetter(0), (part,))
    made = Tensor(to_array(plain.values() if not is_coo else plain._values()), **attributes)
    made.shape = tuple(tensor.shape)
    made.layout = str(tensor.layout)
    made.requires_grad = tensor.requires_grad
    made._nnz = tensor._nnz
    return made


@pytest.mark.filterwarnings("ignore:Sparse")
def test_sparse_layouts():
    dense = torch.eye(4) * 2.5
    row = (torch.arange(1200.0) + 1).reshape(1, 1200)
    index = torch.tensor([[0, 1, 1], [2, 0, 2]])
    cases = [
        dense.to_sparse(), dense.double().to_sparse(), dense.to_sparse_csr(), dense.to_sparse_csc(),
        dense.to_sparse_bsr((2, 2)), dense.to_sparse_bsc((2, 2)), row.to_sparse(),
        row.to_sparse_csr(), torch.zeros(3, 3).to_sparse_csr(), torch.zeros(3, 3).to_sparse(),
        torch.stack([dense, dense]).to_sparse_csr(), torch.sparse_coo_tensor(size=()),
        torch.sparse_coo_tensor(index, torch.ones(3, 4), (2, 3, 4), requires_grad=True),
        torch.sparse_coo_tensor(index, torch.ones(3, dtype=torch.complex128), (2, 3)),
        torch.sparse_coo_tensor(index, torch.ones(3, 0), (2, 3, 0)),
        torch.sparse_coo_tensor(index, torch.tensor([1, 2, 3], dtype=torch.int8), (2, 3)),
    ]
    for options in ({}, {"linewidth": 30}, {"linewidth": 60, "threshold": 3}, {"edgeitems": 0}):
        set_both(profile="default")
        set_both(**options)
        for tensor in cases:
            check(tensor, sparse_stand_in(tensor))


def test_given_contents():
    for tensor in (torch.zeros(3), torch.zeros(0, 2), torch.zeros(2000, dtype=torch.int32)):
        expected = tensor.__repr__(tensor_contents="XY")
        assert printing.tensor_str(to_taper(tensor), tensor_contents="XY") == expected


@pytest.mark.parametrize("name", ALL)
def test_format(name):
    number = torch.tensor(3.25).to(getattr(torch, name))
    for spec in ("", "8", ".2f", ".3e", "d", ">12", "zz"):
        try:
            expected = format(number, spec)
        except (TypeError, ValueError) as error:
            with pytest.raises(type(error)) as caught:
                printing.format_tensor(to_taper(number), spec)
            assert str(caught.value) == str(error)
        else:
            assert printing.format_tensor(to_taper(number), spec) == expected
    row = torch.zeros(2).to(getattr(torch, name))
    with pytest.raises(TypeError, match=r"^unsupported format string passed to Tensor.__format__$"):
        printing.format_tensor(to_taper(row), ".2f")


def test_options_are_the_same():
    for options in ({}, {"profile": "short"}, {"profile": "full", "precision": 9},
                    {"precision": 2, "sci_mode": True}, {"linewidth": 33}, {"profile": "SHORT"}):
        set_both(**options)
        assert printing.get_printoptions() == oracle.get_printoptions()
