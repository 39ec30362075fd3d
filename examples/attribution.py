"""Which inputs, and which hidden units, a network's answer came from.

Integrated gradients (Sundararajan, Taly, Yan 2017) share out F(x) - F(baseline) among the inputs,

    a_i = (x_i - b_i) * integral of dF/dx_i along the straight line from b to x,

and conductance (Dhamdhere, Sundararajan, Yan 2018) among the units h_j of a hidden layer, with the
integral of dF/dh_j dh_j along the same line. Both are complete: the shares add up to the whole.
A forward hook on a layer hands out its units, so the network itself need not know of any of this.

The network learns a function of three of its five inputs, and the shares show which three.

    python examples/attribution.py --steps 64
"""

import argparse

import torch
from torch import nn


def target(x):
    """Of five numbers the last two make no difference."""
    return 2 * x[:, 0] + x[:, 1] * x[:, 2]


def trained_network(steps):
    network = nn.Sequential(
        nn.Linear(5, 24), nn.Softplus(), nn.Linear(24, 24), nn.Softplus(), nn.Linear(24, 1),
        nn.Flatten(0),
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    x = torch.randn(512, 5)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(network(x), target(x))
        loss.backward()
        optimizer.step()
    network.requires_grad_(False)
    return network, loss.item()


class Outputs:
    """What a layer gives out, kept by a hook for as long as the `with` block lasts."""

    def __init__(self, layer):
        self.layer = layer

    def __enter__(self):
        self.handle = self.layer.register_forward_hook(self.keep)
        return self

    def keep(self, layer, inputs, output):
        self.value = output

    def __exit__(self, *error):
        self.handle.remove()


def line(x, baseline, positions):
    """Points of the line from baseline to x: all positions of all samples, as one batch."""
    points = baseline + positions.view(-1, 1, 1) * (x - baseline)
    return points.flatten(0, 1)


def integrated_gradients(network, x, baseline, steps):
    middles = (torch.arange(steps) + 0.5) / steps
    points = line(x, baseline, middles).requires_grad_()
    (slopes,) = torch.autograd.grad(network(points).sum(), points)
    return (x - baseline) * slopes.view(steps, *x.shape).mean(0)


def conductance(network, layer, x, baseline, steps):
    """Slopes in the middle of each step times what the units change from its begin to its end."""
    with Outputs(layer) as units:
        network(line(x, baseline, torch.linspace(0, 1, steps + 1)))
        changes = units.value.view(steps + 1, len(x), -1).diff(dim=0)
        middles = (torch.arange(steps) + 0.5) / steps
        output = network(line(x, baseline, middles).requires_grad_())
        (slopes,) = torch.autograd.grad(output.sum(), units.value)
    return (slopes.view_as(changes) * changes).sum(0)


def incompleteness(shares, network, x, baseline):
    """The largest of the samples' differences between the shares' sum and what is shared out."""
    whole = network(x) - network(baseline.expand_as(x))
    return (shares.sum(1) - whole).abs().max().item()


def main():
    parser = argparse.ArgumentParser(description="Integrated gradients and conductance.")
    parser.add_argument("--steps", type=int, default=64, help="of each integral")
    parser.add_argument("--training", type=int, default=600, help="steps of Adam")
    options = parser.parse_args()

    torch.manual_seed(0)
    network, loss = trained_network(options.training)
    x, baseline = torch.randn(200, 5), torch.zeros(1, 5)
    print(f"trained to a mean squared error of {loss:.5f}")

    shares = integrated_gradients(network, x, baseline, options.steps)
    apart = incompleteness(shares, network, x, baseline)
    print(f"integrated gradients in {options.steps} steps: incomplete by {apart:.1e}")
    # The true function's line integral shares a product evenly: x1 x2 / 2 to each of the two.
    half = x[:, 1] * x[:, 2] / 2
    nothing = torch.zeros(len(x))
    exact = torch.stack([2 * x[:, 0], half, half, nothing, nothing], dim=1)
    means = zip(shares.abs().mean(0), exact.abs().mean(0), strict=True)
    for index, (found, expected) in enumerate(means):
        print(f"  input {index}: mean share {found:.3f}, of the true function {expected:.3f}")

    for index in (1, 3):
        units = conductance(network, network[index], x, baseline, options.steps)
        apart = incompleteness(units, network, x, baseline)
        largest = units.abs().mean(0).sort(descending=True)
        print(
            f"conductance of layer {index}: incomplete by {apart:.1e}; units "
            f"{', '.join(str(i) for i in largest.indices[:3].tolist())} carry most"
        )


if __name__ == "__main__":
    main()
