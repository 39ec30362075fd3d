"""Trains a small convolutional network to read handwritten digits.

The data are the 1,797 scanned digits of 8 x 8 pixels that scikit-learn carries in its package, so
nothing is downloaded. One in five is kept for the test and never trained on. Every training batch
is seen moved by up to one pixel, which saves the network about a quarter of its errors.

    python examples/digits.py                  # train, well under a minute
    python examples/digits.py --stop-after 5   # train in parts: five epochs now,
    python examples/digits.py --resume         # and from the checkpoint to the end

The output folder then holds `digits.pt` (the checkpoint), `learning_curve.png` and
`predictions.png`. A run that was stopped and resumed ends with the numbers of one that was not:
the state of the optimizer and of the random stream are part of the checkpoint.
"""

import argparse
import math
import time
from pathlib import Path

import matplotlib
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

matplotlib.use("Agg")
import matplotlib.pyplot as plt


class DigitReader(nn.Module):
    """Two convolutions on the full picture, one on the halved one, then a linear classifier."""

    def __init__(self, channels=16):
        super().__init__()
        self.features = nn.Sequential(
            self.convolution(1, channels),
            self.convolution(channels, channels),
            nn.MaxPool2d(2),
            self.convolution(channels, 2 * channels),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(2 * channels * 4 * 4, 10)
        )

    @staticmethod
    def convolution(inputs, outputs):
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel_size=3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )

    def forward(self, pictures):
        return self.classifier(self.features(pictures))


def load_data(test_share=0.2):
    """Pictures as (N, 1, 8, 8) floats in [0, 1] and their labels, split into train and test."""
    digits = load_digits()
    pictures = torch.from_numpy(digits.images).float().div(16).unsqueeze(1)
    labels = torch.from_numpy(digits.target).long()
    # The split has a seed of its own: it must not depend on how a run was configured.
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1797))
    kept = round(len(order) * test_share)
    test, train = order[:kept], order[kept:]
    return (
        TensorDataset(pictures[train], labels[train]),
        TensorDataset(pictures[test], labels[test]),
    )


def shift_randomly(pictures):
    """Moves each picture by -1, 0 or 1 pixel along each axis; what comes in is empty."""
    count, _, height, width = pictures.shape
    padded = F.pad(pictures, (1, 1, 1, 1))
    down, right = torch.randint(0, 3, (2, count, 1))
    rows = (torch.arange(height) + down).unsqueeze(2)
    columns = (torch.arange(width) + right).unsqueeze(1)
    picture = torch.arange(count).view(-1, 1, 1)
    return padded[picture, 0, rows, columns].unsqueeze(1)


def learning_rate(epoch, epochs, highest=0.003):
    """Half a cosine from `highest` down to nearly nothing."""
    return highest * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(epoch / epochs, 1))))


def train_one_epoch(model, optimizer, batches, progress):
    """Returns the mean loss of the epoch, as training saw it."""
    model.train()
    total = 0.0
    for pictures, labels in batches:
        loss = F.cross_entropy(model(shift_randomly(pictures)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
        progress.update()
        progress.set_postfix(loss=f"{loss.item():.3f}")
    return total / len(batches.dataset)


@torch.no_grad()
def accuracy(model, dataset):
    model.eval()
    pictures, labels = dataset.tensors
    return (model(pictures).argmax(dim=1) == labels).float().mean().item()


def draw_learning_curve(history, path):
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    epochs = range(1, len(history["loss"]) + 1)
    left.semilogy(epochs, history["loss"], marker=".")
    left.set(xlabel="epoch", ylabel="training loss")
    right.plot(epochs, [100 * (1 - share) for share in history["accuracy"]], marker=".", color="C1")
    right.set(xlabel="epoch", ylabel="test error, %", ylim=(0, None))
    figure.savefig(path, dpi=110)
    plt.close(figure)


@torch.no_grad()
def draw_predictions(model, dataset, path, count=24):
    """The pictures that the model is least sure about, with its answer and the truth."""
    model.eval()
    pictures, labels = dataset.tensors
    confidence, answers = model(pictures).softmax(dim=1).max(dim=1)
    figure, axes = plt.subplots(3, count // 3, figsize=(10, 4.6), layout="constrained")
    for index, axis in zip(confidence.argsort()[:count].tolist(), axes.flat, strict=True):
        answer, label = answers[index].item(), labels[index].item()
        axis.imshow(pictures[index, 0].numpy(), cmap="gray_r")
        axis.set_title(
            f"{answer} ({confidence[index]:.0%})" + ("" if answer == label else f", is {label}"),
            fontsize=9, color="black" if answer == label else "crimson",
        )
        axis.set_axis_off()
    figure.suptitle("The test pictures the network is least sure about")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description="Train a network to read handwritten digits.")
    parser.add_argument("--epochs", type=int, default=15, help="passes over the training pictures")
    parser.add_argument("--stop-after", type=int, help="epochs to train now, if not all of them")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--channels", type=int, default=16, help="width of the first convolutions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("output/digits"), help="a folder")
    parser.add_argument("--resume", action="store_true", help="continue from OUTPUT/digits.pt")
    options = parser.parse_args()

    options.output.mkdir(parents=True, exist_ok=True)
    checkpoint = options.output / "digits.pt"
    started = time.perf_counter()
    torch.manual_seed(options.seed)
    torch.use_deterministic_algorithms(True)
    train, test = load_data()
    batches = DataLoader(train, batch_size=options.batch_size, shuffle=True)
    model = DigitReader(options.channels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate(0, options.epochs))
    history = {"loss": [], "accuracy": []}

    if options.resume:
        saved = torch.load(checkpoint)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        history = saved["history"]
        torch.set_rng_state(saved["random_state"])

    done = len(history["loss"])
    stop = min(options.epochs, done + (options.stop_after or options.epochs))
    with tqdm(total=max(stop - done, 0) * len(batches), unit="batch", desc="training") as progress:
        for epoch in range(done, stop):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(epoch, options.epochs)
            history["loss"].append(train_one_epoch(model, optimizer, batches, progress))
            history["accuracy"].append(accuracy(model, test))
            progress.write(
                f"epoch {epoch + 1:2d}  loss {history['loss'][-1]:.4f}"
                f"  test accuracy {history['accuracy'][-1]:.2%}"
            )
            torch.save(
                {"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                 "history": history, "random_state": torch.get_rng_state()},
                checkpoint,
            )

    draw_learning_curve(history, options.output / "learning_curve.png")
    draw_predictions(model, test, options.output / "predictions.png")
    size = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"test accuracy {accuracy(model, test):.2%} on {len(test)} digits after "
        f"{len(history['loss'])} epochs; {size:,} parameters, "
        f"{time.perf_counter() - started:.1f} s; see {options.output}"
    )


if __name__ == "__main__":
    main()
