"""Layers and idioms of training programs: compiled steps follow eager ones."""

from __future__ import annotations

from typing import Any

import pytest

import taper as torch
from taper import nn
from taper.nn import functional as F
from taper.utils.checkpoint import checkpoint

parametrizations = nn.utils.parametrizations


def square(net: Any, x: Any) -> Any:
    return net(x).square().mean()


def in_bfloat16(net: Any, x: Any) -> Any:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = net(x)
    return y.float().square().mean()


def with_penalty(net: Any, x: Any) -> Any:
    x = x.clone().requires_grad_()
    y = net(x).tanh().sum()
    (grad,) = torch.autograd.grad(y, x, create_graph=True)
    return grad.square().mean() + y


def checkpointed(net: Any, x: Any) -> Any:
    return checkpoint(net, x, use_reentrant=False).square().mean()


def packed(net: Any, x: Any) -> Any:
    rows = nn.utils.rnn.pack_padded_sequence(x, [6, 5, 3, 2], batch_first=True)
    return net(rows)[0].data.square().mean()


def aligned(net: Any, x: Any) -> Any:
    targets = torch.tensor([[1, 2], [2, 3], [1, 1], [3, 4]])
    return F.ctc_loss(net(x).log_softmax(-1).transpose(0, 1), targets, (6,) * 4, (2,) * 4)


def gram(net: Any, x: Any) -> Any:
    y = net(x)
    return torch.linalg.slogdet(y.mT @ y + torch.eye(4))[1].mean()


LINEAR = lambda: nn.Linear(8, 4)  # noqa: E731
CASES: dict[str, tuple[Any, Any]] = {
    "attention": (lambda: nn.MultiheadAttention(8, 2, batch_first=True),
                  lambda net, x: net(x, x, x)[0].square().mean()),
    "encoder": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), square),
    "gru": (lambda: nn.GRU(8, 5, 2, batch_first=True),
            lambda net, x: net(x)[0].square().mean()),
    "cell": (lambda: nn.LSTMCell(8, 5), lambda net, x: net(x[:, 0])[0].square().mean()),
    "packed": (lambda: nn.GRU(8, 4, batch_first=True), packed),
    "weight_norm": (lambda: parametrizations.weight_norm(LINEAR()), square),
    "spectral_norm": (lambda: parametrizations.spectral_norm(LINEAR()), square),
    "instance_norm": (lambda: nn.Sequential(
        nn.InstanceNorm1d(6, track_running_stats=True), LINEAR()), square),
    "autocast": (LINEAR, in_bfloat16),
    "checkpoint": (LINEAR, checkpointed),
    "double backward": (LINEAR, with_penalty),
    "vmap": (LINEAR, lambda net, x: torch.vmap(lambda r: net(r).square().sum())(x).mean()),
    "func.grad": (LINEAR, lambda net, x: net(
        torch.func.grad(lambda r: r.sin().sum())(x)).square().mean()),
    "bags": (lambda: nn.EmbeddingBag(10, 4), lambda net, x: net(
        (x[:, :, 0].abs() * 3).long() % 10).square().mean()),
    "gumbel": (LINEAR, lambda net, x: F.gumbel_softmax(net(x)).square().mean()),
    "interpolate": (lambda: nn.Conv1d(6, 3, 3), lambda net, x: F.interpolate(
        net(x), scale_factor=2.0).square().mean()),
    "ctc": (lambda: nn.Linear(8, 5), aligned),
    "einsum": (LINEAR, lambda net, x: torch.einsum(
        "bij,bkj->bik", net(x), net(x)).square().mean()),
    "slogdet": (LINEAR, gram),
    "lazy": (lambda: nn.LazyLinear(4), square),
    # These ask for values, seed a generator, or change Python's state: they run as they are.
    "dropout, checkpointed": (lambda: nn.Sequential(LINEAR(), nn.Dropout(0.5)), checkpointed),
    "old weight_norm": (lambda: nn.utils.weight_norm(LINEAR()), square),
    "cumulative": (lambda: nn.Sequential(
        LINEAR(), nn.Flatten(), nn.BatchNorm1d(24, momentum=None), nn.Tanh()), square),
}
AS_THEY_ARE = ("dropout, checkpointed", "old weight_norm", "cumulative")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_compiled_steps_follow_eager_ones(name: str) -> None:
    make, loss_of = CASES[name]
    found = []
    for use in (lambda f: f, torch.compile):
        torch.manual_seed(0)
        net = make()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)

        @use
        def step(x: Any, net: Any = net, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = loss_of(net, x)
            loss.backward()
            optimizer.step()
            return loss

        torch.manual_seed(1)
        losses = [step(torch.randn(4, 6, 8)) for _ in range(5)]
        found.append((torch.stack([loss.detach() for loss in losses]), net.state_dict()))
    tolerance = 2e-2 if name == "autocast" else 1e-4
    torch.testing.assert_close(found[1][0], found[0][0], rtol=tolerance, atol=tolerance)
    for key, value in found[0][1].items():
        torch.testing.assert_close(found[1][1][key], value, rtol=tolerance, atol=tolerance)
    compiled = step.explain().calls["compiled"]
    assert compiled == 0 if name in AS_THEY_ARE else compiled >= 3, step.explain()
