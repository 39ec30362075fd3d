"""A small transformer that learns to write Python's documentation, letter by letter.

The text ships with Python itself: the help topics of `pydoc`, some 460,000 characters on syntax
and semantics. A decoder of a few layers reads 128 characters and predicts the next one at each
place. It is compared with the best guess from one letter and from two letters before, by counts
from the same text: 2.3 and 1.7 nats a letter.

    python examples/character_model.py               # about two minutes on two cores
    python examples/character_model.py --resume      # train on from the checkpoint
    python examples/character_model.py --sample 500  # write 500 letters with the saved model

Leaves `character_model.pt` and `learning_curve.png` in the output folder. After 600 steps the model
needs about 1.4 nats a letter on text that it has not seen.
"""

import argparse
import math
from pathlib import Path
from pydoc_data.topics import topics

import matplotlib
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

matplotlib.use("Agg")
import matplotlib.pyplot as plt


class Block(nn.Module):
    """Attention to all places before, then a network for each place; both add to what was there."""

    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.network = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        batch, length, width = x.shape
        parts = self.project(self.norm_1(x)).view(batch, length, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.dropout(self.mix(mixed.transpose(1, 2).reshape(batch, length, width)))
        return x + self.dropout(self.network(self.norm_2(x)))


class Writer(nn.Module):
    def __init__(self, letters, length, width, heads, layers, dropout=0.1):
        super().__init__()
        self.length = length
        self.letters = nn.Embedding(letters, width)
        self.places = nn.Embedding(length, width)
        self.blocks = nn.Sequential(*[Block(width, heads, dropout) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, letters, bias=False)
        self.head.weight = self.letters.weight  # one table for reading and writing
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.08)

    def forward(self, text):
        places = torch.arange(text.shape[1])
        return self.head(self.norm(self.blocks(self.letters(text) + self.places(places))))

    @torch.no_grad()
    def write(self, text, count, temperature=0.8):
        """Continues `text`, (1, n) letters, by `count` letters."""
        self.eval()
        for _ in range(count):
            logits = self(text[:, -self.length :])[:, -1] / temperature
            text = torch.cat([text, torch.multinomial(logits.softmax(-1), 1)], dim=1)
        return text


def load_text():
    """The alphabet, and all topics as two tensors of letters: the last tenth is held out."""
    text = "\n\n".join(topics[name] for name in sorted(topics))
    alphabet = sorted(set(text))
    number = {letter: i for i, letter in enumerate(alphabet)}
    data = torch.tensor([number[letter] for letter in text])
    cut = len(data) * 9 // 10
    return alphabet, data[:cut], data[cut:]


def counted_guess(train, test, letters, order):
    """Nats a letter of the held-out text, guessed from `order` letters before it by counts."""

    def contexts(text):
        key = torch.zeros(len(text) - order, dtype=torch.long)
        for i in range(order):
            key = key * letters + text[i : len(text) - order + i]
        return key

    shape = letters**order, letters
    pairs = contexts(train) * letters + train[order:]
    counts = torch.bincount(pairs, minlength=shape[0] * shape[1]).view(shape).double() + 0.02
    chances = counts[contexts(test), test[order:]] / counts.sum(dim=1)[contexts(test)]
    return -chances.log().mean().item()


def batch_of(text, size, length):
    starts = torch.randint(len(text) - length, (size, 1))
    places = starts + torch.arange(length + 1)
    return text[places[:, :-1]], text[places[:, 1:]]


@torch.no_grad()
def held_out_loss(model, test, batches=8):
    model.eval()
    windows = test[: len(test) // model.length * model.length].view(-1, model.length)
    parts = windows[:: max(1, len(windows) // (16 * batches))].split(16)
    losses = [F.cross_entropy(model(p[:, :-1]).flatten(0, 1), p[:, 1:].flatten()) for p in parts]
    model.train()
    return torch.stack(losses).mean().item()


def learning_rate(step, steps, highest=6e-3, warm_up=30):
    if step < warm_up:
        return highest * (step + 1) / warm_up
    return highest * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(step / steps, 1))))


def train(model, optimizer, texts, history, options, checkpoint):
    train_text, test_text = texts
    done = len(history["loss"])
    with tqdm(range(done, options.steps), unit="step") as progress:
        for step in progress:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, options.steps)
            given, wanted = batch_of(train_text, options.batch_size, model.length)
            loss = F.cross_entropy(model(given).flatten(0, 1), wanted.flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            history["loss"].append(loss.item())
            if (step + 1) % 50 == 0 or step + 1 == options.steps:
                history["held out"].append((step + 1, held_out_loss(model, test_text)))
                progress.set_postfix(held_out=f"{history['held out'][-1][1]:.3f}")
                torch.save(
                    {"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                     "history": history, "random_state": torch.get_rng_state()},
                    checkpoint,
                )


def draw_learning_curve(history, guesses, path):
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    axis.plot(history["loss"], linewidth=0.6, label="training")
    axis.plot(*zip(*history["held out"], strict=True), marker=".", label="held out")
    for i, guess in enumerate(guesses):
        axis.axhline(guess, color="grey", linestyle=":")
        axis.text(0, guess, f" counts, {i + 1} letter{'s' * i} before", va="bottom")
    axis.set(xlabel="step", ylabel="nats a letter")
    axis.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description="Learn to write Python's documentation.")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--length", type=int, default=128, help="letters that the model sees")
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("output/character_model"))
    parser.add_argument("--resume", action="store_true", help="train on from the checkpoint")
    parser.add_argument("--sample", type=int, metavar="N", help="write N letters, don't train")
    options = parser.parse_args()

    options.output.mkdir(parents=True, exist_ok=True)
    checkpoint = options.output / "character_model.pt"
    torch.manual_seed(options.seed)
    alphabet, *texts = load_text()
    model = Writer(len(alphabet), options.length, options.width, 4, options.layers)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95))
    history = {"loss": [], "held out": []}
    if options.resume or options.sample:
        saved = torch.load(checkpoint)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        history = saved["history"]
        torch.set_rng_state(saved["random_state"])
    if not options.sample:
        train(model, optimizer, texts, history, options, checkpoint)
        guesses = [counted_guess(*texts, len(alphabet), order) for order in (1, 2)]
        draw_learning_curve(history, guesses, options.output / "learning_curve.png")
        print(
            f"nats a letter on held-out text: {history['held out'][-1][1]:.3f} after "
            f"{len(history['loss'])} steps; from counts {guesses[0]:.3f} with one letter before, "
            f"{guesses[1]:.3f} with two"
        )
    start = torch.tensor([[alphabet.index("T")]])
    written = model.write(start, options.sample or 200)
    print("".join(alphabet[i] for i in written[0].tolist()))


if __name__ == "__main__":
    main()
