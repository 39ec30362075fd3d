"""Estimates how people choose: a conditional logit, by maximum likelihood, with standard errors.

Each of many travellers picks one of several ways to go. Way j has attributes x_j (price, minutes
...), its worth to the traveller is  x_j . beta + noise, and the one worth most is taken. If the
noise is Gumbel, then

    P(choice = j) = exp(x_j . beta) / sum_k exp(x_k . beta)          (McFadden, 1974)

The program simulates choices with a known beta, then finds it again, twice: by gradient descent
with `torch.optim.SGD`, and by Newton's method with the Hessian from `torch.autograd.functional`.
The inverse of that Hessian is the covariance of the estimate, hence the standard errors.

    python examples/discrete_choice.py --people 2000
"""

import argparse

import torch
from torch.autograd.functional import hessian, jacobian

NAMES = ("price", "minutes", "transfers", "comfort")
TRUTH = torch.tensor([-1.2, -0.8, -0.5, 0.7], dtype=torch.float64)


def simulate(people, ways, generator):
    """Attributes (people, ways, 4), in standard deviations, and the index of each choice."""
    attributes = torch.randn(
        people, ways, len(TRUTH), dtype=torch.float64, generator=generator
    )
    # Faster ways cost more, as they do: without this the estimates would hardly be correlated.
    attributes[:, :, 0] -= 0.5 * attributes[:, :, 1]
    uniform = torch.rand(people, ways, dtype=torch.float64, generator=generator)
    gumbel = -torch.log(-torch.log(uniform.clamp(min=1e-300)))
    return attributes, (attributes @ TRUTH + gumbel).argmax(dim=1)


def negative_log_likelihood(beta, attributes, choices):
    worth = attributes @ beta
    chosen = worth.gather(1, choices.unsqueeze(1)).squeeze(1)
    return (worth.logsumexp(dim=1) - chosen).sum()


def estimate_by_descent(loss, steps, people):
    beta = torch.zeros_like(TRUTH, requires_grad=True)
    optimizer = torch.optim.SGD([beta], lr=2.0 / people, momentum=0.8)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(beta).backward()
        optimizer.step()
    return beta.detach()


def estimate_by_newton(loss, tolerance=1e-9, most_steps=50):
    """Newton steps, halved while they don't improve; returns the estimate and the steps it took."""
    beta = torch.zeros_like(TRUTH)
    for step in range(most_steps):
        gradient = jacobian(loss, beta)
        direction = torch.linalg.solve(hessian(loss, beta), gradient)
        # direction . gradient is twice the improvement that the quadratic model promises.
        if direction @ gradient < tolerance:
            return beta, step
        size = 1.0
        while loss(beta - size * direction) > loss(beta):
            size /= 2
        beta = beta - size * direction
    raise RuntimeError(f"Newton's method has not converged in {most_steps} steps")


def main():
    parser = argparse.ArgumentParser(description="Maximum likelihood for a conditional logit.")
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--ways", type=int, default=4, help="alternatives to choose from")
    parser.add_argument("--steps", type=int, default=200, help="of gradient descent")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    generator = torch.Generator().manual_seed(options.seed)
    attributes, choices = simulate(options.people, options.ways, generator)

    def loss(beta):
        return negative_log_likelihood(beta, attributes, choices)

    descended = estimate_by_descent(loss, options.steps, options.people)
    beta, steps = estimate_by_newton(loss)
    covariance = torch.linalg.inv(hessian(loss, beta))
    errors = covariance.diag().sqrt()

    nothing = loss(torch.zeros_like(beta))
    print(f"{options.people} people, {options.ways} ways to go, Newton's method took {steps} steps")
    print(f"log-likelihood {-loss(beta):.3f}; if choices were blind, {-nothing:.3f}")
    print(f"McFadden's pseudo R2 {1 - loss(beta) / nothing:.3f}\n")
    print(f"{'':<12}{'truth':>8}{'estimate':>10}{'std. err.':>11}{'z':>9}   95 % interval")
    for name, truth, value, error in zip(NAMES, TRUTH, beta, errors, strict=True):
        low, high = value - 1.96 * error, value + 1.96 * error
        print(
            f"{name:<12}{truth:>8.2f}{value:>10.4f}{error:>11.4f}{value / error:>9.2f}"
            f"   [{low:.3f}, {high:.3f}]"
        )
    # A minute is worth what price could rise with it: a ratio, so its error needs both of theirs.
    ratio = beta[1] / beta[0]
    slope = jacobian(lambda b: b[1] / b[0], beta)
    error = (slope @ covariance @ slope).sqrt()
    print(f"\nminutes in units of price {ratio:.4f}, std. err. {error:.4f}")
    print(f"gradient descent is away from Newton by {(descended - beta).abs().max():.1e}")


if __name__ == "__main__":
    main()
