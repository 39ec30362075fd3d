"""The leading subspace of a matrix, by Riemannian Adam on a Stiefel manifold."""

import geoopt
import torch

torch.manual_seed(0)
start = torch.linalg.qr(torch.randn(5, 3))[0]
frame = geoopt.ManifoldParameter(start, manifold=geoopt.Stiefel())
optimizer = geoopt.optim.RiemannianAdam([frame], lr=0.1)
matrix = torch.randn(5, 5)
matrix = matrix + matrix.T
for _ in range(5):
    loss = -(frame.T @ matrix @ frame).trace()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(loss.item())
ball = geoopt.PoincareBall()
x = ball.random(3, 2) * 0.5
print(ball.dist(x[0], x[1]), ball.expmap0(x).norm())
