"""Watches gradient descent on functions of one number: what the step size does, in one figure.

On f(w) = c w^2 / 2 each step multiplies the error by (1 - lr c): it shrinks steadily for small
lr, changes sign for lr > 1/c, and grows for lr > 2/c. The other functions show what that says
about landscapes that are no parabolas: near a minimum the curvature f'' plays the part of c.

    python examples/gradient_descent_1d.py --function double_well --steps 40
"""

import argparse
import itertools
from pathlib import Path

import matplotlib
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# The function, where to start, and step sizes that show all it can do.
FUNCTIONS = {
    "quadratic": (lambda w: 0.5 * w**2, 2.5, [0.1, 0.9, 1.8, 2.05]),
    "double_well": (lambda w: (w**2 - 1) ** 2 / 4 + 0.1 * w, 1.9, [0.02, 0.2, 0.45, 0.85]),
    "log_cosh": (lambda w: torch.log(torch.cosh(w)), 2.5, [0.1, 0.9, 1.8, 2.5]),
}


def derivatives(function, at):
    """f, f' and f'' at one point."""
    w = torch.tensor(at, dtype=torch.float64, requires_grad=True)
    value = function(w)
    (slope,) = torch.autograd.grad(value, w, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, w)
    return value.item(), slope.item(), curvature.item()


def descend(function, start, lr, steps, tolerance=1e-8):
    """Follows w <- w - lr f'(w); stops early at a stationary point, or when w runs away."""
    w = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    path = {"w": [], "value": [], "slope": []}
    for _ in range(steps + 1):
        value = function(w)
        value.backward()
        path["w"].append(w.item())
        path["value"].append(value.item())
        path["slope"].append(abs(w.grad.item()))
        if not tolerance < path["slope"][-1] < 1e6:
            break
        with torch.no_grad():
            w -= lr * w.grad
        w.grad.zero_()
    return path


def describe(path):
    slopes, values = path["slope"], path["value"]
    if slopes[-1] <= 1e-8:
        return f"stationary after {len(slopes) - 1} steps"
    if slopes[-1] > 10 * slopes[0]:
        return "runs away"
    falls = all(later <= earlier for earlier, later in itertools.pairwise(values))
    return "still falling" if falls else "jumps about"


def draw(name, function, start, paths, picture):
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    grid = torch.linspace(-1.2 * start, 1.2 * start, 400, dtype=torch.float64)
    axes[0].plot(grid.numpy(), function(grid).numpy(), color="0.6")
    window = axes[0].axis()
    for lr, path in paths.items():
        axes[0].plot(path["w"], path["value"], ".-", label=f"lr = {lr:g}")
        axes[1].plot(path["w"][:60], ".-")
        axes[2].semilogy([max(slope, 1e-16) for slope in path["slope"]], ".-")
    axes[0].set(title=f"{name}: the path", xlabel="w", ylabel="f(w)")
    axes[0].axis(window)  # a path that runs away must not take the picture with it
    axes[1].set(title="where it is", xlabel="step", ylabel="w", ylim=(-1.5 * start, 1.5 * start))
    axes[2].set(title="how steep it is there", xlabel="step", ylabel="|f'(w)|")
    axes[2].axhline(1e-8, color="0.6", linestyle=":")
    axes[0].legend(fontsize=8)
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description="Diagnostics of gradient descent in 1-D.")
    parser.add_argument("--function", choices=FUNCTIONS, default="quadratic")
    parser.add_argument("--lr", type=float, nargs="+", help="step sizes to compare")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--output", type=Path, default=Path("output/gradient_descent_1d"))
    options = parser.parse_args()

    options.output.mkdir(parents=True, exist_ok=True)
    function, start, rates = FUNCTIONS[options.function]
    value, slope, curvature = derivatives(function, start)
    print(f"{options.function} at w = {start}:", end=" ")
    print(f"f = {value:.4f}, f' = {slope:.4f}, f'' = {curvature:.4f}")
    print("    lr    w at the end     |slope|  lr * f''   verdict")
    paths = {}
    for lr in options.lr or rates:
        path = paths[lr] = descend(function, start, lr, options.steps)
        steepness = lr * derivatives(function, path["w"][-1])[2]
        print(
            f"{lr:>6g}{path['w'][-1]:>16.6g}{path['slope'][-1]:>12.2e}{steepness:>10.3g}"
            f"   {describe(path)}"
        )
    picture = options.output / f"{options.function}.png"
    draw(options.function, function, start, paths, picture)
    print(f"picture in {picture}")


if __name__ == "__main__":
    main()
