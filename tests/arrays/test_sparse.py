import numpy as np
import pytest

from taper.arrays.sparse import CoordinateArray, coordinates_of
from taper.arrays.sparse_rules import dense_to_coordinates, to_layout
from taper.core import device as devices

A = np.array([[0.0, 1.0, 0.0], [2.0, 0.0, 3.0]])


@pytest.mark.parametrize(
    "layout", [devices.sparse_coo, devices.sparse_csr, devices.sparse_csc, devices.sparse_bsr]
)
def test_arrays_answer_numpy(layout):
    a = to_layout(A, layout, (1, 1) if layout is devices.sparse_bsr else None)
    assert (a.shape, a.ndim, a.size, a.nnz, a.dtype) == ((2, 3), 2, 6, 3, A.dtype)
    assert np.array_equal(a.to_dense(), A)
    assert np.array_equal(a.T.to_dense(), A.T)
    assert np.array_equal(np.negative(a).to_dense(), -A)
    assert np.array_equal(a.astype(np.float32).to_dense(), A.astype(np.float32))
    assert np.array_equal(coordinates_of(a).to_dense(), A)
    assert np.add.reduce(a, None) == 6
    with pytest.raises(NotImplementedError, match="cos is not implemented for the layout"):
        np.cos(a)
    with pytest.raises(NotImplementedError, match="use to_dense"):
        np.asarray(a)


def test_coordinates_are_indexed_reshaped_and_taken():
    a = dense_to_coordinates(A)
    assert np.array_equal(a[1].to_dense(), A[1])
    assert np.array_equal(a[:, 1:3].to_dense(), A[:, 1:3])
    assert np.array_equal(a[None, ..., 2].to_dense(), A[None, ..., 2])
    assert np.array_equal(a.reshape(3, 2).to_dense(), A.reshape(3, 2))
    assert np.array_equal(a.take(np.array([2, 0, 2]), 1).to_dense(), A[:, [2, 0, 2]])
    with pytest.raises(IndexError, match="index 5 is out of bounds for dimension 0 with size 2"):
        a[5]


def test_coalescing_sorts_and_adds():
    a = CoordinateArray(np.array([[1, 0, 1]]), np.array([1.0, 2.0, 3.0]), (2,))
    found = a.coalesce()
    assert found.indices.tolist() == [[0, 1]]
    assert found.values.tolist() == [2, 4]
    assert found.coalesce() is found
