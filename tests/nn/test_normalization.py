"""CrossMapLRN2d, whose forward isn't an operator (the other norms are tested with theirs)."""

import taper as torch
from taper import nn


def test_the_window_is_centred_and_keeps_channel_0():
    x = torch.arange(1.0, 6.0).view(1, 5, 1, 1)
    result = nn.CrossMapLRN2d(3, alpha=3.0, beta=1.0, k=0.0)(x).flatten()
    sums = [1 + 4, 1 + 4 + 9, 4 + 9 + 16 + 1, 9 + 16 + 25 + 1, 16 + 25 + 1]
    assert torch.allclose(result, torch.tensor([i / s for i, s in enumerate(sums, 1)]))


def test_its_gradient():
    torch.manual_seed(0)
    x = torch.randn(1, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(nn.CrossMapLRN2d(3, alpha=0.5), x)
