"""Compiled training steps follow PyTorch's eager ones, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import taper

torch = pytest.importorskip("torch")


def mlp(t: Any) -> tuple[Any, Any, Any]:
    net = t.nn.Sequential(t.nn.Linear(12, 32), t.nn.ReLU(), t.nn.LayerNorm(32), t.nn.Linear(32, 5))
    return net, t.optim.Adam(net.parameters(), lr=1e-2), lambda x, y: (
        t.nn.functional.cross_entropy(net(x), y))


def cnn(t: Any) -> tuple[Any, Any, Any]:
    nn = t.nn
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3), nn.GELU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5))
    return net, t.optim.SGD(net.parameters(), lr=5e-2, momentum=0.9), lambda x, y: (
        nn.functional.cross_entropy(net(x.view(-1, 1, 3, 4).repeat(1, 1, 4, 3)), y))


def lstm(t: Any) -> tuple[Any, Any, Any]:
    nn = t.nn

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(3, 16, 2, batch_first=True)
            self.out = nn.Linear(16, 5)

        def forward(self, x: Any) -> Any:
            h, _ = self.rnn(x.view(-1, 4, 3))
            return self.out(h[:, -1])

    net = Reader()
    return net, t.optim.RMSprop(net.parameters(), lr=5e-3), lambda x, y: (
        nn.functional.cross_entropy(net(x), y))


def gpt(t: Any) -> tuple[Any, Any, Any]:
    nn, F = t.nn, t.nn.functional

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.LayerNorm(16), nn.LayerNorm(16)
            self.qkv, self.join = nn.Linear(16, 48), nn.Linear(16, 16)
            self.wide = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

        def forward(self, x: Any) -> Any:
            b, n, c = x.shape
            q, k, v = (part.view(b, n, 2, c // 2).transpose(1, 2)
                       for part in self.qkv(self.first(x)).split(c, 2))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.join(y.transpose(1, 2).reshape(b, n, c))
            return x + self.wide(self.second(x))

    class GPT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(9, 16), nn.Embedding(12, 16)
            self.blocks = nn.ModuleList([Block(), Block()])
            self.norm, self.out = nn.LayerNorm(16), nn.Linear(16, 9, bias=False)

        def forward(self, i: Any) -> Any:
            x = self.words(i) + self.places(t.arange(i.size(1)))
            for block in self.blocks:
                x = block(x)
            return self.out(self.norm(x))

    net = GPT()

    def loss(x: Any, y: Any) -> Any:
        i = (x.abs() * 8).long() % 9
        return F.cross_entropy(net(i[:, :-1]).flatten(0, 1), i[:, 1:].flatten())

    return net, t.optim.AdamW(net.parameters(), lr=3e-3), loss


def vae(t: Any) -> tuple[Any, Any, Any]:
    nn, F = t.nn, t.nn.functional
    net = nn.ModuleDict({
        "enc": nn.Linear(12, 32), "mu": nn.Linear(32, 4), "var": nn.Linear(32, 4),
        "dec": nn.Linear(4, 32), "out": nn.Linear(32, 12),
    })

    def loss(x: Any, y: Any) -> Any:
        h = net["enc"](x).relu()
        mu, var = net["mu"](h), net["var"](h)
        z = mu + t.randn_like(mu) * (0.5 * var).exp()
        rebuilt = net["out"](net["dec"](z).tanh())
        return F.mse_loss(rebuilt, x, reduction="sum") - 0.5 * (1 + var - mu ** 2 - var.exp()).sum()

    return net, t.optim.Adam(net.parameters(), lr=3e-3), loss


def losses(t: Any, make: Any, use: Any) -> tuple[list[float], Any]:
    """100 steps with a schedule, batches of two sizes, clipping, and a change of mode."""
    t.manual_seed(0)
    net, optimizer, loss_of = make(t)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = loss_of(x, y)
        loss.backward()
        t.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        return loss

    step = use(step)
    scheduler = t.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    found = []
    numbers = np.random.default_rng(3)
    for i in range(100):
        size = 6 if i % 10 == 9 else 16
        x = t.tensor(numbers.standard_normal((size, 12)).astype(np.float32))
        y = t.tensor(numbers.integers(0, 5, size))
        found.append(float(step(x, y)))
        scheduler.step()
        if i == 60:
            net.eval()
    return found, step


@pytest.mark.parametrize("make", [mlp, cnn, lstm, gpt, vae])
def test_a_hundred_steps(make: Any) -> None:
    expected, _ = losses(torch, make, lambda f: f)
    found, step = losses(taper, make, taper.compile)
    explanation = step.explain()
    assert explanation.calls["compiled"] >= 90, explanation
    assert explanation.graph_count in (2, 3, 4), explanation
    np.testing.assert_allclose(found[:20], expected[:20], rtol=2e-3)
    np.testing.assert_allclose(found, expected, rtol=0.05, atol=1e-3)
