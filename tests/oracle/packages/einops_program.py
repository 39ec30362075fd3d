"""Rearrangements, reductions and layers of einops, with gradients."""

import torch
from einops import einsum, rearrange, reduce, repeat
from einops.layers.torch import Rearrange

torch.manual_seed(0)
x = torch.randn(2, 3, 4, 4, requires_grad=True)
patches = rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=2, q=2)
means = reduce(x, "b c h w -> b c", "mean")
print(patches.shape, means.detach())
print(repeat(means, "b c -> b c 2").shape, einsum(means, means, "a c, b c -> a b").detach())
(patches.sum() + means.pow(2).sum()).backward()
print(x.grad[0, 0])
model = torch.nn.Sequential(Rearrange("b c h w -> b (c h w)"), torch.nn.Linear(48, 4))
print(model(x).detach(), model)
