import pytest

import taper as torch


def test_histc():
    x = torch.tensor([1.0, 2.0, 1.0, 9.0])
    assert torch.histc(x, bins=4, min=0, max=3).tolist() == [0, 2, 1, 0]
    assert torch.histc(torch.ones(3), bins=4).tolist() == [0, 0, 3, 0]
    with pytest.raises(RuntimeError, match=r"torch\.histc: max must be larger than min"):
        torch.histc(x, bins=4, min=2, max=1)


def test_histogram():
    x = torch.tensor([1.0, 2.0, 1.0])
    hist, edges = torch.histogram(x, bins=2, range=(0.0, 3.0))
    assert hist.tolist() == [2, 1] and edges.tolist() == [0, 1.5, 3]
    weighted = torch.histogram(x, torch.tensor([0.0, 1.5, 3.0]), weight=torch.tensor([1.0, 2, 3]))
    assert weighted.hist.tolist() == [4, 2]
    assert torch.histogram(x, 2, range=(0.0, 2.0), density=True).hist.tolist() == [0, 1]
    points = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert torch.histogramdd(points, [2, 2]).hist.tolist() == [[0, 1], [1, 0]]


def test_bincount():
    x = torch.tensor([1, 1, 3])
    assert x.bincount(minlength=5).tolist() == [0, 2, 0, 1, 0]
    assert x.bincount(torch.tensor([0.5, 1.0, 2.0])).tolist() == [0, 1.5, 0, 2]
    with pytest.raises(RuntimeError, match="bincount only supports 1-d non-negative integral"):
        torch.tensor([-1]).bincount()


def test_cov_and_corrcoef():
    x = torch.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
    assert x.cov().tolist() == [[1, -1], [-1, 1]]
    assert x.cov(correction=0, fweights=torch.tensor([1, 0, 1])).tolist() == [[1, -1], [-1, 1]]
    assert torch.allclose(x.corrcoef(), torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
    with pytest.raises(RuntimeError, match="expected input to have two or fewer dimensions"):
        torch.zeros(1, 1, 1).cov()
