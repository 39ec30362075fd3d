"""MaskedTensor: what is missing stays out of results, gradients and print."""

import pytest

import taper as torch
from taper.masked import as_masked_tensor, is_masked_tensor, masked_tensor

X = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
MASK = torch.tensor([[True, False, True], [False, False, False]])


def test_prints_what_is_missing():
    assert repr(masked_tensor(X, MASK)) == (
        "MaskedTensor(\n  [\n    [  1.0000,       --,   3.0000],\n"
        "    [      --,       --,       --]\n  ]\n)"
    )
    assert repr(masked_tensor(torch.tensor(2), torch.tensor(True))) == "MaskedTensor(2, True)"


def test_elementwise_operators_keep_the_mask():
    x = masked_tensor(X, MASK)
    for result in (x + 1, 1 + x, x * x, x.exp(), -x, x == x, x.double(), torch.where(MASK, x, x)):
        assert is_masked_tensor(result)
        assert torch.equal(result.get_mask(), MASK)
    assert torch.equal((x + 1).to_tensor(0), torch.tensor([[2.0, 0, 4], [0, 0, 0]]))


def test_moves_move_the_mask():
    x = masked_tensor(X, MASK)
    assert x.t().get_mask().tolist() == [[True, False], [False, False], [True, False]]
    assert x[:, 1:].get_mask().tolist() == [[False, True], [False, False]]
    assert torch.cat([x, x]).get_mask().shape == (4, 3)


@pytest.mark.parametrize(("name", "value"), [
    ("sum", 4.0), ("mean", 2.0), ("prod", 3.0), ("amax", 3.0), ("amin", 1.0), ("var", 2.0),
    ("argmax", 2.0), ("norm", 10 ** 0.5),
])
def test_reductions_leave_out_what_is_missing(name, value):
    x = masked_tensor(X, MASK)
    lanes = getattr(x, name)(dim=1, keepdim=True)
    assert lanes.get_mask().tolist() == [[True], [False]]
    torch.testing.assert_close(lanes.get_data()[0, 0], torch.tensor(value))
    torch.testing.assert_close(getattr(x, name)().get_data(), torch.tensor(value))


def test_gradients_are_masked():
    x = masked_tensor(X, MASK, requires_grad=True)
    (x * x).sum().backward()
    assert is_masked_tensor(x.grad)
    assert torch.equal(x.grad.to_tensor(0), torch.tensor([[2.0, 0, 6], [0, 0, 0]]))
    y = X.clone().requires_grad_()
    as_masked_tensor(y * 2, MASK).sum().backward()
    assert torch.equal(y.grad.to_tensor(0), torch.tensor([[2.0, 0, 2], [0, 0, 0]]))


def test_wrong_input():
    x = masked_tensor(X, MASK)
    with pytest.raises(ValueError, match="Input masks must match"):
        x + masked_tensor(X, ~MASK)
    with pytest.raises(TypeError, match="mask must have dtype bool"):
        masked_tensor(X, X)
    with pytest.raises(ValueError, match="must equal mask"):
        masked_tensor(X, MASK[0])
    with pytest.raises(NotImplementedError, match=r"sort.*to_tensor"):
        x.sort()
    with pytest.raises(RuntimeError, match="numpy"):
        x.numpy()
