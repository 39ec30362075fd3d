"""Maximum likelihood with standard errors by Laplace's approximation: the Hessian at the maximum.

Near its maximum the log-likelihood is a parabola, that is, the posterior is nearly normal, with

    covariance = inverse of the Hessian of the negative log-likelihood

Two models show that these are the errors that textbooks give. For normal data they have a closed
form. For a logit, the data are those of Spector and Mazzeo (1980), on which W. Greene's
"Econometric Analysis" and the documentation of statsmodels print their results: did a new way of
teaching (PSI) help 32 students of economics to raise their grades?

    python examples/laplace_errors.py
"""

import torch
from torch.func import grad, hessian

torch.set_default_dtype(torch.float64)

# Grade point average, score of a test before the course, taught in the new way, grade raised.
STUDENTS = """
    2.66 20 0 0   2.89 22 0 0   3.28 24 0 0   2.92 12 0 0   4.00 21 0 1   2.86 17 0 0   2.76 17 0 0
    2.87 21 0 0   3.03 25 0 0   3.92 29 0 1   2.63 20 0 0   3.32 23 0 0   3.57 23 0 0   3.26 25 0 1
    3.53 26 0 0   2.74 19 0 0   2.75 25 0 0   2.83 19 0 0   3.12 23 1 0   3.16 25 1 1   2.06 22 1 0
    3.62 28 1 1   2.89 14 1 0   3.51 26 1 0   3.54 24 1 1   2.83 27 1 1   3.39 17 1 1   2.67 24 1 0
    3.65 21 1 1   4.00 23 1 1   3.10 21 1 0   2.39 19 1 1
"""
NAMES = ("GPA", "TUCE", "PSI", "const")
# Estimates and standard errors as published.
PUBLISHED = torch.tensor([
    [2.826, 0.0952, 2.379, -13.021],
    [1.263, 0.1416, 1.065, 4.931],
])


def maximum_likelihood(loss, start, tolerance=1e-10, most_steps=50):
    """Newton's method with halved steps: the estimate and its covariance."""
    params = start
    for _ in range(most_steps):
        slope, curvature = grad(loss)(params), hessian(loss)(params)
        direction = torch.linalg.solve(curvature, slope)
        if direction @ slope < tolerance**2:
            return params, torch.linalg.inv(curvature)
        size = 1.0
        while loss(params - size * direction) > loss(params) and size > 1e-6:
            size /= 2
        params = params - size * direction
    raise RuntimeError(f"no maximum found in {most_steps} steps")


def normal_data(count=50):
    """Errors of mean and log of the scale: exactly scale / sqrt(n) and 1 / sqrt(2 n)."""
    data = 3 + 2 * torch.randn(count, generator=torch.Generator().manual_seed(0))

    def loss(params):
        mean, log_scale = params
        return -torch.distributions.Normal(mean, log_scale.exp()).log_prob(data).sum()

    params, covariance = maximum_likelihood(loss, torch.stack([data.median(), torch.tensor(0.0)]))
    errors = covariance.diag().sqrt()
    exact = torch.stack([params[1].exp() / count**0.5, torch.tensor((2 * count) ** -0.5)])
    print(f"normal data: mean {params[0]:.4f} +- {errors[0]:.4f}, closed form {exact[0]:.4f}")
    print(f"        log scale {params[1]:.4f} +- {errors[1]:.4f}, closed form {exact[1]:.4f}")
    print(f"        away from the closed form by {((errors - exact) / exact).abs().max():.1e}\n")


def logit():
    table = torch.tensor([float(word) for word in STUDENTS.split()]).view(-1, 4)
    x = torch.cat([table[:, :3], torch.ones(len(table), 1)], dim=1)
    y = table[:, 3]

    def loss(beta):
        score = x @ beta
        return (torch.nn.functional.softplus(score) - y * score).sum()

    beta, covariance = maximum_likelihood(loss, torch.zeros(4))
    errors = covariance.diag().sqrt()
    print(f"logit of {len(y)} students, log-likelihood {-loss(beta):.4f}")
    print(f"{'':<8}{'estimate':>10}{'std. err.':>11}{'z':>8}{'published':>12}{'std. err.':>11}")
    for name, value, error, known in zip(NAMES, beta, errors, PUBLISHED.T, strict=True):
        print(
            f"{name:<8}{value:>10.4f}{error:>11.4f}{value / error:>8.3f}"
            f"{known[0]:>12g}{known[1]:>11g}"
        )

    # What the new way of teaching changes for a student of average GPA and TUCE; a function of the
    # estimates, whose error is the length of its gradient in the covariance (the delta method).
    def effect(beta):
        average = x.mean(0)
        apart = average.new_tensor([0, 0, 1, 0])
        base = (average * (1 - apart)) @ beta
        return torch.sigmoid(base + beta[2]) - torch.sigmoid(base)

    slope = grad(effect)(beta)
    print(
        f"\nthe new way raises the chance of a better grade by {effect(beta):.4f}"
        f" +- {(slope @ covariance @ slope).sqrt():.4f}"
    )


if __name__ == "__main__":
    normal_data()
    logit()
