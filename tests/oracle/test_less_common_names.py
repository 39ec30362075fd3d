"""Names that few programs use, next to PyTorch: MaskedTensor, numbered reductions, rounding."""

import warnings

import pytest

torch = pytest.importorskip("torch")

import taper  # noqa: E402

MODULES = (torch, taper)
VALUES = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
MASK = [[True, False, True], [False, False, False]]

pytestmark = [pytest.mark.filterwarnings("ignore")]


pytest.importorskip("torch.masked")


def both(program):
    """What a program says with each of the two modules."""
    found = []
    for module in MODULES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append(str(program(module)))
    return found


MASKED = {
    "print": lambda x, m: x,
    "arithmetic": lambda x, m: 1 + x * x - 2 / x,
    "tensor": lambda x, m: x + m.ones(3),
    "functions": lambda x, m: m.exp(x).sqrt().neg(),
    "comparison": lambda x, m: x < 2,
    "in place": lambda x, m: x.add_(1),
    "views": lambda x, m: x.t()[1:].unsqueeze(0).expand(2, -1, -1),
    "joined": lambda x, m: m.cat([x, x], 1),
    "where": lambda x, m: m.where(m.tensor(MASK), x, x),
    "converted": lambda x, m: x.to(m.float16).double(),
    "filled": lambda x, m: x.to_tensor(-1.0),
    "softmax": lambda x, m: x.softmax(1),
    **{f"{name} {arguments}": lambda x, m, name=name, arguments=arguments:
       getattr(x, name)(**arguments)
       for name in ("sum", "mean", "prod", "amax", "amin", "argmax", "argmin", "var", "std")
       for arguments in ({}, {"dim": 0}, {"dim": 1, "keepdim": True})},
}


@pytest.mark.parametrize("name", MASKED)
def test_masked_tensors(name):
    def program(m):
        x = m.masked.masked_tensor(m.tensor(VALUES), m.tensor(MASK))
        return MASKED[name](x, m)

    expected, found = both(program)
    assert found == expected


@pytest.mark.parametrize("make", ["masked_tensor", "as_masked_tensor"])
def test_gradients_of_masked_tensors(make):
    def program(m):
        x = m.tensor(VALUES, requires_grad=make == "as_masked_tensor")
        mask = m.tensor(MASK)
        if make == "masked_tensor":
            masked = x = m.masked.masked_tensor(x, mask, requires_grad=True)
        else:
            masked = m.masked.as_masked_tensor(x, mask)
        (masked * masked).exp().mean().backward()
        return x.grad

    expected, found = both(program)
    assert found == expected


OTHERS = {
    "norm_except_dim": lambda m: [
        m.norm_except_dim(m.arange(24.0).reshape(2, 3, 4), p, d)
        for p in (1, 2) for d in (-1, 0, 1, 2)
    ],
    "norm_except_dim of vectors": lambda m: m.norm_except_dim(m.tensor([3.0, -4.0])),
    "losses": lambda m: [
        m.kl_div(m.tensor([0.1, 0.2]), m.tensor([0.3, 0.4]), n, log_target=True) for n in range(3)
    ] + [m.triplet_margin_loss(m.eye(2), m.ones(2, 2), m.zeros(2, 2), swap=True, reduction=n)
         for n in range(3)],
    "rounding": lambda m: [
        m.fake_quantize_per_tensor_affine(m.linspace(-2, 2, 19), 0.13, 3, 0, 15),
        m.fake_quantize_per_channel_affine(
            m.linspace(-2, 2, 12).reshape(3, 4), m.tensor([0.1, 0.2, 0.3]),
            m.tensor([0, 1, 2], dtype=m.int32), 0, -8, 7),
    ],
    "order of dimensions": lambda m: [
        m.ones(2, 1, 3).transpose(0, 2).dim_order(), m.ones(3).expand(2, 3).dim_order(),
        m.ones(1, 2, 3, 4).to(memory_format=m.channels_last).dim_order(),
    ],
    "meta": lambda m: [
        (v.storage_offset(), v.stride()) for v in (
            m.empty(4, 5, device="meta")[1:, 2:], m.empty(4, 5, device="meta").t()[1],
            m.empty(1, 2, 3, 4, device="meta").to(memory_format=m.channels_last).double() + 1,
        )
    ],
    "complex32": lambda m: [
        m.complex32, m.chalf.itemsize, m.float16.to_complex(), m.complex32.to_real(),
        m.promote_types(m.float16, m.complex32),
    ],
}


@pytest.mark.parametrize("name", OTHERS)
def test_others(name):
    expected, found = both(OTHERS[name])
    assert found == expected
