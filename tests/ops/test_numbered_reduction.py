"""Losses of torch itself, whose reduction is a number."""

import pytest

import taper as torch
from taper.nn import functional as F

X, Y = torch.tensor([[0.2, 0.8], [0.5, 0.5]]), torch.tensor([[0.3, 0.7], [0.1, 0.9]])


@pytest.mark.parametrize("name", ["binary_cross_entropy_with_logits", "kl_div"])
@pytest.mark.filterwarnings("ignore:reduction")
def test_numbers_stand_for_reductions(name):
    function, numbered = getattr(F, name), getattr(torch, name)
    assert torch.equal(numbered(X, Y), function(X, Y, reduction="none"))
    for number, reduction in enumerate(("none", "mean", "sum")):
        assert torch.equal(numbered(X, Y, reduction=number), function(X, Y, reduction=reduction))


def test_others():
    assert torch.hinge_embedding_loss(X, torch.ones(2, 2), 1.0, 2) == X.sum()
    assert torch.margin_ranking_loss(X, Y, torch.ones(2, 2)).shape == (2, 2)
    assert torch.triplet_margin_loss(X, X, Y).shape == (2,)
    assert torch.cosine_embedding_loss(X, X, torch.ones(2), 0.0, 1).item() == pytest.approx(0)
    assert torch.poisson_nll_loss(X, Y, True, False, 1e-8, 0).shape == (2, 2)
    with pytest.raises(RuntimeError, match="reduction"):
        torch.kl_div(X, Y, 7)
