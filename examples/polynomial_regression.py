"""Fits polynomials of growing degree to noisy points and shows where more degrees stop helping.

The weights come from training with Adam; for comparison the exact least-squares solution comes
from `torch.linalg.lstsq`. Chebyshev polynomials stand in for the powers 1, x, x^2 ...: they span
the same functions, but a gradient method gets to the bottom in hundreds of steps, not millions.

    python examples/polynomial_regression.py --degrees 1 3 5 9 15
"""

import argparse
from pathlib import Path

import matplotlib
import torch
from torch import nn

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def truth(x):
    return torch.sin(3 * x) + 0.5 * x


def sample(count, noise):
    x = 2 * torch.rand(count) - 1
    return x, truth(x) + noise * torch.randn(count)


class Polynomial(nn.Module):
    """A weighted sum of the Chebyshev polynomials T_0 ... T_degree on [-1, 1]."""

    def __init__(self, degree):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(degree + 1))

    def basis(self, x):
        columns = [torch.ones_like(x), x]
        while len(columns) < len(self.weights):
            columns.append(2 * x * columns[-1] - columns[-2])
        return torch.stack(columns[: len(self.weights)], dim=-1)

    def forward(self, x):
        return self.basis(x) @ self.weights


def train(model, x, y, steps):
    """Least squares by Adam; returns the loss at each step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    mean_square = nn.MSELoss()
    losses = []
    for _ in range(steps):
        loss = mean_square(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def exact_weights(model, x, y):
    return torch.linalg.lstsq(model.basis(x), y.unsqueeze(1)).solution.squeeze(1)


@torch.no_grad()
def mean_error(model, x, y):
    return (model(x) - y).square().mean().sqrt().item()


def draw(models, curves, points, path):
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    grid = torch.linspace(-1, 1, 400)
    left.scatter(points[0].numpy(), points[1].numpy(), s=12, color="0.5", label="training points")
    left.plot(grid.numpy(), truth(grid).numpy(), "k--", linewidth=1, label="truth")
    for model, losses in zip(models, curves, strict=True):
        degree = len(model.weights) - 1
        left.plot(grid.numpy(), model(grid).detach().numpy(), label=f"degree {degree}")
        right.loglog(range(1, len(losses) + 1), losses, label=f"degree {degree}")
    left.set(xlabel="x", ylabel="y", ylim=(-2.5, 2.5))
    right.set(xlabel="step of Adam", ylabel="training loss")
    left.legend(fontsize=8)
    right.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description="Polynomial regression by gradient and exactly.")
    parser.add_argument("--degrees", type=int, nargs="+", default=[1, 3, 5, 9, 15])
    parser.add_argument("--points", type=int, default=40)
    parser.add_argument("--noise", type=float, default=0.2)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("output/polynomial_regression"))
    options = parser.parse_args()

    options.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    points, fresh = sample(options.points, options.noise), sample(1000, options.noise)

    print("degree   training error   error on fresh points   away from least squares")
    models, curves = [], []
    for degree in options.degrees:
        model = Polynomial(degree)
        curves.append(train(model, *points, options.steps))
        distance = (model.weights.detach() - exact_weights(model, *points)).abs().max()
        print(
            f"{degree:6d}{mean_error(model, *points):17.4f}{mean_error(model, *fresh):24.4f}"
            f"{distance.item():26.1e}"
        )
        models.append(model)

    best = min(models, key=lambda model: mean_error(model, *fresh))
    picture = options.output / "fits.png"
    draw(models, curves, points, picture)
    print(f"\nthe noise alone is {options.noise}; degree {len(best.weights) - 1} comes closest")
    print(f"picture in {picture}")


if __name__ == "__main__":
    main()
