"""Tensors from sizes, numbers and data."""

import numpy as np
import pytest

import taper as torch


def test_sizes():
    assert torch.zeros(2, 3).shape == torch.zeros((2, 3)).shape == torch.zeros(size=[2, 3]).shape
    assert torch.zeros(()).shape == () and torch.zeros(np.int64(2), torch.tensor(1)).shape == (2, 1)
    with pytest.raises(TypeError, match='missing 1 required positional arguments: "size"'):
        torch.zeros()
    with pytest.raises(TypeError, match="must be tuple of ints, not float"):
        torch.zeros(2.0)
    with pytest.raises(RuntimeError, match="negative dimension -1"):
        torch.ones(-1)


def test_fill_dtypes():
    assert torch.full((1,), 1).dtype is torch.int64
    assert torch.full((1,), True).dtype is torch.bool
    assert torch.full((1,), 1j).dtype is torch.complex64
    assert torch.zeros(1, requires_grad=True).requires_grad
    with pytest.raises(RuntimeError, match="Only Tensors of floating point and complex dtype"):
        torch.zeros(1, dtype=torch.int64, requires_grad=True)


def test_like_keeps_the_order_of_dimensions():
    x = torch.zeros(2, 3).t()
    assert torch.zeros_like(x).stride() == (1, 3)
    assert torch.ones_like(torch.zeros(3).expand(2, 3)).stride() == (3, 1)
    image = torch.empty(1, 2, 3, 4, memory_format=torch.channels_last)
    assert image.stride() == torch.rand_like(image).stride() == (24, 1, 8, 2)


def test_data_dtypes():
    assert torch.tensor([1, 2.5]).dtype is torch.float32
    assert torch.tensor([True, 2]).dtype is torch.int64
    assert torch.tensor([np.float64(1)]).dtype is torch.float64
    assert torch.tensor([torch.tensor(1.0, dtype=torch.float64), 2]).dtype is torch.float64
    assert torch.tensor([[], []]).shape == (2, 0)
    assert torch.tensor([1.7], dtype=torch.int64).tolist() == [1]


@pytest.mark.parametrize(
    ("data", "dtype", "error", "message"),
    [
        ([[1, 2], [3]], None, ValueError, r"expected sequence of length 2 at dim 1 \(got 1\)"),
        (["a"], None, ValueError, "too many dimensions 'str'"),
        (None, None, RuntimeError, "Could not infer dtype of NoneType"),
        ([2**63], None, ValueError, "Overflow when unpacking long long"),
        ([300], torch.uint8, RuntimeError, "cannot be converted to type uint8 without overflow"),
        (1j, torch.float32, TypeError, "must be real number, not complex"),
        (1, "float32", TypeError, "argument 'dtype' must be torch.dtype, not str"),
    ],
)
def test_data_errors(data, dtype, error, message):
    with pytest.raises(error, match=message):
        torch.tensor(data, dtype=dtype)


def test_numpy_shares_memory():
    a = np.zeros(3)
    torch.from_numpy(a)[0] = 1
    assert a[0] == 1
    t = torch.zeros(2)
    t.numpy()[1] = 4
    assert t.tolist() == [0, 4]
    with pytest.raises(ValueError, match="At least one stride in the given numpy array is"):
        torch.from_numpy(a[::-1])
    with pytest.raises(TypeError, match=r"expected np.ndarray \(got list\)"):
        torch.from_numpy([1])
    with pytest.raises(TypeError, match=r"can't convert np\.ndarray of type"):
        torch.from_numpy(np.array(["a"]))
    with pytest.raises(RuntimeError, match="Can't call numpy\\(\\) on Tensor that requires grad"):
        torch.zeros(1, requires_grad=True).numpy()


def test_out_of_range_functions():
    with pytest.raises(RuntimeError, match="dtype Float does not match dtype of out parameter"):
        torch.zeros(2, dtype=torch.float32, out=torch.zeros(2, dtype=torch.int64))


def test_default_device():
    with torch.device("meta"):
        assert torch.zeros(2).is_meta and torch.arange(3).is_meta and torch.rand(2).is_meta
        assert torch.zeros(2, device="cpu").is_cpu
    assert torch.zeros(2).is_cpu
