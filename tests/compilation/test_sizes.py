"""Calls of many sizes: each gives what the function gives, and their programs share kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from needed_kernels import needs_kernels

import taper as torch
from taper import nn
from taper.nn import functional as F


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4))


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Dropout(0.3), nn.Linear(36, 4))


class Tokens(nn.Module):
    """Attention over as many tokens as there are: two sizes that change."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(11, 8)
        self.places = nn.Embedding(12, 8)
        self.qkv = nn.Linear(8, 24)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 11)

    def forward(self, index: Any) -> Any:
        rows, length = index.shape
        x = self.tokens(index) + self.places(torch.arange(length))
        parts = [t.view(rows, length, 2, 4).transpose(1, 2)
                 for t in self.qkv(self.norm(x)).chunk(3, -1)]
        y = F.scaled_dot_product_attention(*parts, is_causal=True)
        return self.head(x + y.transpose(1, 2).reshape(rows, length, 8))


def trained(
    make: Callable[[], nn.Module], batches: Sequence[tuple[Any, Any]], is_compiled: bool
) -> tuple[list[float], list[Any], Any]:
    """Losses, parameters with buffers, and the next random number after training on batches."""
    torch.manual_seed(1)
    net = make()
    # Not Adam, where a gradient that is zero but for rounding (of keys' bias) would be a step.
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.5)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        scores = net(x)
        loss = F.cross_entropy(scores.flatten(0, -2), y.flatten()) + scores.square().mean()
        loss.backward()
        optimizer.step()
        return loss

    run = torch.compile(step) if is_compiled else step
    losses = [run(x, y).item() for x, y in batches]
    return losses, [*net.parameters(), *net.buffers()], torch.rand(3)


def check_training(make: Callable[[], nn.Module], batches: Sequence[tuple[Any, Any]]) -> None:
    losses, values, draws = trained(make, batches, True)
    own_losses, own_values, own_draws = trained(make, batches, False)
    assert losses == pytest.approx(own_losses, rel=2e-4, abs=1e-5)
    for value, own in zip(values, own_values, strict=True):
        torch.testing.assert_close(value, own, rtol=2e-3, atol=2e-4)
    assert torch.equal(draws, own_draws)


def images(size: int) -> tuple[Any, Any]:
    return torch.randn(size, 1, 8, 8), torch.randint(0, 4, (size,))


SIZES = (8, 8, 6, 6, 8, 5, 5, 12, 12, 12, 6, 3, 3)


def test_perceptrons() -> None:
    check_training(perceptron, [
        (torch.randn(n, 6), torch.randint(0, 4, (n,))) for n in (*SIZES, 1, 1, 1, 70, 70, 8)])


def test_batch_norm_and_dropout() -> None:
    check_training(network, [images(n) for n in SIZES])


def test_two_sizes_that_change() -> None:
    sizes = [(4, 8), (4, 8), (4, 6), (4, 6), (3, 6), (3, 6), (5, 12), (5, 12), (1, 1), (1, 1),
             (4, 8), (2, 7), (2, 7)]
    check_training(Tokens, [(torch.randint(0, 11, size), torch.randint(0, 11, size))
                            for size in sizes])


def test_the_last_batch_is_short() -> None:
    data = [(x, int(y)) for x, y in zip(*images(22), strict=True)]
    loader = torch.utils.data.DataLoader(data, batch_size=8)
    check_training(network, [batch for _ in range(4) for batch in loader])


def branch(x: Any) -> Any:
    return x * 2 if x.shape[0] > 9 else x + 1


def third(x: Any) -> Any:
    return x[: len(x) // 3].sum() / max(1, x.size(0) // 3)


def over_columns(x: Any) -> Any:
    return sum([x[:, i] * (i + 1) for i in range(x.shape[1])])


def in_parts(x: Any) -> Any:
    return torch.stack([part.mean() for part in x.split(4)])


def counted(x: Any) -> Any:
    return x.sum() / x.numel(), f"{len(x)} rows", x.shape


@pytest.mark.parametrize("function", [branch, third, over_columns, in_parts, counted])
def test_what_code_makes_of_sizes(function: Any) -> None:
    compiled = torch.compile(function)
    for rows, columns in [(8, 3), (6, 3), (4, 3), (12, 3), (10, 5), (1, 1), (9, 2), (31, 4)]:
        for _ in range(3):
            x = torch.randn(rows, columns)
            found, wanted = compiled(x), function(x)
            if type(wanted) is tuple:
                assert found[1:] == wanted[1:]
                found, wanted = found[0], wanted[0]
            torch.testing.assert_close(found, wanted)


def test_sizes_that_are_refused() -> None:
    net = network()
    compiled = torch.compile(nn.Sequential(*list(net)[:2], nn.Flatten(), nn.BatchNorm1d(144)))
    for n in (8, 8, 6, 6):
        compiled(images(n)[0])
    for _ in range(3):
        with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
            compiled(images(1)[0])
    tokens = torch.compile(Tokens())
    for n in (4, 4, 6, 6):
        tokens(torch.randint(0, 11, (2, n)))
    for _ in range(3):
        with pytest.raises(IndexError):
            tokens(torch.randint(0, 11, (2, 13)))


@needs_kernels
def test_programs_of_other_sizes_have_the_same_kernels() -> None:
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)

    @torch.compile
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        scores = net(x)
        loss = F.mse_loss(scores, y) + scores.var()
        loss.backward()
        optimizer.step()
        return loss

    for n in (24, 24, 40, 40, 56, 56):
        step(images(n)[0], torch.randn(n, 4))
    kernels = []
    for made in step.explain().programs:
        keys = [instruction.launch.key for instruction in made["program"].instructions]
        kernels.append({key for key in keys if type(key) is tuple and key[0] == "fused"})
    assert len(kernels) == 3
    assert str(step.explain()).count(" to record, ") == 3
    assert kernels[0] == kernels[1] == kernels[2]


@needs_kernels
def test_layers_that_are_alike_share_expressions() -> None:
    from taper.compilation.lowering.loops import body_of

    layers = [layer for _ in range(6) for layer in (nn.Linear(16, 16), nn.Tanh())]
    compiled = torch.compile(nn.Sequential(*layers))
    before = body_of.cache_info()
    for _ in range(3):
        with torch.no_grad():
            compiled(torch.randn(9, 16))
    after = body_of.cache_info()
    assert after.hits - before.hits >= 5
