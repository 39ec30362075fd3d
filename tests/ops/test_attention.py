import math

import pytest

import taper as torch
from taper.autograd import gradcheck, gradgradcheck
from taper.kernels import attention as kernel

F = torch.nn.functional
attend = F.scaled_dot_product_attention


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def by_definition(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return (scores if mask is None else scores + mask).softmax(-1) @ v


def test_masks():
    q, k, v = random(2, 3, 4), random(2, 5, 4), random(2, 5, 3)
    assert torch.allclose(attend(q, k, v), by_definition(q, k, v))
    mask = torch.randn(3, 5, dtype=torch.float64)
    assert torch.allclose(attend(q, k, v, mask), by_definition(q, k, v, mask))
    causal = torch.full((3, 5), -math.inf, dtype=torch.float64).triu(1)
    assert torch.allclose(attend(q, k, v, is_causal=True), by_definition(q, k, v, causal))
    seen = torch.tensor([[False] * 5, [True] * 5, [True] * 5])
    assert attend(q, k, v, seen)[:, 0].abs().sum() == 0


def test_blocks_do_not_change_the_result(monkeypatch):
    q, k, v = random(3, 7, 4), random(3, 7, 4), random(3, 7, 2)
    results = []
    for size in (kernel._BLOCK, 20, 5):
        monkeypatch.setattr(kernel, "_BLOCK", size)
        y = attend(q, k, v, is_causal=True)
        results.append([y, *torch.autograd.grad(y.sin().sum(), (q, k, v))])
    for other in results[1:]:
        assert all(torch.allclose(a, b) for a, b in zip(results[0], other, strict=True))


def test_derivatives():
    inputs = (random(1, 2, 3, 2), random(1, 2, 4, 2), random(1, 2, 4, 2))
    mask = torch.tensor([[True, True, False, True]] * 3)
    for options in ({}, {"is_causal": True}, {"attn_mask": mask, "scale": 0.3}):
        assert gradcheck(lambda q, k, v: attend(q, k, v, **options), inputs)  # noqa: B023
        assert gradgradcheck(lambda q, k, v: attend(q, k, v, **options), inputs)  # noqa: B023
    bias = random(3, 4)
    assert gradcheck(attend, (*inputs, bias))


def test_shared_heads():
    q, k = random(1, 4, 3, 2), random(1, 2, 3, 2)
    whole = attend(q, k.repeat_interleave(2, 1), k.repeat_interleave(2, 1))
    assert torch.allclose(attend(q, k, k, enable_gqa=True), whole)


def test_errors():
    q = torch.zeros(2, 3)
    with pytest.raises(RuntimeError, match="Expected query, key, and value to have the same dtype"):
        attend(q, q.double(), q)
    with pytest.raises(RuntimeError, match="Expected attn_mask dtype to be bool or float"):
        attend(q, q, q, torch.zeros(2, 2, dtype=torch.int32))


def test_heads_one_by_one():
    x = torch.randn(3, 1, 4, dtype=torch.float64)
    w, out = torch.randn(12, 4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
    y, weights = F.multi_head_attention_forward(
        x, x, x, 4, 2, w, None, None, None, False, 0.0, out, None
    )
    q, k, v = (x[:, 0] @ w.t()).split(4, -1)
    heads = [by_definition(q[:, s], k[:, s], v[:, s]) for s in (slice(0, 2), slice(2, 4))]
    assert torch.allclose(y[:, 0], torch.cat(heads, 1))
    assert torch.allclose(weights.sum(-1), torch.ones(1, 3, dtype=torch.float64))
    z, nothing = F.multi_head_attention_forward(
        x, x, x, 4, 2, w, None, None, None, False, 0.0, out, None, need_weights=False
    )
    assert nothing is None
    assert torch.allclose(y, z)


def test_gradients_of_half_precision_are_computed_in_single():
    torch.manual_seed(0)
    parts = [torch.randn(2, 3, 4).half().requires_grad_() for _ in range(3)]
    mask = torch.randn(3, 3).half().requires_grad_()
    wide = [t.detach().double().requires_grad_() for t in (*parts, mask)]
    F.scaled_dot_product_attention(*parts, mask).sum().backward()
    F.scaled_dot_product_attention(*wide).sum().backward()
    for t, exact in zip((*parts, mask), wide, strict=True):
        assert t.grad.dtype is torch.float16
        assert (t.grad - exact.grad).abs().max() < 1e-3
