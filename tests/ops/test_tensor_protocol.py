"""Tensors as Python objects."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import taper as torch


def test_numbers():
    assert int(torch.tensor(3)) == 3 and float(torch.tensor([1.5])) == 1.5
    assert [1, 2, 3][torch.tensor(1)] == 2
    assert bool(torch.tensor([1])) and not torch.tensor(0.0)
    with pytest.raises(RuntimeError, match="more than one value is ambiguous"):
        bool(torch.zeros(2))
    with pytest.raises(ValueError, match="only one element tensors"):
        int(torch.zeros(2))
    with pytest.raises(RuntimeError, match="a Tensor with 2 elements cannot be converted"):
        torch.zeros(2).item()
    with pytest.raises(TypeError, match="only integer tensors of a single element"):
        range(torch.tensor(1.0))


def test_sequences():
    with pytest.raises(TypeError, match=r"len\(\) of a 0-d tensor"):
        len(torch.tensor(1))
    with pytest.raises(TypeError, match="iteration over a 0-d tensor"):
        iter(torch.tensor(1))
    assert 3 in torch.arange(5) and 7 not in torch.arange(5)
    assert f"{torch.tensor(1.5):.2f} {torch.tensor(2)} {torch.tensor([2])}" == "1.50 2 tensor([2])"


def test_numpy_functions_give_tensors():
    x = torch.tensor([1.0, 4.0])
    assert isinstance(np.sqrt(x), torch.Tensor)
    assert (x * np.float64(2)).dtype is torch.float32
    assert isinstance(np.asarray(x), np.ndarray) and np.array(x, dtype=np.int64).tolist() == [1, 4]
    assert np.from_dlpack(x).tolist() == torch.from_dlpack(np.array([1, 4])).tolist()


def test_copies():
    x = torch.ones(2, requires_grad=True)
    assert copy.deepcopy(x).requires_grad and copy.copy(x).data_ptr() == x.data_ptr()
    with pytest.raises(RuntimeError, match="Only Tensors created explicitly by the user"):
        copy.deepcopy(x * 2)
    base = torch.arange(4)
    twin, part = copy.deepcopy([base, base[1:]])
    twin[1] = 9
    assert part.tolist() == [9, 2, 3] and base[1].item() == 1
    twin, part = pickle.loads(pickle.dumps([base, base[1:]]))
    twin[1] = 9
    assert part.tolist() == [9, 2, 3]


def test_legacy_types():
    assert torch.Tensor([1, 2]).dtype is torch.float32 and torch.Tensor(2, 3).shape == (2, 3)
    assert isinstance(torch.zeros(1), torch.FloatTensor)
    assert not isinstance(torch.zeros(1), torch.LongTensor)
    assert type(torch.FloatTensor).__name__ == "tensortype"
    assert torch.zeros(1).type() == "torch.FloatTensor"
    assert torch.zeros(1).type(torch.LongTensor).dtype is torch.int64
    with pytest.raises(TypeError, match=r"new\(\): data must be a sequence \(got float\)"):
        torch.Tensor(2.0)


def test_other_memory():
    x = torch.zeros(0)
    x.set_(torch.arange(4.0).untyped_storage(), 1, (2,))
    assert x.tolist() == [1, 2] and x.storage_offset() == 1
    y = torch.arange(4).resize_(2, 3)
    assert y[0].tolist() == [0, 1, 2] and y.is_contiguous()
    with pytest.raises(RuntimeError, match="cannot resize variables that require grad"):
        torch.zeros(1, requires_grad=True).resize_(2)
    with pytest.raises(RuntimeError, match="are out of bounds for storage of size 16"):
        torch.zeros(4).as_strided((5,), (1,))


def test_a_number_of_a_tensor_in_the_graph_warns_once(monkeypatch):
    monkeypatch.setattr("taper.core.user_warning._warned", set())
    x = torch.tensor(2.0, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torch.no_grad():
            assert float(x) == 2
        assert x.item() == 2 and bool(x) and float(x.detach()) == 2
    with pytest.warns(UserWarning, match="requires_grad=True to a scalar may lead"):
        assert float(x * 2) == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert int(x) == 2
