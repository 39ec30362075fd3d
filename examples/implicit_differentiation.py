"""Differentiates what an iteration converges to, without differentiating the iteration.

If z solves z = f(z, theta), or g(z, theta) = 0, then by the implicit function theorem

    dz/dtheta = inverse(I - df/dz) df/dtheta,     dz/dtheta = - inverse(dg/dz) dg/dtheta

at the solution, however it was found. Three programs use it: the fixed point of a layer that feeds
itself (a deep equilibrium model), whose backward solves one linear system and keeps nothing of the
iterations; a penalized logistic regression, whose coefficients are differentiated in the penalty;
and a step for that penalty on held-out data. Each is checked against finite differences.

    python examples/implicit_differentiation.py
"""

import torch
from torch.func import grad, hessian, jacrev, vjp

torch.set_default_dtype(torch.float64)


class FixedPoint(torch.autograd.Function):
    """z = f(z, theta); backward solves u = v + u df/dz and returns u df/dtheta."""

    @staticmethod
    def forward(ctx, f, theta, start):
        with torch.no_grad():
            ctx.f, z, steps = f, start, 0
            while (following := f(z, theta)).sub(z).abs().max() > 1e-13 and steps < 1000:
                z, steps = following, steps + 1
        ctx.save_for_backward(z, theta)
        return z

    @staticmethod
    def backward(ctx, v):
        z, theta = ctx.saved_tensors
        _, pull = vjp(ctx.f, z, theta)
        slope = jacrev(ctx.f)(z, theta)
        u = torch.linalg.solve((torch.eye(len(z)) - slope).T, v)
        return None, pull(u)[1], None


def finite_differences(function, x, step=1e-5):
    """Central differences of a scalar function, element by element."""
    found = torch.zeros_like(x)
    for index in range(x.numel()):
        ahead = torch.zeros_like(x)
        ahead.view(-1)[index] = step
        found.view(-1)[index] = (function(x + ahead) - function(x - ahead)) / (2 * step)
    return found


def difference(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


def fixed_point(generator):
    """The gradient of the sum of squares of a self-consistent layer, in its weights."""
    weights = 0.3 * torch.randn(6, 6, generator=generator)
    given = torch.randn(6, generator=generator)

    def layer(z, weights):
        return torch.tanh(weights @ z + given)

    def loss(weights):
        return FixedPoint.apply(layer, weights, torch.zeros(6)).square().sum()

    leaf = weights.clone().requires_grad_()
    loss(leaf).backward()
    return difference(leaf.grad, finite_differences(loss, weights))


def logistic_loss(beta, log_penalty, x, y):
    score = x @ beta
    misfit = (torch.nn.functional.softplus(score) - y * score).sum()
    return misfit + 0.5 * log_penalty.exp() * beta.square().sum()


def fitted(log_penalty, x, y, steps=30):
    """The coefficients with the least loss, by Newton's method."""
    beta = torch.zeros(x.shape[1])
    for _ in range(steps):
        slope = grad(logistic_loss)(beta, log_penalty, x, y)
        curvature = hessian(logistic_loss)(beta, log_penalty, x, y)
        beta = beta - torch.linalg.solve(curvature, slope)
    return beta


def derivative_of_fit(beta, log_penalty, x, y):
    """d beta / d log_penalty: the fit's equation is g = d loss / d beta = 0."""
    by_beta, by_penalty = jacrev(grad(logistic_loss), argnums=(0, 1))(beta, log_penalty, x, y)
    return -torch.linalg.solve(by_beta, by_penalty)


def main():
    generator = torch.Generator().manual_seed(0)
    print(f"fixed point of a layer: relative error {fixed_point(generator):.1e}")

    x = torch.randn(120, 8, generator=generator)
    truth = torch.tensor([1.5, -1.0, 0.5, 0, 0, 0, 0, 0])
    y = (torch.rand(120, generator=generator) < torch.sigmoid(x @ truth)).double()
    train, held_out = (x[:40], y[:40]), (x[40:], y[40:])

    def held_out_loss(log_penalty):
        nothing = torch.tensor(-torch.inf)
        return logistic_loss(fitted(log_penalty, *train), nothing, *held_out) / len(held_out[1])

    log_penalty = torch.tensor(-3.0)
    for step in range(21):
        beta = fitted(log_penalty, *train)
        by_beta = grad(logistic_loss)(beta, torch.tensor(-torch.inf), *held_out) / 80
        slope = by_beta @ derivative_of_fit(beta, log_penalty, *train)
        if step == 0:
            expected = finite_differences(held_out_loss, log_penalty)
            print(f"fit of a regression: relative error {difference(slope, expected):.1e}")
        if step % 10 == 0:
            print(
                f"step {step:2d}  penalty {log_penalty.exp():7.4f}"
                f"  held-out loss {held_out_loss(log_penalty):.5f}  slope {slope:9.2e}"
            )
        log_penalty = log_penalty - 60.0 * slope


if __name__ == "__main__":
    main()
