"""Programs in the style of functional optimization libraries, run by taper and by PyTorch:
meta-learning through inner steps, curvature products, and examples of this repository."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import taper  # noqa: E402
from taper.func import second_order  # noqa: E402

EXAMPLES = Path(__file__).parents[2] / "examples"


def network(m):
    """The same three layers for both, in float64."""
    model = m.nn.Sequential(
        m.nn.Linear(2, 6), m.nn.Tanh(), m.nn.Linear(6, 6), m.nn.Tanh(), m.nn.Linear(6, 1)
    ).to(m.float64)
    random = np.random.default_rng(0)
    with m.no_grad():
        for p in model.parameters():
            p.copy_(m.tensor(random.normal(size=tuple(p.shape)) * 0.5, dtype=m.float64))
    return model


def tasks(m, count=4):
    """For each task, samples to learn from and others to be judged by: (tasks, samples, …)."""
    random = np.random.default_rng(1)
    x = random.normal(size=(count, 2, 7, 2))
    slopes = random.normal(size=(count, 1, 1, 2))
    y = np.sin((x * slopes).sum(-1, keepdims=True))
    x, y = (m.tensor(part, dtype=m.float64) for part in (x, y))
    return x[:, 0], y[:, 0], x[:, 1], y[:, 1]


def loss_of(m, model):
    def loss(params, x, y):
        return m.nn.functional.mse_loss(m.func.functional_call(model, params, (x,)), y)

    return loss


def adapted(m, loss, params, x, y, lr, steps, first_order=False):
    """The inner loop of MAML (Finn, Abbeel, Levine 2017)."""
    for _ in range(steps):
        slopes = m.func.grad(loss)(params, x, y)
        if first_order:
            slopes = {name: g.detach() for name, g in slopes.items()}
        rates = lr if isinstance(lr, dict) else dict.fromkeys(params, lr)
        params = {name: p - rates[name] * slopes[name] for name, p in params.items()}
    return params


def agree(program, **options):
    """Runs the program with both and compares the arrays of its dict of results."""
    ours, theirs = program(taper, **options), program(torch, **options)
    assert ours.keys() == theirs.keys()
    for name, found in ours.items():
        np.testing.assert_allclose(
            found.detach().numpy(), theirs[name].detach().numpy(), rtol=1e-9, atol=1e-11,
            err_msg=name,
        )
    return ours


def meta_gradient(m, steps=3, first_order=False, vectorized=True):
    model = network(m)
    loss = loss_of(m, model)
    params = {name: p.detach() for name, p in model.named_parameters()}

    def of_task(params, x, y, test_x, test_y):
        found = adapted(m, loss, params, x, y, 0.3, steps, first_order)
        return loss(found, test_x, test_y)

    def meta_loss(params):
        if vectorized:
            return m.func.vmap(of_task, in_dims=(None, 0, 0, 0, 0))(params, *tasks(m)).mean()
        given = zip(*tasks(m), strict=True)
        return m.stack([of_task(params, *task) for task in given]).mean()

    return m.func.grad(meta_loss)(params)


@pytest.mark.parametrize("vectorized", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
def test_maml_differentiates_through_inner_steps(steps, vectorized):
    second = agree(meta_gradient, steps=steps, vectorized=vectorized)
    first = agree(meta_gradient, steps=steps, vectorized=vectorized, first_order=True)
    assert (second["0.weight"] - first["0.weight"]).abs().max() > 1e-3


def test_maml_on_the_tape():
    """As written with autograd.grad(create_graph=True) and backward()."""

    def program(m):
        model = network(m)
        x, y, test_x, test_y = (part[0] for part in tasks(m))
        loss = loss_of(m, model)
        params = dict(model.named_parameters())
        for _ in range(2):
            slopes = m.autograd.grad(
                loss(params, x, y), list(params.values()), create_graph=True
            )
            params = {
                name: p - 0.3 * g for (name, p), g in zip(params.items(), slopes, strict=True)
            }
        loss(params, test_x, test_y).backward()
        return {name: p.grad for name, p in model.named_parameters()}

    agree(program)


def test_learned_learning_rates():
    """Meta-SGD (Li et al. 2017): derivatives in a rate for each parameter, and their curvature."""

    def program(m):
        model = network(m)
        loss = loss_of(m, model)
        params = {name: p.detach() for name, p in model.named_parameters()}
        x, y, test_x, test_y = (part[0] for part in tasks(m))

        def meta_loss(rates):
            named = dict(zip(params, rates.unbind(), strict=True))
            return loss(adapted(m, loss, params, x, y, named, 2), test_x, test_y)

        rates = m.full((6,), 0.2, dtype=m.float64)
        slope, value = m.func.grad_and_value(meta_loss)(rates)
        # Reverse over reverse, as taper's hessian is: PyTorch's fails on this one ("ZeroTensors").
        curvature = m.func.jacrev(m.func.jacrev(meta_loss))(rates)
        return {"value": value, "slope": slope, "curvature": curvature}

    agree(program)


def test_meta_learning_moves_the_loss():
    """Three outer steps of Adam; the state of the optimizer is in the program as well."""

    def program(m):
        model = network(m)
        optimizer = m.optim.Adam(model.parameters(), lr=0.01)
        loss = loss_of(m, model)
        values = []
        for _ in range(3):
            params = dict(model.named_parameters())
            results = []
            for x, y, test_x, test_y in zip(*tasks(m), strict=True):
                found = adapted(m, loss, params, x, y, 0.3, 1)
                results.append(loss(found, test_x, test_y))
            value = m.stack(results).mean()
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            values.append(value.detach())
        return {"values": m.stack(values), **dict(model.named_parameters())}

    values = agree(program)["values"]
    assert values[2] < values[0]


# -- curvature -------------------------------------------------------------------------------------


def likelihood(m):
    """Outputs, loss, parameters and a direction of a classifier of nine samples."""
    random = np.random.default_rng(2)
    x = m.tensor(random.normal(size=(9, 4)), dtype=m.float64)
    labels = m.tensor(random.integers(0, 3, 9))
    params, direction = m.tensor(random.normal(size=(2, 12)), dtype=m.float64).unbind()

    def outputs(params):
        return m.tanh(x @ params.view(4, 3)) * 2

    def loss(logits):
        return m.nn.functional.cross_entropy(logits, labels)

    return outputs, loss, params, direction


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_hvp(mode):
    outputs, loss, params, direction = likelihood(taper)
    found = second_order.hvp(lambda p: loss(outputs(p)), params, direction, mode=mode)
    outputs, loss, params, direction = likelihood(torch)
    expected = torch.autograd.functional.hvp(lambda p: loss(outputs(p)), params, direction)[1]
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-10, atol=1e-14)


def test_gauss_newton_and_fisher():
    outputs, loss, params, direction = likelihood(torch)
    J = torch.func.jacrev(outputs)(params).reshape(27, 12)
    H = torch.func.hessian(lambda z: loss(z.view(9, 3)))(outputs(params).reshape(27))
    expected = (J.T @ H @ J @ direction).numpy()
    outputs, loss, params, direction = likelihood(taper)
    found = second_order.gauss_newton_product(outputs, loss, params)(direction)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10, atol=1e-14)
    found = second_order.fisher_product(outputs, params)(direction) / 9
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10, atol=1e-14)


# -- examples --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["implicit_differentiation", "laplace_errors"])
def test_examples_print_what_they_print_with_pytorch(name):
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "OMP_NUM_THREADS": "1"}
    program = str(EXAMPLES / f"{name}.py")
    ours, theirs = (
        subprocess.run(
            [sys.executable, *command, program], env=environment, capture_output=True, text=True,
            timeout=120, check=True,
        ).stdout
        for command in (["-m", "taper", "run"], [])
    )
    rounding = re.compile(r"\S*e-\d\d")  # what is left of errors and slopes that should be 0
    assert rounding.sub("", ours) == rounding.sub("", theirs)
    assert ours.count("\n") > 4
