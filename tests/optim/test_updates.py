"""The update rules, by hand, on every way they are run: joined, in blocks, on tensors."""

from __future__ import annotations

import numpy as np
import pytest

import taper as torch
from taper.optim import elementwise


def step(name, values, grads, steps=1, **options):
    p = torch.nn.Parameter(torch.tensor(values, dtype=torch.float64))
    optimizer = getattr(torch.optim, name)([p], **options)
    for _ in range(steps):
        p.grad = torch.tensor(grads, dtype=torch.float64)
        optimizer.step()
    return p.detach().numpy()


@pytest.mark.parametrize(("name", "options", "expected"), [
    ("SGD", {"lr": 0.1}, [0.8, 2.1]),
    ("SGD", {"lr": 0.1, "maximize": True}, [1.2, 1.9]),
    ("SGD", {"lr": 0.1, "weight_decay": 1.0}, [0.7, 1.9]),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}, [1 - 0.1 * 3.8, 2 + 0.1 * 1.9]),
    ("Adam", {"lr": 0.1, "eps": 0}, [0.9, 2.1]),
    ("AdamW", {"lr": 0.1, "eps": 0, "weight_decay": 0.5}, [0.85, 2.0]),
    ("Adagrad", {"lr": 0.1, "eps": 0}, [0.9, 2.1]),
    ("RMSprop", {"lr": 0.1, "alpha": 0.75, "eps": 0}, [0.8, 2.2]),
    ("Adamax", {"lr": 0.1, "eps": 0}, [0.9, 2.1]),
    ("Rprop", {"lr": 0.1}, [0.9, 2.1]),
    ("ASGD", {"lr": 0.1, "lambd": 0}, [0.8, 2.1]),
])  # fmt: skip
def test_first_step(name, options, expected):
    np.testing.assert_allclose(step(name, [1.0, 2.0], [2.0, -1.0], **options), expected)


def test_momentum_adds_up():
    """b = 1, then 0.5 + (1 - 0.2) = 1.3: two steps go 2.3 lr."""
    result = step("SGD", [0.0], [1.0], steps=2, lr=1.0, momentum=0.5, dampening=0.2)
    np.testing.assert_allclose(result, [-2.3])


def test_rprop_rests_where_the_sign_changed():
    p = torch.nn.Parameter(torch.tensor([0.0, 0.0]))
    optimizer = torch.optim.Rprop([p], lr=1.0)
    for grad in ([1.0, 1.0], [1.0, -1.0], [1.0, -1.0]):
        p.grad = torch.tensor(grad)
        optimizer.step()
    # steps of 1, 1.2, 1.44 down; 1 down, a rest while halving, 0.5 up
    np.testing.assert_allclose(p.detach().numpy(), [-3.64, -0.5], rtol=1e-6)


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Adagrad", "Rprop", "NAdam", "ASGD"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "float16", "bfloat16"])
def test_all_ways_of_running_agree(name, dtype, monkeypatch):
    """Joined with others, alone, cut into tiny blocks and as tensors: the same numbers."""
    dtype = getattr(torch, dtype)
    shapes = [(3, 4), (5,), (), (2, 3, 2)]

    def run(separately=False):
        rng = np.random.default_rng(0)

        def random(shape):
            values = rng.standard_normal(shape)
            if dtype.is_complex:
                values = values + 1j * rng.standard_normal(shape)
            return torch.tensor(values).to(dtype)

        params = [torch.nn.Parameter(random(shape)) for shape in shapes]
        params[0].data = params[0].data.t()
        groups = [{"params": p} for p in params] if separately else params
        optimizer = getattr(torch.optim, name)(groups, lr=0.1)
        for _ in range(3):
            for p in params:
                p.grad = random(tuple(p.shape))
            optimizer.step()
        return [p.detach().to(torch.complex128).numpy() for p in params]

    expected = run()
    results = [run(separately=True)]
    monkeypatch.setattr(elementwise, "_BLOCK", 4)
    results.append(run())
    if dtype not in (torch.float16, torch.bfloat16):  # tensors round after each operation
        monkeypatch.setattr(elementwise, "_PLAIN", set())
        monkeypatch.setattr(elementwise, "_apply_in_blocks", None)
        monkeypatch.setattr(
            elementwise, "_apply_by_kind",
            lambda rule, rows, columns, settings: [
                elementwise._apply_to_tensors(rule, row, False, settings) for row in rows
            ],
        )
        results.append(run())
    for result in results:
        for one, other in zip(result, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_short_floats_are_computed_in_single_precision():
    """A bfloat16 parameter moves by the sum of small steps as far as its own rounding lets it."""
    p = torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    p.grad = torch.full((3,), 1.0, dtype=torch.bfloat16)
    optimizer = torch.optim.SGD([p], lr=0.25)
    optimizer.step()
    assert p.dtype is torch.bfloat16
    assert p.tolist() == [0.75, 0.75, 0.75]


def test_no_warnings_for_what_overflows():
    p = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    p.grad = torch.tensor([float("inf"), float("nan")])
    torch.optim.Adam([p]).step()
    assert torch.isnan(p).all()


def test_parameters_without_gradient_rest():
    p, q = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = torch.optim.Adam([p, q])
    p.grad = torch.ones(2)
    optimizer.step()
    assert q.tolist() == [1, 1]
    assert q not in optimizer.state
    q.grad = torch.ones(2)
    optimizer.step()
    assert optimizer.state[p]["step"].item() == 2
    assert optimizer.state[q]["step"].item() == 1


def test_views_of_parameters_see_the_step():
    base = torch.zeros(4)
    p = torch.nn.Parameter(base)
    p.grad = torch.ones(4)
    torch.optim.SGD([p], lr=1.0).step()
    assert base.tolist() == [-1, -1, -1, -1]


def test_rate_as_a_tensor():
    rate = torch.tensor(0.5)
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([p], lr=rate)
    p.grad = torch.ones(1)
    optimizer.step()
    rate.fill_(2.0)
    optimizer.step()
    assert p.item() == -2.5


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adamax"])
def test_parameters_without_data(name):
    """On the meta device a step works out shapes only; the step counts are numbers all the same."""
    p = torch.nn.Parameter(torch.empty(2, 3, device="meta"))
    p.grad = torch.empty(2, 3, device="meta")
    options = {"momentum": 0.9} if name == "SGD" else {}
    optimizer = getattr(torch.optim, name)([p], **options)
    optimizer.step()
    optimizer.step()
    assert p.is_meta
    state = optimizer.state[p]
    assert all(value.is_meta for key, value in state.items() if key != "step")
    if name != "SGD":
        assert state["step"].item() == 2
