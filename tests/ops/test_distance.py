import math

import pytest

import taper as torch
from taper.autograd import gradcheck, gradgradcheck

F = torch.nn.functional


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_distances_by_hand():
    a, b = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, -4.0]])
    for p, expected in ((2, 5), (1, 7), (0, 2), (math.inf, 4), (3, 91 ** (1 / 3))):
        assert torch.cdist(a, b, p).item() == pytest.approx(expected)
        assert torch.pdist(torch.cat([a, b]), p).item() == pytest.approx(expected)
    assert F.pairwise_distance(a, b, eps=0).item() == 5
    assert F.cosine_similarity(b, -2 * b).item() == pytest.approx(-1)
    assert F.cosine_similarity(a, b).item() == 0
    assert F.bilinear(b, b, torch.eye(2)[None], torch.tensor([1.0])).item() == 26


def test_both_ways_to_euclidean_distances_agree():
    a, b = random(30, 3), random(4, 3)
    direct = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    assert torch.allclose(torch.cdist(a, b), direct)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, math.inf])
def test_derivatives(p):
    a, b = random(3, 2), random(2, 2)
    assert gradcheck(lambda a, b: torch.cdist(a, b, p), (a, b))
    assert gradcheck(lambda a: torch.pdist(a, p), (a,))
    assert gradgradcheck(lambda a, b: torch.cdist(a, b, p), (a, b))
    assert gradgradcheck(lambda a: torch.pdist(a, p), (a,))


def test_gradient_at_distance_zero_is_zero():
    a = torch.ones(1, 2, requires_grad=True)
    torch.cdist(a, torch.ones(1, 2)).backward()
    assert a.grad.tolist() == [[0, 0]]


def test_similarity_and_bilinear_derivatives():
    assert gradcheck(F.cosine_similarity, (random(2, 3), random(1, 3)))
    assert gradgradcheck(F.bilinear, (random(2, 2), random(2, 3), random(2, 2, 3), random(2)))


def test_errors():
    with pytest.raises(RuntimeError, match="X1 and X2 must have the same number of columns"):
        torch.cdist(torch.ones(1, 2), torch.ones(1, 3))
    with pytest.raises(RuntimeError, match="expected common dtype to be floating point"):
        F.cosine_similarity(torch.ones(1, 2).long(), torch.ones(1, 2).long())
