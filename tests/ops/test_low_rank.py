import pytest

import taper as torch


def test_low_rank_factors():
    torch.manual_seed(0)
    a = torch.randn(6, 2, dtype=torch.float64) @ torch.randn(2, 4, dtype=torch.float64)
    for x in (a, a.T, a.expand(2, 6, 4)):
        u, s, v = torch.svd_lowrank(x, q=3)
        assert torch.allclose(u * s.unsqueeze(-2) @ v.mT, x)
        assert torch.allclose(s[..., :2], torch.linalg.svdvals(x)[..., :2])
    centred = a - a.mean(0)
    u, s, v = torch.pca_lowrank(a, q=2)
    assert torch.allclose(u * s @ v.T, centred)
    assert torch.allclose(torch.svd_lowrank(a, q=2, M=a.mean(0))[1], s)


def test_errors():
    with pytest.raises(ValueError, match=r"q\(=5\) must be non-negative integer and not greater"):
        torch.pca_lowrank(torch.ones(2, 2), q=5)
    with pytest.raises(ValueError, match=r"niter\(=-1\) must be non-negative integer"):
        torch.pca_lowrank(torch.ones(2, 2), niter=-1)


def test_generalized_eigenpairs():
    torch.manual_seed(0)
    a, b = (torch.randn(6, 6, dtype=torch.float64) for _ in range(2))
    a, b = a @ a.T, b @ b.T + torch.eye(6, dtype=torch.float64)
    values, vectors = torch.lobpcg(a, k=2, B=b, largest=False)
    assert torch.allclose(a @ vectors, b @ vectors * values)
    assert values.tolist() == sorted(values.tolist())
    with pytest.raises(ValueError, match="LOBPCG algorithm is not applicable"):
        torch.lobpcg(a, k=3)
