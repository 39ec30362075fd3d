import math

import taper as torch


def test_segment_reduce():
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    lengths = torch.tensor([2, 0, 1])
    assert torch.segment_reduce(x, "sum", lengths=lengths).tolist() == [3, 0, 3]
    assert torch.segment_reduce(x, "max", lengths=lengths, initial=2.5).tolist() == [2.5, 2.5, 3]
    means = torch.segment_reduce(x, "mean", lengths=lengths)
    assert means[0].item() == 1.5 and math.isnan(means[1].item())
    offsets = torch.tensor([0, 1, 3])
    result = torch.segment_reduce(x, "prod", offsets=offsets)
    assert result.tolist() == [1, 6]
    result.sum().backward()
    assert x.grad.tolist() == [1, 3, 2]


def test_hash_tensor():
    assert torch.hash_tensor(torch.tensor([1, 3])).item() == 2
    assert torch.hash_tensor(torch.ones(2, 2), 1).tolist() == [0, 0]
