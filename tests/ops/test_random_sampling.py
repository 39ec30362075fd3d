"""taper/ops/random_sampling.py: bernoulli, normal, poisson, binomial, multinomial. The streams are
compared with PyTorch's in tests/oracle/test_random_streams.py."""

import pytest

import taper as torch


def test_what_is_certain():
    p = torch.tensor([0.0, 1.0])
    assert torch.bernoulli(p).tolist() == [0.0, 1.0]
    assert torch.bernoulli(torch.zeros(3), 1.0).tolist() == [1.0] * 3
    assert torch.normal(p, 0.0).tolist() == [0.0, 1.0]
    assert torch.poisson(torch.zeros(2)).tolist() == [0.0, 0.0]
    assert torch.binomial(torch.tensor([5.0, 5.0]), p).tolist() == [0.0, 5.0]
    assert torch.multinomial(torch.tensor([0.0, 2.0, 0.0]), 4, replacement=True).tolist() == [1] * 4
    drawn = torch.multinomial(torch.tensor([1.0, 2.0, 3.0]), 3)
    assert sorted(drawn.tolist()) == [0, 1, 2]


def test_means():
    n = 20_000
    for draw, mean in (
        (lambda: torch.bernoulli(torch.full((n,), 0.3)), 0.3),
        (lambda: torch.normal(2.0, 1.5, (n,)), 2.0),
        (lambda: torch.poisson(torch.full((n,), 4.0)), 4.0),
        (lambda: torch.binomial(torch.full((n,), 10.0), torch.full((n,), 0.2)), 2.0),
    ):
        assert draw().mean().item() == pytest.approx(mean, abs=0.05)
    counts = torch.multinomial(torch.tensor([1.0, 3.0]), n, replacement=True).float()
    assert counts.mean().item() == pytest.approx(0.75, abs=0.02)


def test_seeds_and_generators():
    p = torch.full((50,), 0.5)
    torch.manual_seed(3)
    first = torch.bernoulli(p)
    torch.manual_seed(3)
    assert torch.equal(torch.bernoulli(p), first)
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(torch.bernoulli(p, generator=generator), first)
    assert not torch.equal(torch.bernoulli(p, generator=generator), first)


def test_forms():
    out = torch.empty(2)
    assert torch.bernoulli(torch.ones(2), out=out) is out and out.tolist() == [1.0, 1.0]
    assert torch.normal(torch.zeros(2, 1), torch.ones(3)).shape == (2, 3)
    rows = torch.multinomial(torch.ones(2, 4), 3)
    assert rows.shape == (2, 3) and rows.dtype is torch.int64


def test_gradients():
    """There are none to speak of: zeros, or an error."""
    x = torch.full((3,), 0.5, requires_grad=True)
    torch.bernoulli(x).sum().backward()
    assert x.grad.tolist() == [0.0] * 3
    with pytest.raises(RuntimeError, match="derivative for aten::binomial is not implemented"):
        torch.binomial(torch.ones(3), x).sum().backward()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: torch.bernoulli(torch.tensor([1.5])), "Expected p_in >= 0 && p_in <= 1"),
        (lambda: torch.normal(0.0, -1.0, (2,)), "normal expects std >= 0.0, but found std -1"),
        (lambda: torch.multinomial(torch.ones(2), 3), "cannot sample n_sample > prob_dist.size"),
        (lambda: torch.multinomial(torch.ones(2), 0), "cannot sample n_sample <= 0 samples"),
        (lambda: torch.multinomial(torch.tensor([-1.0, 2.0]), 1), "probability tensor contains"),
    ],
)
def test_errors(call, words):
    with pytest.raises(RuntimeError, match=words):
        call()
