"""Learns a map of handwritten digits: a variational autoencoder with two latent dimensions.

The encoder gives each picture a normal distribution on a plane, the decoder turns points of the
plane into pictures, and training maximizes the evidence lower bound (Kingma and Welling,
"Auto-Encoding Variational Bayes", 2013). The data are the 1,797 digits of 8 x 8 pixels that
scikit-learn carries in its package; labels are used for colours only.

    python examples/digits_vae.py

The output folder then holds `digits_vae.pt` and `latent.png`: where the test digits lie, and what
the decoder makes of a grid of points. The bound on unseen digits rises from -45 at first to about
-25 nats.
"""

import argparse
from pathlib import Path

import matplotlib
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

matplotlib.use("Agg")
import matplotlib.pyplot as plt


class Autoencoder(nn.Module):
    def __init__(self, pixels=64, hidden=128, latent=2):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, 2 * latent),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, pixels),
        )

    def posterior(self, pictures):
        """What a picture says about its place on the map."""
        mean, log_deviation = self.encoder(pictures).chunk(2, dim=-1)
        return Normal(mean, log_deviation.exp())

    def bound(self, pictures):
        """The evidence lower bound of each picture, in nats, from one sample."""
        posterior = self.posterior(pictures)
        logits = self.decoder(posterior.rsample())
        likelihood = -F.binary_cross_entropy_with_logits(logits, pictures, reduction="none").sum(-1)
        prior = Normal(torch.zeros_like(posterior.mean), 1.0)
        return likelihood - kl_divergence(posterior, prior).sum(-1)


def load_data():
    digits = load_digits()
    pictures = torch.from_numpy(digits.data).float() / 16
    labels = torch.from_numpy(digits.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1797))
    test, train = order[:359], order[359:]
    return TensorDataset(pictures[train], labels[train]), (pictures[test], labels[test])


def train(model, data, epochs, test_pictures):
    batches = DataLoader(data, batch_size=64, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    bounds = []
    with tqdm(range(epochs), unit="epoch") as progress:
        for _ in progress:
            for pictures, _ in batches:
                loss = -model.bound(pictures).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            scheduler.step()
            with torch.no_grad():
                bounds.append(model.bound(test_pictures).mean().item())
            progress.set_postfix(bound=f"{bounds[-1]:.2f}")
    return bounds


@torch.no_grad()
def draw_latent(model, pictures, labels, path, steps=14):
    places = model.posterior(pictures).mean
    # Points that cut the prior into parts of equal probability, so that the grid shows all of it.
    quantiles = Normal(0.0, 1.0).icdf(torch.linspace(0.03, 0.97, steps))
    grid = torch.cartesian_prod(quantiles.flip(0), quantiles).flip(1)
    decoded = F.pad(model.decoder(grid).sigmoid().view(steps, steps, 8, 8), (1, 1, 1, 1))
    canvas = decoded.permute(0, 2, 1, 3).reshape(10 * steps, 10 * steps)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.8), layout="constrained")
    points = left.scatter(*places.T.numpy(), c=labels, cmap="tab10", s=12)
    figure.colorbar(points, ax=left, ticks=range(10), label="digit")
    left.set_title("where the test digits lie")
    right.imshow(canvas.numpy(), cmap="gray_r")
    right.set_title("what lies where")
    right.set_axis_off()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description="Learn a map of handwritten digits.")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("output/digits_vae"), help="a folder")
    options = parser.parse_args()

    options.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    data, (pictures, labels) = load_data()
    model = Autoencoder(hidden=options.hidden)
    with torch.no_grad():
        first = model.bound(pictures).mean().item()
    bounds = train(model, data, options.epochs, pictures)
    torch.save({"model": model.state_dict(), "bounds": bounds}, options.output / "digits_vae.pt")
    draw_latent(model, pictures, labels, options.output / "latent.png")
    print(
        f"evidence lower bound on {len(labels)} test digits: {first:.2f} nats untrained, "
        f"{bounds[-1]:.2f} after {len(bounds)} epochs; see {options.output}"
    )


if __name__ == "__main__":
    main()
