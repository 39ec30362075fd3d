import pytest

import taper as torch
from taper.autograd import gradcheck, gradgradcheck

F = torch.nn.functional


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_conv1d_by_hand():
    x = torch.tensor([[[1.0, 2.0, 4.0, 8.0]]])
    w = torch.tensor([[[1.0, -1.0]]])
    assert F.conv1d(x, w).tolist() == [[[-1, -2, -4]]]
    assert F.conv1d(x, w, stride=2).tolist() == [[[-1, -4]]]
    assert F.conv1d(x, w, padding=1).tolist() == [[[-1, -1, -2, -4, 8]]]
    assert F.conv1d(x, w, dilation=2).tolist() == [[[-3, -6]]]
    assert F.conv1d(x, w, torch.tensor([10.0]), padding="valid").tolist() == [[[9, 8, 6]]]
    with pytest.warns(UserWarning, match="even kernel lengths"):
        assert F.conv1d(x, w, padding="same").tolist() == [[[-1, -2, -4, 8]]]


def test_conv2d_groups_and_unbatched():
    x = torch.arange(8.0).reshape(2, 2, 2)
    w = torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1)
    y = F.conv2d(x, w, groups=2)
    assert y.tolist() == [[[0, 1], [2, 3]], [[8, 10], [12, 14]]]
    assert F.conv2d(x[None], torch.ones(1, 2, 2, 2)).tolist() == [[[[28]]]]
    assert torch.conv2d(x[None], torch.ones(1, 2, 2, 2)).item() == 28


def test_conv_transpose_by_hand():
    x = torch.tensor([[[1.0, 2.0]]])
    w = torch.tensor([[[1.0, 10.0, 100.0]]])
    assert F.conv_transpose1d(x, w).tolist() == [[[1, 12, 120, 200]]]
    assert F.conv_transpose1d(x, w, stride=2).tolist() == [[[1, 10, 102, 20, 200]]]
    assert F.conv_transpose1d(x, w, stride=2, padding=1, output_padding=1).tolist() == [
        [[10, 102, 20, 200]]
    ]


def test_short_rows_with_many_channels_agree_with_planes():
    # Channels side by side in memory, or not: two ways of building columns.
    x = torch.randn(3, 16, 6, 6, dtype=torch.float64)
    w = torch.randn(5, 16, 3, 3, dtype=torch.float64)
    whole = F.conv2d(x, w, padding=1)
    parts = sum(F.conv2d(x[:, i : i + 4], w[:, i : i + 4], padding=1) for i in range(0, 16, 4))
    assert torch.allclose(whole, parts)


@pytest.mark.parametrize(
    ("shape", "weight", "options"),
    [
        ((2, 2, 5), (3, 2, 2), {"stride": 2, "padding": 1}),
        ((2, 4, 5, 4), (4, 2, 3, 2), {"groups": 2, "dilation": (1, 2), "padding": 1}),
        ((1, 2, 4, 4), (2, 1, 2, 2), {"groups": 2}),
        ((1, 1, 3, 4, 3), (2, 1, 2, 2, 2), {"padding": (0, 1, 0)}),
    ],
)
def test_conv_derivatives(shape, weight, options):
    function = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[len(shape)]
    inputs = (random(*shape), random(*weight), random(weight[0]))
    assert gradcheck(lambda x, w, b: function(x, w, b, **options), inputs)
    assert gradgradcheck(lambda x, w, b: function(x, w, b, **options), inputs)


def test_conv_transpose_derivatives():
    inputs = (random(1, 2, 3, 3), random(2, 1, 2, 3), random(2))
    options = {"stride": 2, "groups": 2, "output_padding": 1, "padding": 1}
    assert gradcheck(lambda x, w, b: F.conv_transpose2d(x, w, b, **options), inputs)
    assert gradgradcheck(lambda x, w, b: F.conv_transpose2d(x, w, b, **options), inputs)


def test_node_names():
    x, w = random(1, 1, 3, 3), random(1, 1, 2, 2)
    assert F.conv2d(x, w).grad_fn.name() == "ConvolutionBackward0"
    assert F.conv_transpose2d(x, w).grad_fn.name() == "ConvolutionBackward0"
    assert F.conv2d(x[0], w).grad_fn.name() == "SqueezeBackward1"


def test_half_is_computed_in_float32():
    x = torch.full((1, 1, 3000), 1.0).bfloat16()
    assert F.conv1d(x, torch.ones(1, 1, 3000).bfloat16()).item() == 3008  # 3000 rounded once


def test_conv_errors():
    x, w = torch.zeros(1, 4, 8, 8), torch.zeros(2, 3, 3, 3)
    with pytest.raises(
        RuntimeError,
        match=r"Given groups=1, weight of size \[2, 3, 3, 3\], expected input\[1, 4, 8, 8\] to "
        "have 3 channels, but got 4 channels instead",
    ):
        F.conv2d(x, w)
    with pytest.raises(RuntimeError, match=r"Expected 3D \(unbatched\) or 4D \(batched\) input"):
        F.conv2d(torch.zeros(2, 3), w)
    with pytest.raises(RuntimeError, match="expected bias to be 1-dimensional with 2 elements"):
        F.conv2d(x[:, :3], w, torch.zeros(3))
    with pytest.raises(RuntimeError, match="Kernel size can't be greater than actual input size"):
        F.conv2d(torch.zeros(1, 3, 2, 2), w)
    with pytest.raises(RuntimeError, match="expected scalar type Double but found Float"):
        F.conv2d(x[:, :3].double(), w)
    with pytest.raises(RuntimeError, match="non-positive stride is not supported"):
        F.conv2d(x[:, :3], w, stride=0)
    with pytest.raises(RuntimeError, match="output padding must be smaller"):
        F.conv_transpose2d(torch.zeros(1, 2, 3, 3), w, output_padding=1)


def test_conv_of_nothing():
    assert F.conv2d(torch.zeros(0, 3, 4, 4), torch.zeros(2, 3, 3, 3)).shape == (0, 2, 2, 2)
    y = F.conv2d(torch.zeros(1, 0, 4, 4), torch.zeros(1, 0, 3, 3))
    assert y.tolist() == [[[[0, 0], [0, 0]]]]


def test_conv_tbc():
    x = torch.tensor([1.0, 2.0, 4.0]).reshape(3, 1, 1)
    w = torch.tensor([1.0, 10.0]).reshape(2, 1, 1)
    assert torch.conv_tbc(x, w, torch.zeros(1)).flatten().tolist() == [21, 42]
    assert gradcheck(
        lambda x, w, b: torch.conv_tbc(x, w, b, 1), (random(3, 2, 2), random(2, 2, 1), random(1))
    )
