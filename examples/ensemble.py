"""Trains an ensemble of networks as one, and lets it say where it doesn't know.

`stack_module_state` stacks the parameters of ten networks, `functional_call` runs one network with
parameters that it is given, and `vmap` does that for all ten at once. Where there were data the
networks agree; where there were none, each goes its own way, and their spread is a measure of what
is not known (Lakshminarayanan, Pritzel, Blundell 2017).

    python examples/ensemble.py --members 10
"""

import argparse
import copy
import time

import torch
from torch import nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap


def network(width=32):
    return nn.Sequential(
        nn.Linear(1, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1)
    )


def data(count=80):
    """A noisy sine on [-3, -1] and [1, 3], with nothing between and beyond."""
    x = torch.rand(count, 1) * 2 + 1
    x = torch.where(torch.arange(count).view(-1, 1) % 2 == 0, x, -x)
    return x, torch.sin(2 * x) + 0.05 * torch.randn(count, 1)


def train_at_once(models, x, y, steps, lr):
    """Plain gradient descent with momentum on all members; returns their stacked parameters."""
    skeleton = copy.deepcopy(models[0]).to("meta")
    parameters, _ = stack_module_state(models)
    parameters = {name: p.detach() for name, p in parameters.items()}

    def loss(parameters):
        return nn.functional.mse_loss(functional_call(skeleton, parameters, (x,)), y)

    slopes_and_losses = vmap(grad_and_value(loss))
    velocity = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for _ in range(steps):
        slopes, losses = slopes_and_losses(parameters)
        for name, p in parameters.items():
            velocity[name].mul_(0.9).add_(slopes[name])
            p.sub_(velocity[name], alpha=lr)
    return skeleton, parameters, losses


def train_one(model, x, y, steps, lr):
    """The same for a network by itself, as everybody writes it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()


def main():
    parser = argparse.ArgumentParser(description="An ensemble of networks, trained as one.")
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--compared", type=int, default=50, help="steps of the comparison")
    options = parser.parse_args()

    torch.manual_seed(0)
    x, y = data()
    models = [network() for _ in range(options.members)]

    started = time.perf_counter()
    _, parameters, _ = train_at_once(models, x, y, options.compared, options.lr)
    at_once = time.perf_counter() - started
    singles = copy.deepcopy(models)
    started = time.perf_counter()
    for model in singles:
        train_one(model, x, y, options.compared, options.lr)
    looped = time.perf_counter() - started
    expected, _ = stack_module_state(singles)
    apart = max((parameters[name] - expected[name]).abs().max().item() for name in expected)
    print(f"{options.members} networks, {options.compared} steps: at once and one by one are apart")
    print(f"by {apart:.1e}; {1000 * at_once:.0f} ms and {1000 * looped:.0f} ms")

    skeleton, parameters, losses = train_at_once(models, x, y, options.steps, options.lr)
    print(f"after {options.steps} steps: losses from {losses.min():.4f} to {losses.max():.4f}")

    places = torch.tensor([[-5.0], [-2.0], [0.0], [2.0], [5.0]])
    with torch.no_grad():
        answers = vmap(lambda p: functional_call(skeleton, p, (places,)))(parameters).squeeze(2)
    print("\n    x   sin 2x     mean   spread")
    for place, mean, spread in zip(places[:, 0], answers.mean(0), answers.std(0), strict=True):
        print(f"{place:5.1f}{torch.sin(2 * place):9.3f}{mean:9.3f}{spread:9.3f}")


if __name__ == "__main__":
    main()
