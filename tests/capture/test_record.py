"""Recording a step: the graph prints, and computes what the step computes."""

import numpy as np
import pytest

import taper as torch
from taper import nn
from taper.capture import record
from taper.capture.record import named_state
from taper.nn import functional as F


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


# -- whole networks --------------------------------------------------------------------------------


class Images(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.second, self.out = nn.Conv2d(4, 8, 3), nn.Linear(8 * 3 * 3, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.first(x))), 2)
        return self.out(F.avg_pool2d(F.relu(self.second(x)), 2, ceil_mode=True).flatten(1))


class Sequences(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.out = nn.Embedding(7, 5), nn.Linear(6, 7)
        self.layers = nn.LSTM(5, 6, 2, batch_first=True)

    def forward(self, x):
        return self.out(self.layers(self.table(x))[0])


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.places = nn.Embedding(7, 8), nn.Embedding(5, 8)
        self.before, self.after = nn.LayerNorm(8), nn.LayerNorm(8)
        self.project, self.join = nn.Linear(8, 24), nn.Linear(8, 8)
        self.wide = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.out = nn.Linear(8, 7, bias=False)
        self.out.weight = self.table.weight

    def forward(self, x):
        x = self.table(x) + self.places(torch.arange(x.shape[1]))
        b, t, d = x.shape
        q, k, v = (
            part.view(b, t, 2, d // 2).transpose(1, 2)
            for part in self.project(self.before(x)).split(d, 2)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.join(mixed.transpose(1, 2).reshape(b, t, d))
        return self.out(x + self.wide(self.after(x)))


def whole(*size):
    return torch.randint(0, 5, size)


@pytest.mark.parametrize(("network", "make_input", "labels", "kernels"), [
    (Images, lambda: torch.randn(3, 1, 16, 16), (3,),
     "convolve input_gradient weight_gradient max_pool mean_pool normalize_channels"),
    (Sequences, lambda: whole(2, 4), (2, 4), "take add_rows lstm lstm_gradient"),
    (Block, lambda: whole(2, 5), (2, 5), "attention attention_gradient normalize_rows"),
])
def test_networks_with_adam_replay(network, make_input, labels, kernels):
    """Forward, backward and update of real networks, three steps from one recorded one."""
    torch.manual_seed(0)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, eps=1e-3)
    x, y = make_input(), whole(*labels)

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x).flatten(0, -2), y.flatten())
        loss.backward()
        optimizer.step()
        return loss

    step(x, y)
    graph = record(step, x, y, state=[model, optimizer])
    assert set(kernels.split()) <= {node.label for node in graph.nodes}
    assert "return result = " in str(graph)
    values = {"x0": x.numpy(), "x1": y.numpy()}
    for name, t in named_state((model, optimizer)).items():
        values[name] = t.detach().numpy().copy()
    for _ in range(3):
        found = graph.run(*[values[node.label] for node in graph.inputs])
        values.update((name, found[name]) for name in values if name in found)
        np.testing.assert_allclose(found["result"], step(x, y).detach().numpy(), rtol=1e-4)
    for name, t in named_state((model, optimizer)).items():
        np.testing.assert_allclose(values[name], t.detach().numpy(), rtol=1e-3, atol=1e-5)


# -- what a step may do ----------------------------------------------------------------------------


def assert_replays(step, *inputs, state=()):
    graph = record(step, *inputs, state=state)
    found = graph.run(*[t.detach().numpy().copy() for t in (*inputs, *state)])
    expected = step(*inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for value, t in zip(found.values(), expected, strict=False):
        np.testing.assert_allclose(value, t.detach().numpy(), rtol=1e-6)


W = torch.tensor([2.0, 3.0], requires_grad=True)


def write_into_views(x):
    y = x * W[0]
    y[1:].mul_(W[1])
    y.view(2, 2)[0, 1] = W[0]
    return y


def write_into_new_tensors(x):
    y = torch.zeros(4)
    y[:2] = x[:2] * W
    y[2].copy_((x * x).sum() * W[1])
    y += x
    return y


def write_by_masks(x):
    y = x * W[0]
    y[x > 1] = W[1]
    return y.masked_fill(x == 0, 7.0)


@pytest.mark.parametrize("make", [write_into_views, write_into_new_tensors, write_by_masks])
def test_writes_keep_values_and_gradients(make):
    def step(x):
        y = make(x)
        return (*torch.autograd.grad((y * y).sum(), W), y)

    assert_replays(step, torch.arange(4.0), state=(W,))


def test_random_numbers_are_drawn_when_the_graph_runs():
    x = torch.ones(50)
    graph = record(lambda x: F.dropout(x) + torch.randn(50), x)
    state = torch.get_rng_state()
    first, second = (graph.run(x.numpy())["result"] for _ in range(2))
    torch.set_rng_state(state)
    expected = F.dropout(x) + torch.randn(50)
    np.testing.assert_array_equal(first, expected.numpy())
    assert (first != second).any()


def test_writes_outside_of_the_step_are_refused():
    outside = torch.zeros(2)
    with pytest.raises(NotImplementedError, match="was not told of"):
        record(outside.add_, torch.ones(2))
    assert outside.tolist() == [0, 0]
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([weight])

    def step(x):
        (x * weight).sum().backward()
        optimizer.step()

    with pytest.raises(NotImplementedError, match="run one step before"):
        record(step, torch.ones(2), state=[weight, optimizer])
    assert not optimizer.state and weight.tolist() == [1, 1] and weight.grad is None
