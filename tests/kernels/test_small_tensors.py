"""New tensors in machine code are those that Python makes."""

from __future__ import annotations

import gc
import sys
import weakref

import numpy as np
import pytest

from taper.compiler import machine
from taper.core.tensor import Tensor
from taper.kernels import small_tensors
from taper.runtime.direct_call import is_possible

pytestmark = pytest.mark.skipif(
    not machine.is_available() or not is_possible(),
    reason="needs llvmlite and CPython with a GIL on 64 bits",
)


def test_a_tensor_around_an_array() -> None:
    wrap = small_tensors._made()
    assert wrap is not small_tensors.by_python
    array = np.arange(3.0)
    tensor = wrap(array)
    assert type(tensor) is Tensor and tensor._array is array
    assert tensor._edge is tensor._storage is tensor._base is tensor._grad is None
    assert tensor.tolist() == [0, 1, 2] and not tensor.requires_grad
    tensor.requires_grad_()
    (tensor * tensor).sum().backward()
    assert tensor.grad is not None and tensor.grad.tolist() == [0, 2, 4]
    other = object()
    assert wrap(other)._array is other  # by Python
    with pytest.raises(TypeError):
        wrap()


def test_references_are_counted_and_collected() -> None:
    wrap = small_tensors._made()
    array = np.ones(3)
    before = [sys.getrefcount(o) for o in (array, None, Tensor, np.ndarray)]
    for _ in range(2000):
        wrap(array)
    after = [sys.getrefcount(o) for o in (array, None, Tensor, np.ndarray)]
    assert all(abs(a - b) < 50 for a, b in zip(before, after, strict=True))
    tensor = wrap(array)
    tensor.itself = tensor  # a cycle, through the tensor's attributes
    ghost = weakref.ref(tensor)
    del tensor
    gc.collect()
    assert ghost() is None
