"""Large gradients are kept without a copy where nobody else has their memory, and only there."""

import numpy as np
import pytest

import taper as torch
from taper.autograd import engine


def weight() -> torch.Tensor:
    return torch.randn(200, 300, requires_grad=True)


def test_the_gradient_of_a_layers_weight_is_laid_out_as_the_weight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copies: list[torch.Tensor] = []
    monkeypatch.setattr(engine, "owned_copy", lambda grad, leaf: copies.append(grad))
    w, x = weight(), torch.randn(7, 300)
    torch.nn.functional.linear(x, w).sum().backward()
    assert w.grad.stride() == w.stride() and not copies
    assert not w.grad._is_view() and w.grad.is_leaf
    np.testing.assert_allclose(w.grad.numpy(), np.tile(x.numpy().sum(0), (200, 1)), rtol=1e-4)


def test_a_gradient_that_a_hook_keeps_is_copied() -> None:
    w, kept = weight(), []
    w.register_hook(kept.append)
    torch.nn.functional.linear(torch.ones(2, 300), w).sum().backward()
    w.grad.zero_()
    assert (kept[0] == 2).all()


def test_a_view_of_what_somebody_holds_is_copied() -> None:
    w = weight()
    given = torch.ones(300, 200)
    w.t().backward(given)
    w.grad.zero_()
    assert (given == 1).all()


def test_two_leaves_with_one_gradient_do_not_share_it() -> None:
    a, b = weight(), weight()
    (a + b).backward(torch.ones(200, 300))
    a.grad.zero_()
    assert (b.grad == 1).all()


def test_part_of_a_larger_gradient_is_copied() -> None:
    w = weight()
    torch.cat([w, torch.zeros(1000, 300)]).backward(torch.ones(1200, 300))
    assert w.grad.untyped_storage().nbytes() == 200 * 300 * 4
