"""A normalizing flow of nflows, fitted for five steps."""

import torch
from nflows import distributions, flows, transforms

torch.manual_seed(0)
flow = flows.Flow(
    transforms.CompositeTransform([
        transforms.MaskedAffineAutoregressiveTransform(features=2, hidden_features=4),
        transforms.RandomPermutation(2),
        transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
            features=2, hidden_features=8, tails="linear", tail_bound=3.0, num_bins=4
        ),
    ]),
    distributions.StandardNormal([2]),
)
optimizer = torch.optim.Adam(flow.parameters(), 1e-2)
x = torch.randn(50, 2) * 0.5 + 1
for _ in range(5):
    loss = -flow.log_prob(x).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(loss.item())
print(flow.sample(3).shape)
