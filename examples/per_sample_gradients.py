"""The gradient of each sample's loss, all at once: `vmap` of `grad`, against a loop.

A batch's gradient is a mean over samples, and tells nothing of any one. Clipping each sample's
gradient, as differentially private training does (Abadi et al. 2016), and the noise of a gradient
need them singly. A loop over the samples takes as many passes; `vmap(grad(loss))` takes one.

    python examples/per_sample_gradients.py --batch 64
"""

import argparse
import time

import torch
from torch import nn
from torch.func import functional_call, grad, vmap


def perceptron(inputs=20, width=64, classes=10):
    return nn.Sequential(
        nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(),
        nn.Linear(width, classes),
    )  # fmt: skip


def gradients_at_once(model):
    """A function of parameters, samples and labels; its results have the samples in dim 0."""

    def loss(parameters, sample, label):
        return nn.functional.cross_entropy(functional_call(model, parameters, (sample,)), label)

    return vmap(grad(loss), in_dims=(None, 0, 0))


def gradients_in_a_loop(model, samples, labels):
    parameters = dict(model.named_parameters())
    found = []
    for sample, label in zip(samples, labels, strict=True):
        loss = nn.functional.cross_entropy(model(sample), label)
        found.append(torch.autograd.grad(loss, list(parameters.values())))
    stacked = [torch.stack(parts) for parts in zip(*found, strict=True)]
    return dict(zip(parameters, stacked, strict=True))


def lengths(gradients):
    """The norm of each sample's gradient, over all parameters."""
    return sum(g.flatten(1).square().sum(1) for g in gradients.values()).sqrt()


def clipped_mean(gradients, longest):
    """The mean of the gradients, none of which counts with more than the norm `longest`."""
    factors = (longest / lengths(gradients)).clamp(max=1)
    return {
        name: torch.einsum("n,n...->...", factors, g) / len(factors)
        for name, g in gradients.items()
    }


def best_time(function, repeats):
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def main():
    parser = argparse.ArgumentParser(description="Per-sample gradients of a small network.")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=20, help="the best time of these is printed")
    options = parser.parse_args()

    torch.manual_seed(0)
    model = perceptron(width=options.width)
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    samples = torch.randn(options.batch, 20)
    labels = torch.randint(0, 10, (options.batch,))
    at_once = gradients_at_once(model)

    found = at_once(parameters, samples, labels)
    looped = gradients_in_a_loop(model, samples, labels)
    apart = max((found[name] - looped[name]).abs().max().item() for name in found)
    count = sum(p.numel() for p in parameters.values())
    print(f"{options.batch} gradients of {count:,} parameters")
    print(f"at once and in a loop are apart by {apart:.1e}")

    nn.functional.cross_entropy(model(samples), labels).backward()
    apart = max((found[n].mean(0) - p.grad).abs().max().item() for n, p in model.named_parameters())
    print(f"their mean and the batch's gradient are apart by {apart:.1e}")

    norms = lengths(found)
    limit = norms.median().item()
    clipped = clipped_mean(found, limit)
    norm = sum(g.square().sum() for g in clipped.values()).sqrt()
    print(f"norms from {norms.min():.3f} to {norms.max():.3f}; clipped at {limit:.3f}, the mean has"
          f" norm {norm:.3f}")

    quick = best_time(lambda: at_once(parameters, samples, labels), options.repeats)
    slow = best_time(lambda: gradients_in_a_loop(model, samples, labels), options.repeats)
    print(f"at once {1e3 * quick:.2f} ms, in a loop {1e3 * slow:.2f} ms: {slow / quick:.1f} times")


if __name__ == "__main__":
    main()
