"""A hundred steps of each optimizer on a small model: the same losses and weights as PyTorch's."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import taper  # noqa: E402

STEPS = 100
OPTIONS = {
    "ASGD": {}, "Adadelta": {"lr": 1.0}, "Adafactor": {"lr": 0.05}, "Adagrad": {"lr": 0.1},
    "Adam": {"lr": 0.02}, "AdamW": {"lr": 0.02}, "Adamax": {"lr": 0.02}, "LBFGS": {"lr": 0.1},
    "Muon": {"lr": 0.02}, "NAdam": {"lr": 0.01}, "RAdam": {"lr": 0.02}, "RMSprop": {"lr": 0.01},
    "Rprop": {}, "SGD": {"lr": 0.1, "momentum": 0.9, "nesterov": True}, "SparseAdam": {"lr": 0.05},
}  # fmt: skip
# Muon computes in bfloat16, and a step by the sign of a gradient is another one if that is near 0.
TOLERANCE = {"Muon": 2e-2}


def model_of(library, name, dtype):
    """Two layers, of an embedding with sparse gradients for SparseAdam; and what to fit."""
    nn = library.nn
    rng = np.random.default_rng(5)
    if name == "SparseAdam":
        model = nn.Sequential(nn.Embedding(20, 4, sparse=True), nn.Flatten())
        inputs, width = library.tensor(rng.integers(0, 20, (16, 2))), 8
    else:
        biases = name != "Muon"  # it takes matrices only
        model = nn.Sequential(
            nn.Linear(4, 8, bias=biases), nn.Tanh(), nn.Linear(8, 3, bias=biases)
        )
        inputs, width = library.tensor(rng.standard_normal((16, 4))).to(dtype), 3
    model = model.to(dtype)
    with library.no_grad():
        for parameter in model.parameters():
            parameter.copy_(library.tensor(rng.standard_normal(tuple(parameter.shape)) * 0.5))
    return model, inputs, library.tensor(rng.standard_normal((16, width))).to(dtype)


def train(library, name, dtype):
    """The losses of all steps, and the weights after them."""
    model, inputs, targets = model_of(library, name, dtype)
    optimizer = getattr(library.optim, name)(model.parameters(), **OPTIONS[name])

    def closure():
        optimizer.zero_grad()
        loss = ((model(inputs) - targets) ** 2).mean()
        loss.backward()
        return loss

    losses = [float(optimizer.step(closure).detach()) for _ in range(STEPS)]
    return losses, [parameter.detach().numpy() for parameter in model.parameters()]


@pytest.mark.parametrize("name", OPTIONS)
def test_a_hundred_steps(name):
    (losses, weights), (expected, expected_weights) = (
        train(library, name, library.float64) for library in (taper, torch)
    )
    tolerance = TOLERANCE.get(name, 1e-6)
    np.testing.assert_allclose(losses, expected, rtol=tolerance, atol=1e-10)
    for ours, theirs in zip(weights, expected_weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)
    assert losses[-1] < 0.8 * losses[0]


# What is left out here makes so much of rounding errors that single precision shows nothing.
@pytest.mark.parametrize("name", sorted(OPTIONS.keys() - {"LBFGS", "Muon", "Rprop"}))
def test_a_hundred_steps_in_single_precision(name):
    losses, expected = (train(library, name, library.float32)[0] for library in (taper, torch))
    np.testing.assert_allclose(losses, expected, rtol=2e-3)


def test_every_optimizer_is_here():
    names = {
        name for name, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer)
    }  # fmt: skip
    assert names - {"Optimizer"} == set(OPTIONS)


def has_wide_sums() -> bool:
    """Whether MKL adds 16 numbers side by side: with AVX-512, on Intel's processors only."""
    described = pathlib.Path("/proc/cpuinfo")
    return (torch.backends.cpu.get_cpu_capability() == "AVX512" and described.exists()
            and "GenuineIntel" in described.read_text())


needs_avx512 = pytest.mark.skipif(
    not has_wide_sums(),
    reason="PyTorch adds in another order on processors with shorter vectors, or not of Intel",
)


@needs_avx512
@pytest.mark.parametrize("size", range(1, 64))
def test_short_vectors_are_rounded_alike(size):
    from taper.optim.vector_arithmetic import add_scaled_, dot

    rng = np.random.default_rng(size)
    for _ in range(20):
        a, b = rng.standard_normal((2, size)).astype(np.float32)
        ours, theirs = (
            [library.from_numpy(vector) for vector in (a, b)] for library in (taper, torch)
        )
        assert dot(*ours).item() == torch.dot(*theirs).item()
        scale = float(rng.standard_normal())
        expected = torch.add(*theirs, alpha=scale).tolist()
        add_scaled_(*ours, scale)
        assert ours[0].tolist() == expected


@needs_avx512
@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_lbfgs_takes_the_same_steps_to_the_last_bit(search):
    """Near the minimum, where differences of gradients consist of rounding errors."""
    rng = np.random.default_rng(2)
    start, target = rng.standard_normal((2, 29)).astype(np.float32)
    scales = np.linspace(0.5, 3, 29, dtype=np.float32)
    results = []
    for library in (taper, torch):
        parameter = library.nn.Parameter(library.tensor(start))
        optimizer = library.optim.LBFGS([parameter], line_search_fn=search)

        def closure(parameter=parameter, library=library):
            with torch.no_grad():  # computed alike on both sides
                difference = torch.tensor(parameter.detach().numpy()) - torch.tensor(target)
                weighted = torch.tensor(scales) * difference
            parameter.grad = library.tensor((2 * weighted).numpy())
            return library.tensor((weighted * difference).sum().item())

        for _ in range(8):
            optimizer.step(closure)
        state = optimizer.state[parameter]
        results.append([
            parameter.tolist(), float(state["H_diag"]), [float(x) for x in state["ro"]],
            [float(x) for x in state["al"] if x is not None],
        ])  # fmt: skip
    assert results[0] == results[1]
