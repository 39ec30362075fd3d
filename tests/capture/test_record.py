"""Recording a step: the graph prints, and computes what the step computes."""

import numpy as np
import pytest

import taper as torch
from taper.capture import record


def test_forward_prints():
    w = torch.ones(4, 2)
    graph = record(lambda x: (x @ w.t()).exp(), torch.ones(3, 2), state=[w])
    assert str(graph) == (
        "%0 = input x0  : float32[3, 2]\n"
        "%1 = input state.0  : float32[4, 2]\n"
        "%2 = transpose(%1)  : float32[2, 4]\n"
        "%3 = matmul(%0, %2)  : float32[3, 4]\n"
        "%4 = exp(%3)  : float32[3, 4]\n"
        "return result = %4"
    )


def test_a_training_step_replays():
    """Forward, backward and the SGD update, as one graph, equal to the eager step."""
    weight = torch.tensor([[0.5, -1.0], [2.0, 0.25]], requires_grad=True)
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    y = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])

    def step(x, y):
        loss = (((x @ weight).tanh() - y) ** 2).sum()
        (grad,) = torch.autograd.grad(loss, weight)
        with torch.no_grad():
            weight.sub_(0.1 * grad)
        return loss

    before = weight.detach().clone()
    graph = record(step, x, y, state=[weight])
    assert torch.equal(weight, before)  # nothing was computed
    assert {"result", "state.0"} <= set(graph.outputs)
    found = graph.run(x.numpy(), y.numpy(), before.numpy().copy())
    loss = step(x, y)
    np.testing.assert_allclose(found["result"], loss.detach().numpy(), rtol=1e-6)
    np.testing.assert_allclose(found["state.0"], weight.detach().numpy(), rtol=1e-6)


def test_a_module_and_an_optimizer_replay():
    """Two steps of a network with SGD, replayed from one recorded step."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = torch.randn(5, 3), torch.eye(2)[torch.tensor([0, 1, 1, 0, 1])]

    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    names = [name for name, _ in model.named_parameters()]
    graph = record(step, x, y, state=model)
    assert {"result", *names} <= set(graph.outputs)
    text = str(graph)
    assert "tanh(" in text and "return result = " in text
    values = [p.detach().numpy().copy() for p in model.parameters()]
    for _ in range(2):
        found = graph.run(x.numpy(), y.numpy(), *values)
        values = [found[name] for name in names]
        np.testing.assert_allclose(found["result"], step(x, y).detach().numpy(), rtol=1e-5)
        for value, parameter in zip(values, model.parameters(), strict=True):
            np.testing.assert_allclose(value, parameter.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_a_branch_on_a_value_is_explained():
    with pytest.raises(NotImplementedError, match="a branch on a tensor needs a value"):
        record(lambda x: x if x.sum() > 0 else -x, torch.ones(2))
