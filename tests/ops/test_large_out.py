"""`out=` of large tensors: what is computed straight into it, and what the usual way refuses."""

import pytest

import taper as torch

x, y = torch.randn(300, 300), torch.randn(300, 300)


def test_values_version_and_identity() -> None:
    z = torch.empty(300, 300)
    version = z._version
    for times in range(1, 4):
        assert torch.add(x, y, out=z) is z
        assert z._version == version + times
        assert torch.equal(z, x + y)
    assert torch.equal(torch.sub(x, y, alpha=2, out=z), x - 2 * y)


@pytest.mark.parametrize("make", [
    lambda: torch.empty(300, 300).t(), lambda: torch.empty(300, 600)[:, ::2],
    lambda: torch.empty(0), lambda: torch.empty(300, 300, dtype=torch.float64),
])
def test_any_layout(make) -> None:
    z = make()
    for _ in range(3):
        torch.mul(x, y, out=z)
        assert torch.equal(z, (x * y).to(z.dtype))


def test_one_tensor_as_operand_and_out() -> None:
    z = x.clone()
    for times in range(1, 4):
        torch.add(z, y, out=z)
        torch.testing.assert_close(z, x + times * y)
    overlapping = torch.zeros(90_300)
    overlapping[:90_000] = x.reshape(-1)
    torch.neg(overlapping[:90_000], out=overlapping[300:])
    assert torch.equal(overlapping[300:], -x.reshape(-1))


def test_recorded_operands_are_refused() -> None:
    z = torch.empty(300, 300)
    torch.add(x, y, out=z)
    with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
        torch.add(x.clone().requires_grad_(), y, out=z)
    with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
        torch.add(x, y, out=z.requires_grad_())
