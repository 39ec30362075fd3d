"""taper/ops/margin_loss.py: losses by hand."""

import math

import pytest

import taper as torch

F = torch.nn.functional


def test_soft_margin_loss():
    x, t = torch.tensor([0.0, math.log(3)]), torch.tensor([1.0, -1.0])
    losses = F.soft_margin_loss(x, t, reduction="none")
    assert losses.tolist() == pytest.approx([math.log(2), math.log(4)])
    assert F.soft_margin_loss(x, t).item() == pytest.approx(1.5 * math.log(2))
    with pytest.raises(RuntimeError, match="not differentiable with respect to argument 'target'"):
        F.soft_margin_loss(x, t.requires_grad_())


def test_hinge_embedding_loss():
    x, t = torch.tensor([0.25, 0.25, 2.0], requires_grad=True), torch.tensor([1, -1, -1])
    losses = F.hinge_embedding_loss(x, t, reduction="none")
    assert losses.tolist() == [0.25, 0.75, 0.0]
    losses.sum().backward()
    assert x.grad.tolist() == [1.0, -1.0, 0.0]
    assert F.hinge_embedding_loss(x, t, margin=3.0, reduction="sum").item() == 4.0


def test_margin_ranking_loss():
    first, second = torch.tensor([1.0, 1.0]), torch.tensor([3.0, 3.0])
    order = torch.tensor([1.0, -1.0])
    losses = F.margin_ranking_loss(first, second, order, margin=0.5, reduction="none")
    assert losses.tolist() == [2.5, 0.0]
    with pytest.raises(RuntimeError, match="margin_ranking_loss : All input tensors should have"):
        F.margin_ranking_loss(first, second[:1].unsqueeze(0), order)


def test_cosine_embedding_loss():
    a = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    b = torch.tensor([[0.0, 2.0], [3.0, 0.0]])
    same, other = torch.tensor([1, 1]), torch.tensor([-1, -1])
    assert F.cosine_embedding_loss(a, b, same, reduction="none").tolist() == pytest.approx([1, 0])
    found = F.cosine_embedding_loss(a, b, other, margin=0.25, reduction="none")
    assert found.tolist() == pytest.approx([0, 0.75])


def test_triplet_margin_loss():
    anchor, positive, negative = (torch.tensor([[x, 0.0]]) for x in (0.0, 3.0, 1.0))
    assert F.triplet_margin_loss(anchor, positive, negative).item() == pytest.approx(3.0, abs=1e-4)
    # With swap, the negative's distance is the smaller one of those to anchor and positive.
    anchor = torch.tensor([[-2.0, 0.0]])
    assert F.triplet_margin_loss(anchor, positive, negative, swap=True).item() == pytest.approx(
        5 - 2 + 1, abs=1e-4
    )
    assert F.triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=lambda a, b: (a - b).abs().sum(-1)
    ).item() == pytest.approx(5 - 3 + 1)


def test_unknown_reduction():
    with pytest.raises(ValueError, match="is not a valid value for reduction"):
        F.soft_margin_loss(torch.zeros(1), torch.ones(1), reduction="all")
