"""Two tensors that change places."""

import taper as torch


def test_everything_is_exchanged():
    layer = torch.nn.Linear(2, 2)
    weight, other = layer.weight, torch.zeros(3)
    other.note = "kept"
    torch.utils.swap_tensors(weight, other)
    assert layer.weight is weight and type(weight) is torch.Tensor
    assert weight.tolist() == [0, 0, 0] and weight.note == "kept"
    assert type(other) is torch.nn.Parameter and other.requires_grad and other.shape == (2, 2)
