"""Random tensors: streams, histories, errors. Values are PyTorch's for the same seeds."""

import pytest

import taper as torch


def test_seeds_repeat_pytorchs_numbers():
    torch.manual_seed(0)
    assert [round(v, 4) for v in torch.rand(2).tolist()] == [0.4963, 0.7682]
    torch.manual_seed(0)
    assert [round(v, 4) for v in torch.randn(3).tolist()] == [1.541, -0.2934, -2.1788]
    torch.manual_seed(0)
    assert torch.randint(10, (3,)).tolist() == [4, 9, 3]
    torch.manual_seed(0)
    assert torch.randperm(4).tolist() == [0, 1, 3, 2]


def test_states():
    state = torch.get_rng_state()
    assert state.dtype is torch.uint8 and state.shape == (5056,)
    first = torch.rand(3)
    torch.set_rng_state(state)
    assert torch.equal(torch.rand(3), first)
    with torch.random.fork_rng():
        second = torch.rand(3)
    assert torch.equal(torch.rand(3), second)


def test_filling_cuts_the_history():
    x = torch.ones(3, requires_grad=True)
    y = (x * 2).uniform_()
    assert y.grad_fn.name() == "UniformBackward0"
    y.sum().backward()
    assert x.grad.tolist() == [0, 0, 0]
    assert torch.bernoulli(x).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: torch.rand(2, dtype=torch.int64), NotImplementedError, "check_uniform_bounds"),
        (lambda: torch.zeros(2).uniform_(2, 1), RuntimeError, "from=2 > to=1"),
        (lambda: torch.normal(0.0, -1.0, (2,)), RuntimeError, "normal expects std >= 0.0"),
        (lambda: torch.randint(5, 5, (1,)), RuntimeError, "'from' to be less than 'to'"),
        (lambda: torch.zeros(1).exponential_(0), RuntimeError, "expects lambda > 0.0"),
        (lambda: torch.multinomial(torch.ones(2), 3), RuntimeError, "without replacement"),
        (lambda: torch.bernoulli(torch.tensor([2.0])), RuntimeError, "p_in >= 0 && p_in <= 1"),
        (lambda: torch.ones(1, requires_grad=True).normal_(), RuntimeError, "a leaf Variable"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
