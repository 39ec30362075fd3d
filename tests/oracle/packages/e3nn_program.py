"""Tensor products of e3nn, whose code is written by torch.fx, with gradients."""

import torch
from e3nn import o3

torch.manual_seed(0)
product = o3.FullyConnectedTensorProduct("2x0e+1x1o", "1x0e+1x1o", "2x0e+1x1o")
first = torch.arange(10.).reshape(2, 5).div(10).requires_grad_()
second = torch.arange(8.).reshape(2, 4) / 8
result = product(first, second)
result.pow(2).sum().backward()
print(result.detach(), first.grad, product.weight.grad)
directions = torch.tensor([[1., 2., 3.], [0., 1., -1.]])
print(o3.spherical_harmonics([0, 1, 2], directions, normalize=True))
print(o3.Linear("2x0e+1x1o", "3x0e+2x1o")(first).detach())
