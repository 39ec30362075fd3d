"""taper/ops/complex.py: parts, conjugates, angles."""

import math

import pytest

import taper as torch


def test_parts_are_views():
    z = torch.tensor([1 + 2j, 3 + 4j])
    z.real[0] = 10
    z.imag = torch.tensor([5.0, 6.0])
    assert z.tolist() == [10 + 5j, 3 + 6j]
    x = torch.ones(2)
    assert x.real is x
    with pytest.raises(RuntimeError, match="imag is not implemented for tensors with non-complex"):
        _ = x.imag


def test_gradients_of_parts():
    z = torch.tensor([1 + 2j], requires_grad=True)
    (z.real * 3 + z.imag * 5).backward()
    assert z.grad.tolist() == [3 + 5j]


def test_views_as_pairs():
    z = torch.tensor([[1 + 2j], [3 + 4j]])
    pairs = torch.view_as_real(z)
    assert pairs.tolist() == [[[1, 2]], [[3, 4]]]
    pairs[0, 0, 0] = 7
    assert z[0, 0].item() == 7 + 2j
    assert torch.view_as_complex(pairs).data_ptr() == z.data_ptr()
    with pytest.raises(RuntimeError, match="Tensor must have a last dimension of size 2"):
        torch.view_as_complex(torch.ones(3))
    with pytest.raises(RuntimeError, match="Tensor must have a last dimension with stride 1"):
        torch.view_as_complex(torch.ones(2, 3).t())
    with pytest.raises(RuntimeError, match="view_as_real is only supported for complex tensors"):
        torch.view_as_real(torch.ones(2))


def test_conjugates():
    z = torch.tensor([1 + 2j], requires_grad=True)
    w = z.conj()
    assert w.tolist() == [1 - 2j]
    w.backward(torch.tensor([1j]))
    assert z.grad.tolist() == [-1j]
    x = torch.ones(1)
    assert x.conj() is x


def test_angles():
    assert torch.angle(torch.tensor([1j, -1])).tolist() == pytest.approx([math.pi / 2, math.pi])
    x = torch.tensor([-2.0, 2.0, float("nan")])
    assert torch.angle(x).tolist()[:2] == pytest.approx([math.pi, 0])
    assert math.isnan(torch.angle(x)[2].item())


def test_making_complex_numbers():
    a = torch.tensor([1.0, 2.0], requires_grad=True)
    b = torch.tensor([[3.0]], requires_grad=True)
    z = torch.complex(a, b)
    assert z.tolist() == [[1 + 3j, 2 + 3j]]
    z.backward(torch.tensor([[1 + 2j, 3 + 4j]]))
    assert a.grad.tolist() == [1, 3]
    assert b.grad.tolist() == [[6]]
    assert torch.polar(torch.tensor([2.0]), torch.tensor([math.pi])).tolist() == pytest.approx(
        [-2], abs=1e-6)
    with pytest.raises(RuntimeError, match="Expected both inputs to be Half, Float or Double"):
        torch.complex(torch.tensor([1]), torch.tensor([1]))
    with pytest.raises(RuntimeError, match="Expected object of scalar type Float but got scalar"):
        torch.complex(torch.ones(1), torch.ones(1, dtype=torch.float64))
