"""pad, fold, shuffle, resize and grid_sample."""

import pytest

import taper as torch
from taper.autograd import gradcheck, gradgradcheck

F = torch.nn.functional


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_pad_modes():
    x = torch.tensor([[1, 2, 3]])
    assert F.pad(x, (1, 2)).tolist() == [[0, 1, 2, 3, 0, 0]]
    assert F.pad(x, (1, 0, 0, 1), value=7).tolist() == [[7, 1, 2, 3], [7, 7, 7, 7]]
    assert F.pad(x, (-1, 1)).tolist() == [[2, 3, 0]]
    assert F.pad(x, (2, 1), "reflect").tolist() == [[3, 2, 1, 2, 3, 2]]
    assert F.pad(x, (2, 1), "replicate").tolist() == [[1, 1, 1, 2, 3, 3]]
    assert F.pad(x, (2, 1), "circular").tolist() == [[2, 3, 1, 2, 3, 1]]
    assert F.pad(x, (-1, 1), "circular").tolist() == [[2, 3, 2]]


def test_pad_errors():
    with pytest.raises(RuntimeError, match="Padding size should be less than"):
        F.pad(torch.ones(1, 2), (2, 0), "reflect")
    with pytest.raises(RuntimeError, match="Padding length must be divisible by 2"):
        F.pad(torch.ones(2), (1,))
    with pytest.raises(NotImplementedError, match="Padding size 2 is not supported for 1D input"):
        F.pad(torch.ones(2), (1, 1), "reflect")


def test_unfold_and_fold():
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    columns = F.unfold(x, 2)
    assert columns.tolist() == [[[0, 1, 3, 4], [1, 2, 4, 5], [3, 4, 6, 7], [4, 5, 7, 8]]]
    counted = F.fold(torch.ones_like(columns), (3, 3), 2)
    assert counted.tolist() == [[[[1, 2, 1], [2, 4, 2], [1, 2, 1]]]]


def test_shuffles_invert_each_other():
    x = torch.arange(32).reshape(1, 8, 2, 2)
    assert F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2).equal(x)
    assert F.channel_shuffle(F.channel_shuffle(x, 2), 4).equal(x)
    assert F.pixel_shuffle(torch.arange(4).reshape(4, 1, 1), 2).tolist() == [[[0, 1], [2, 3]]]


def test_interpolate_by_hand():
    x = torch.tensor([[[1.0, 3.0]]])
    assert F.interpolate(x, scale_factor=2).tolist() == [[[1, 1, 3, 3]]]
    assert F.interpolate(x, size=3, mode="linear", align_corners=True).tolist() == [[[1, 2, 3]]]
    assert F.interpolate(x, size=1, mode="area").tolist() == [[[2]]]
    image = torch.arange(4.0).reshape(1, 1, 2, 2)
    up = F.interpolate(image, size=(3, 3), mode="bilinear", align_corners=True)
    assert up.tolist() == [[[[0, 0.5, 1], [1, 1.5, 2], [2, 2.5, 3]]]]
    flat = F.interpolate(torch.ones(1, 1, 9, 9), size=4, mode="bicubic", antialias=True)
    assert torch.allclose(flat, torch.ones(1, 1, 4, 4))


def test_interpolate_errors():
    with pytest.raises(ValueError, match="either size or scale_factor should be defined"):
        F.interpolate(torch.ones(1, 1, 2))
    with pytest.raises(NotImplementedError, match="Got 3D input, but bilinear mode needs 4D"):
        F.interpolate(torch.ones(1, 1, 2), 3, mode="bilinear")


def test_grid_sample_of_the_identity():
    x = torch.randn(1, 2, 3, 4)
    identity = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])
    grid = F.affine_grid(identity, (1, 2, 3, 4), align_corners=False)
    for mode in ("bilinear", "nearest", "bicubic"):
        assert torch.allclose(F.grid_sample(x, grid, mode, align_corners=False), x, atol=1e-5)
    beyond = torch.full((1, 1, 1, 2), 9.0)
    assert F.grid_sample(x, beyond, align_corners=False).flatten().tolist() == [0, 0]
    edge = F.grid_sample(x, beyond, padding_mode="border", align_corners=False)
    assert edge.flatten().tolist() == x[0, :, -1, -1].tolist()


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x: F.pad(x, (1, -1, 2, 0)), (2, 3, 3)),
        (lambda x: F.pad(x, (2, 1, 1, 0), "reflect"), (1, 3, 3)),
        (lambda x: F.pad(x, (4, 1), "replicate"), (1, 3)),
        (lambda x: F.pad(x, (-1, 3), "circular"), (1, 4)),
        (lambda x: F.unfold(x, 2, padding=1, stride=2), (1, 2, 3, 3)),
        (lambda x: F.fold(x, (3, 4), 2), (1, 8, 6)),
        (lambda x: F.pixel_shuffle(x, 2), (4, 2, 1)),
        (lambda x: F.interpolate(x, 5, mode="linear"), (1, 2, 3)),
        (lambda x: F.interpolate(x, (5, 2), mode="bicubic"), (1, 1, 3, 3)),
        (lambda x: F.interpolate(x, 2, mode="bilinear", antialias=True), (1, 1, 5, 4)),
    ],
)
def test_derivatives(function, shape):
    x = random(*shape)
    assert gradcheck(function, (x,))
    assert gradgradcheck(function, (x,))


def test_grid_sample_derivatives():
    x, grid = random(1, 1, 3, 3), (torch.rand(1, 2, 2, 2, dtype=torch.float64) - 0.4) * 1.3
    grid.requires_grad_()
    function = lambda x, g: F.grid_sample(x, g, align_corners=True)  # noqa: E731
    assert gradcheck(function, (x, grid))
    assert gradgradcheck(function, (x, grid))
