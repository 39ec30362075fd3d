"""Rounding as quantized tensors would, with gradients that pass between the limits."""

import pytest

import taper as torch


def test_fake_quantization_and_its_gradient():
    x = torch.tensor([0.26, 9.0, -3.0, 0.05], requires_grad=True)
    y = torch.fake_quantize_per_tensor_affine(x, 0.1, 2, 0, 15)
    torch.testing.assert_close(y.detach(), torch.tensor([0.3, 1.3, -0.2, 0.0]))
    y.sum().backward()
    assert x.grad.tolist() == [1, 0, 0, 1]


def test_channels_have_scales_of_their_own():
    x = torch.full((2, 1), 0.26)
    y = torch.fake_quantize_per_channel_affine(
        x, torch.tensor([0.1, 1.0]), torch.tensor([0, 0]), 0, 0, 15)
    torch.testing.assert_close(y, torch.tensor([[0.3], [0.0]]))


def test_quantized_tensors_are_refused():
    with pytest.raises(NotImplementedError, match=r"torch\.int8"):
        torch.quantize_per_tensor(torch.ones(1), 0.1, 0, torch.uint8)
    assert torch.tensor([2]).dequantize().dtype is torch.float32
