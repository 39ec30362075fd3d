"""Printing, against texts written down by hand (tests/oracle compares with PyTorch itself)."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from taper.core import device as devices
from taper.core import dtype, printing

NAN, INF = float("nan"), float("inf")


class Tensor:
    """The attributes that printing reads, without the tensor."""

    __module__ = "torch"
    device = devices.CPU
    layout = devices.strided
    requires_grad = False
    grad_fn = None

    def __init__(self, elements, numpy_dtype=np.float32, **attributes):
        self._array = np.array(elements, numpy_dtype)
        self.shape = self._array.shape
        self.dtype = dtype.from_numpy_dtype(self._array.dtype)
        self.__dict__.update(attributes)

    def __repr__(self):
        return printing.tensor_str(self)


class Node:
    def __init__(self, name):
        self._name = name

    def name(self):
        return self._name


@pytest.fixture(autouse=True)
def default_options():
    yield
    printing.set_printoptions(profile="default")
    dtype.set_default_dtype(dtype.float32)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (1.5, "tensor(1.5000)"),
        (2, "tensor(2.)"),
        ([1, 20], "tensor([ 1., 20.])"),
        ([1.5, -20], "tensor([  1.5000, -20.0000])"),
        ([0.5, 500], "tensor([  0.5000, 500.0000])"),
        ([0.5, 501], "tensor([5.0000e-01, 5.0100e+02])"),
        ([1000, 1], "tensor([1000.,    1.])"),
        ([1001, 1], "tensor([1.0010e+03, 1.0000e+00])"),
        ([1e8], "tensor([100000000.])"),
        ([1e8 + 8], "tensor([1.0000e+08])"),
        ([9.9e-5], "tensor([9.9000e-05])"),
        ([-0.0, 1], "tensor([-0., 1.])"),
        ([0, NAN], "tensor([0., nan])"),
        ([1.5, NAN, -INF], "tensor([1.5000,    nan,   -inf])"),
        ([10, INF], "tensor([10., inf])"),
        ([[1, 2], [3, 4]], "tensor([[1., 2.],\n        [3., 4.]])"),
        ([[[1], [2]], [[3], [4]]],
         "tensor([[[1.],\n         [2.]],\n\n        [[3.],\n         [4.]]])"),
        ([], "tensor([])"),
        ([[], []], "tensor([], size=(2, 0))"),
    ],
)
def test_floats(values, expected):
    assert repr(Tensor(values)) == expected


@pytest.mark.parametrize(
    ("values", "numpy_dtype", "expected"),
    [
        ([1, -20], np.int64, "tensor([  1, -20])"),
        ([1, 300], np.uint16, "tensor([  1, 300], dtype=torch.uint16)"),
        (2**63 + 5, np.uint64, "tensor(9223372036854775813, dtype=torch.uint64)"),
        ([True, False], bool, "tensor([ True, False])"),
        ([], np.int64, "tensor([], dtype=torch.int64)"),
        ([[]], np.complex64, "tensor([], size=(1, 0), dtype=torch.complex64)"),
        ([1 + 2j, 10 - 20j], np.complex64, "tensor([ 1.+2.j, 10.-20.j])"),
        ([1.5 + 2j, complex(NAN, -3)], np.complex64, "tensor([1.5000+2.j,    nan-3.j])"),
        ([1 + 2j], np.complex128, "tensor([1.+2.j], dtype=torch.complex128)"),
        ([1.1, 2], np.float64, "tensor([1.1000, 2.0000], dtype=torch.float64)"),
        ([6e4, 1.5], np.float16, "tensor([6.0000e+04, 1.5000e+00], dtype=torch.float16)"),
        ([1.1], ml_dtypes.bfloat16, "tensor([1.1016], dtype=torch.bfloat16)"),
        ([1, 384], ml_dtypes.float8_e4m3fn, "tensor([  1., 384.], dtype=torch.float8_e4m3fn)"),
    ],
)
def test_other_dtypes(values, numpy_dtype, expected):
    assert repr(Tensor(values, numpy_dtype)) == expected


def test_default_dtype_decides_the_suffix():
    dtype.set_default_dtype(dtype.float64)
    assert repr(Tensor([1], np.float64)) == "tensor([1.])"
    assert repr(Tensor([1])) == "tensor([1.], dtype=torch.float32)"
    assert repr(Tensor([1j], np.complex128)) == "tensor([0.+1.j])"


def test_lines_break_at_linewidth():
    printing.set_printoptions(linewidth=20)
    assert repr(Tensor([1, 2, 3, 4])) == "tensor([1., 2., 3.,\n        4.])"
    expected = "tensor([1, 2],\n       dtype=torch.int8)"
    assert repr(Tensor([1, 2], np.int8)) == expected


def test_summaries():
    assert repr(Tensor(range(1001), int)) == "tensor([   0,    1,    2,  ...,  998,  999, 1000])"
    printing.set_printoptions(threshold=3, edgeitems=1)
    assert repr(Tensor(np.eye(3))) == (
        "tensor([[1.,  ..., 0.],\n        ...,\n        [0.,  ..., 1.]])"
    )
    printing.set_printoptions(edgeitems=0)
    assert repr(Tensor(np.eye(3))) == "tensor([...], size=(3, 3))"


def test_precision_and_scientific_mode():
    values = Tensor([0.5, 1234.5])
    printing.set_printoptions(precision=2)
    assert repr(values) == "tensor([5.00e-01, 1.23e+03])"
    printing.set_printoptions(sci_mode=False)
    assert repr(values) == "tensor([   0.50, 1234.50])"
    printing.set_printoptions(precision=1, sci_mode=True)
    assert repr(Tensor([1, 2])) == "tensor([1.0e+00, 2.0e+00])"
    assert repr(Tensor([0, 0])) == "tensor([0., 0.])"  # zeros have no notation


def test_options():
    default = {
        "precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80, "sci_mode": None,
    }
    assert printing.get_printoptions() == default
    with printing.printoptions(precision=2, sci_mode=True):
        assert printing.get_printoptions() == default | {"precision": 2, "sci_mode": True}
    assert printing.get_printoptions() == default
    printing.set_printoptions(profile="full", linewidth=100)
    assert printing.get_printoptions() == default | {"threshold": INF, "linewidth": 100}
    printing.set_printoptions(profile="short", sci_mode=False)
    printing.set_printoptions()
    assert printing.get_printoptions() == default | {"precision": 2, "edgeitems": 2}


def test_options_come_back_after_an_error():
    with pytest.raises(ZeroDivisionError), printing.printoptions(precision=9):
        raise ZeroDivisionError
    assert printing.get_printoptions()["precision"] == 4


def test_printer_options_show_their_fields():
    assert repr(printing.PrinterOptions(2)) == (
        "PrinterOptions(precision=2, threshold=1000, edgeitems=3, linewidth=80, sci_mode=None)"
    )


def test_history():
    assert repr(Tensor([1], requires_grad=True)) == "tensor([1.], requires_grad=True)"
    added = Tensor([1], requires_grad=True, grad_fn=Node("AddBackward0"))
    assert repr(added) == "tensor([1.], grad_fn=<AddBackward0>)"
    accumulated = Tensor([1], grad_fn=Node("torch::autograd::AccumulateGrad"))
    assert repr(accumulated) == "tensor([1.], grad_fn=<AccumulateGrad>)"


def test_meta():
    made = Tensor(np.zeros((2, 3)), np.int64, device=devices.META, _array=None)
    assert repr(made) == "tensor(..., device='meta', size=(2, 3), dtype=torch.int64)"


def test_subclasses_and_parameters():
    mine = type("MyTensor", (Tensor,), {"__module__": __name__})
    assert repr(mine([[1, 2], [3, 4]])) == "MyTensor([[1., 2.],\n          [3., 4.]])"
    parameter = type("Parameter", (Tensor,), {"__module__": "torch.nn.parameter"})
    made = parameter([1, 2], requires_grad=True)
    expected = "Parameter containing:\ntensor([1., 2.], requires_grad=True)"
    assert printing.parameter_str(made) == expected
    own = type("MyParameter", (parameter,), {"__module__": __name__})
    assert printing.tensor_str(own([1])) == "Parameter(MyParameter([1.]))"
    lazy = type("UninitializedParameter", (), {})()
    assert printing.uninitialized_str(lazy) == "<UninitializedParameter>"


def test_sparse():
    coo = Tensor(
        [3, 4], shape=(2, 3), layout=devices.sparse_coo, _nnz=lambda: 2,
        _indices=lambda: Tensor([[0, 1], [2, 0]], int), _values=lambda: Tensor([3, 4]),
    )
    assert repr(coo) == (
        "tensor(indices=tensor([[0, 1],\n"
        "                       [2, 0]]),\n"
        "       values=tensor([3., 4.]),\n"
        "       size=(2, 3), nnz=2, layout=torch.sparse_coo)"
    )
    csr = Tensor(
        [], shape=(1, 3), layout=devices.sparse_csr, _nnz=lambda: 0, values=lambda: Tensor([]),
        crow_indices=lambda: Tensor([0, 0], int), col_indices=lambda: Tensor([], int),
    )
    assert repr(csr) == (
        "tensor(crow_indices=tensor([0, 0]),\n"
        "       col_indices=tensor([], size=(0,)),\n"
        "       values=tensor([], size=(0,)), size=(1, 3), nnz=0,\n"
        "       layout=torch.sparse_csr)"
    )


def test_given_contents():
    assert printing.tensor_str(Tensor([1]), tensor_contents="see above") == "tensor(see above)"


def test_format():
    assert printing.format_tensor(Tensor(1.5), "") == "1.5"
    assert printing.format_tensor(Tensor(1.5), ".3f") == "1.500"
    assert printing.format_tensor(Tensor(7, int), "4d") == "   7"
    assert printing.format_tensor(Tensor(1.5, ml_dtypes.bfloat16), ".1f") == "1.5"
    assert printing.format_tensor(Tensor([1]), "") == "tensor([1.])"
    assert printing.format_tensor(Tensor(1, device=devices.META), "") == (
        "tensor(..., device='meta', size=())"
    )
    message = r"^unsupported format string passed to Tensor\.__format__$"
    for made in (Tensor([1]), Tensor(1, device=devices.META)):
        with pytest.raises(TypeError, match=message):
            printing.format_tensor(made, ".2f")
