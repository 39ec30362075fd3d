"""Bayesian linear regression by variational inference, beside the answer that is known exactly.

How a disease progressed within a year, by age, sex, body mass, blood pressure and six blood serum
measurements of 442 patients (the diabetes data that scikit-learn carries in its package). With a
normal prior and normal noise the posterior of the weights has a closed form; the program finds it
again by maximizing the evidence lower bound over normal distributions with full covariance
("automatic differentiation variational inference", Kucukelbir et al., 2017), which needs no closed
form and would serve as well for a model that has none: `--noise student` is one.

    python examples/bayesian_regression.py
    python examples/bayesian_regression.py --noise student     # outliers weigh less

Prints means and deviations of all weights, found and exact; leaves `bayesian_regression.pt` and
`weights.png` in the output folder. Found means lie within a tenth of a deviation of the exact ones.
"""

import argparse
from pathlib import Path

import matplotlib
import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.distributions import MultivariateNormal, Normal, StudentT, kl_divergence
from tqdm import tqdm

matplotlib.use("Agg")
import matplotlib.pyplot as plt


class Posterior(nn.Module):
    """A normal distribution over the weights: its mean, and a triangular root of its covariance."""

    def __init__(self, size):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(size))
        self.log_diagonal = nn.Parameter(torch.full((size,), -2.0))
        self.below = nn.Parameter(torch.zeros(size, size))

    def forward(self):
        root = self.below.tril(-1) + torch.diag(self.log_diagonal.exp())
        return MultivariateNormal(self.mean, scale_tril=root)


def load_data():
    """Standardized features, and targets in units of their deviation."""
    table = load_diabetes()
    features = torch.tensor(table.data, dtype=torch.float32)
    features = (features - features.mean(0)) / features.std(0)
    targets = torch.tensor(table.target, dtype=torch.float32)
    return features, (targets - targets.mean()) / targets.std(), table.feature_names


def exact_posterior(features, targets, noise, prior):
    """Of normal weights and normal noise: Bishop, Pattern Recognition and Machine Learning, 3.3."""
    precision = features.T @ features / noise**2 + torch.eye(features.shape[1]) / prior**2
    covariance = torch.linalg.inv(precision)
    return covariance @ features.T @ targets / noise**2, covariance.diagonal().sqrt()


def likelihood(kind, predicted, noise):
    return StudentT(4.0, predicted, noise) if kind == "student" else Normal(predicted, noise)


def fit(features, targets, options):
    posterior = Posterior(features.shape[1])
    prior = MultivariateNormal(
        torch.zeros(features.shape[1]), options.prior**2 * torch.eye(features.shape[1])
    )
    optimizer = torch.optim.Adam(posterior.parameters(), lr=0.02)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=options.steps)
    bounds = []
    with tqdm(range(options.steps), unit="step") as progress:
        for _ in progress:
            weights = posterior()
            predicted = weights.rsample((options.samples,)) @ features.T
            told = likelihood(options.noise, predicted, options.deviation).log_prob(targets)
            bound = told.sum(dim=1).mean() - kl_divergence(weights, prior)
            optimizer.zero_grad()
            (-bound).backward()
            optimizer.step()
            scheduler.step()
            bounds.append(bound.item())
            progress.set_postfix(bound=f"{bounds[-1]:.1f}")
    return posterior, bounds


def draw_weights(names, found, exact, path):
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    places = torch.arange(len(names), dtype=torch.float32)
    for (mean, deviation), shift, label in ((found, -0.1, "variational"), (exact, 0.1, "exact")):
        axis.errorbar(places + shift, mean, yerr=2 * deviation, fmt="o", capsize=3, label=label)
    axis.axhline(0, color="grey", linewidth=0.8)
    axis.set_xticks(places, names)
    axis.set(ylabel="weight, two deviations each way")
    axis.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description="Bayesian regression by variational inference.")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--samples", type=int, default=16, help="of the weights, in each step")
    parser.add_argument("--noise", choices=["normal", "student"], default="normal")
    parser.add_argument("--deviation", type=float, default=0.7, help="of the noise")
    parser.add_argument("--prior", type=float, default=1.0, help="deviation of the prior")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("output/bayesian_regression"))
    options = parser.parse_args()

    options.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    features, targets, names = load_data()
    posterior, bounds = fit(features, targets, options)
    torch.save(
        {"posterior": posterior.state_dict(), "bounds": bounds},
        options.output / "bayesian_regression.pt",
    )
    with torch.no_grad():
        weights = posterior()
        found = weights.mean.detach(), weights.stddev
    exact = exact_posterior(features, targets, options.deviation, options.prior)
    draw_weights(names, found, exact, options.output / "weights.png")
    print(f"{'':6}{'found':>8}{'+-':>8}{'exact':>9}{'+-':>8}")
    for name, *row in zip(names, *found, *exact, strict=True):
        print(f"{name:6}" + "{:8.3f}{:8.3f}{:9.3f}{:8.3f}".format(*[x.item() for x in row]))
    off = ((found[0] - exact[0]) / exact[1]).abs().max().item()
    print(f"the means differ by {off:.3f} deviations at most; evidence bound {bounds[-1]:.1f} nats")


if __name__ == "__main__":
    main()
